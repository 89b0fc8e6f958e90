"""Each key of a TOML text is found on its line, whatever notation it is written in."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.lines import KeyPath, dotted, locate


def test_keys_after_values_that_span_lines_keep_their_lines() -> None:
    text = 'a = """\n[not.a.table]\nx = 1 \\""" \n"""\nb = [ # one\n 1,\n [2, \'\'\'\n]\'\'\'],\n]\nc = 1\n'
    places = locate(text)
    assert tomllib.loads(text)["c"] == 1
    assert places.line(("b",)) == 5
    assert places.line(("b", 1, 1)) == 7
    assert places.line(("c",)) == 10


def test_headers_below_an_array_of_tables_belong_to_its_last_element() -> None:
    places = locate("[[a]]\n[a.b]\nx = 1\n[[a]]\n[a.b]\nx = 2\n")
    assert (places.line(("a", 0, "b", "x")), places.line(("a", 1, "b", "x"))) == (3, 6)


def test_quoted_and_dotted_keys_are_found() -> None:
    places = locate('"a.b".c = 1\n\'d e\' . f = {g = 1, "h\\u0020" = 2}\n')
    assert places.line(("a.b", "c")) == 1
    assert places.line(("d e", "f", "h ")) == 2


def test_a_key_that_is_not_there_is_placed_at_its_table() -> None:
    assert locate("\n[t]\nx = 1\n").line(("t", "missing", "deeper")) == 2
    assert locate("\n\nx = 1\n").line(("missing",)) == 1


def test_carriage_returns_do_not_count_twice() -> None:
    assert locate("a = 1\r\nb = 2\r\nc = 3\r\n").line(("c",)) == 3


def test_a_path_is_written_as_a_person_writes_it() -> None:
    assert dotted(("next_hop", 1, "servers", 0, "url")) == "next_hop[1].servers[0].url"


PIECES = st.sampled_from(
    [
        "[a]", "[b.c]", "[[d]]", "[[d.e]]", "[d.f]", 'x = 1', "y = 'it''s'", 'z = "\\""', "k = [1, [2, 3], {q = 1}]",
        'm = """\n""\\"""\n"""', "n = '''\n''''", "# [comment]", "", "u.v.w = 1979-05-27 07:32:00", "o = [\n 1, # ]\n]",
        "p = {r = {s = [1]}, t = 'x'}", '"" = 1', "arr = [ { a = 1 },\n { a = 2 } ]",
    ]
)  # fmt: skip


def leaves(value: object, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in [(*path, key), *leaves(inner, (*path, key))]]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in leaves(inner, (*path, index))]
    return [path]


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12))
def test_every_key_that_the_parser_knows_is_located_exactly(pieces: list[str]) -> None:
    text = "\n".join(pieces)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    places = locate(text)
    lines = text.split("\n")
    for path in leaves(document):
        key = next(part for part in reversed(path) if isinstance(part, str))
        assert path in places._lines, path
        if isinstance(path[-1], str):
            assert (key or '""') in lines[places.line(path) - 1]


@pytest.mark.parametrize("text", ["", "\n", "#", "a=1#", "a=[]#", "a={}"])
def test_the_end_of_the_text_ends_the_walk(text: str) -> None:
    locate(text)
