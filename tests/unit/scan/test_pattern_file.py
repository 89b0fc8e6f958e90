from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import ConfigError
from appliance.scan.pattern_file import Pattern, load_patterns, parse_patterns

THOUSAND = Path(__file__).parents[2] / "data" / "patterns-1000.txt"


def test_a_line_gives_id_flags_tags_and_expression():
    (pattern,) = parse_patterns(b"phish-1\tlims\tphish,url\tYour account\tis locked", "f")
    assert pattern == Pattern("phish-1", b"Your account\tis locked", True, True, True, True, ("phish", "url"), "f:1")


def test_comments_and_empty_lines_are_passed_over_but_counted():
    (pattern,) = parse_patterns(b"# a comment\n\n  \nx\t-\t-\tabc\r\n", "f")
    assert pattern.place == "f:4"
    assert pattern.expression == b"abc"


def test_blanks_at_the_ends_of_an_expression_belong_to_it():
    assert parse_patterns(b"x\t-\t-\t abc \n", "f")[0].expression == b" abc "


def test_literal_text_is_escaped_for_the_engines():
    assert parse_patterns(b"x\tl\t-\ta.b*", "f")[0].regex == b"a\\x2eb\\x2a"
    assert parse_patterns(b"x\t-\t-\ta.b*", "f")[0].regex == b"a.b*"


@pytest.mark.parametrize(
    ("raw_line", "reason"),
    [
        (b"x\t-\tabc", "3 fields of 4"),
        (b"x - - abc", "1 fields of 4"),
        (b"b@d\t-\t-\tabc", "bad id"),
        (b"x\tq\t-\tabc", "bad flags"),
        (b"x\t\t-\tabc", "bad flags"),
        (b"x\t-\ta b\tabc", "bad tag"),
        (b"x\t-\t\tabc", "bad tag"),
        (b"x\t-\t-\t", "expression of 0 octets"),
        (b"x\t-\t-\t" + b"a" * 4097, "expression of 4097 octets"),
        (b"x\t-\t-\ta\0b", "NUL"),
        (b"x\t-\t-\t\xff", "not UTF-8"),
        (b"EICAR\t-\t-\tabc", "built in"),
    ],
)
def test_a_malformed_line_is_named_with_its_place_and_a_remedy(raw_line, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_patterns(b"# first\n" + raw_line + b"\n", "list.txt")
    assert str(caught.value).startswith("list.txt:2: ")
    assert ";" in str(caught.value)


def test_an_id_taken_in_another_file_is_named_with_both_places(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x\t-\t-\tabc\n")
    second.write_bytes(b"\nx\t-\t-\tdef\n")
    with pytest.raises(ConfigError) as caught:
        load_patterns([str(first), str(second)])
    assert f"{second}:2" in str(caught.value)
    assert f"{first}:1" in str(caught.value)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_patterns([str(tmp_path / "none")])


def test_the_list_for_measurements_has_a_thousand_patterns():
    assert len(load_patterns([str(THOUSAND)])) == 1000


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="al1-im\t\n#", max_size=60).map(str.encode)))
def test_any_octets_are_patterns_or_a_configuration_error(raw_file):
    try:
        patterns = parse_patterns(raw_file, "f")
    except ConfigError:
        return
    assert all(pattern.expression and pattern.place.startswith("f:") for pattern in patterns)
