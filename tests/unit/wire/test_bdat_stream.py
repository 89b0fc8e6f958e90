"""BDAT's octets as the dot-stuffed body of DATA."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.wire.bdat_stream import BdatStream, parse_bdat
from appliance.wire.data_stream import DataStream, Normaliser

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_PIECES = st.lists(
    st.lists(st.sampled_from([b"\r\n", b"\r\n.", b"\r", b"\n", b".", b"..", b"a", b"text"]), max_size=6).map(b"".join),
    max_size=12,
)


class Fed:
    """A stream that was fed chunks from a buffer which is overwritten after each, and finished."""

    def __init__(self, chunks, *, binary=False, passes_bare=True):
        self.body = b""
        self.views = 0
        self.stream = BdatStream(self._take, binary=binary, passes_bare=passes_bare)
        for chunk in chunks:
            buffer = bytearray(b"\r\n." + chunk + b".\r\n")
            self.stream.feed(buffer, 3, 3 + len(chunk))
            buffer[:] = b"?" * len(buffer)
        self.stream.finish()

    def _take(self, view):
        self.body += view
        self.views += 1


def stuffed(octets):
    return (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]


@settings(max_examples=400, deadline=None)
@given(_PIECES)
@example([b"a\r", b"\n", b".b"])
@example([b"a\r", b"\n.", b"b"])
@example([b".", b"."])
@example([b"a\r\n", b".\r\n", b".", b"\r\n"])
def test_any_chunks_give_the_dot_stuffed_form_of_the_whole(chunks):
    raw = b"".join(chunks)
    ending = {b"": b"", b"\n": b"", b"\r": b"\n"}.get(raw[-1:], b"\r\n")
    fed = Fed(chunks)
    assert fed.body == stuffed(raw) + ending
    assert fed.stream.bare_newlines is bool(_BARE.search(raw))


@given(_PIECES)
def test_data_ends_where_the_converted_message_ends_and_gives_it_back(chunks):
    raw = b"".join(chunks)
    if _BARE.search(raw):
        raw, chunks = b"", []
    sent = Fed(chunks).body + b".\r\nQUIT\r\n"
    got = []
    stream = DataStream(lambda view: got.append(bytes(view)))
    end = stream.feed(sent, 0, len(sent))
    assert stream.ended and sent[end:] == b"QUIT\r\n"
    unstuffed = b"".join(
        line[1:] if line.startswith(b".") else line for line in b"".join(got).splitlines(keepends=True)
    )
    assert unstuffed == raw or unstuffed == raw + b"\r\n"


@given(_PIECES)
def test_a_normalised_message_ends_its_last_line_and_holds_no_end_of_data(chunks):
    raw = b"".join(chunks)
    normaliser = Normaliser()
    got = []
    stream = BdatStream(lambda view: got.append(normaliser.feed(view)), binary=False)
    for chunk in chunks:
        stream.feed(bytearray(chunk), 0, len(chunk))
    stream.finish()
    body = b"".join(got)
    assert not _BARE.search(body) and (b"\r\n" + body).find(b"\r\n.\r\n") == -1
    lines = re.split(rb"\r\n|\r|\n", raw)
    if lines[-1] == b"":
        lines.pop()
    assert [line[1:] if line[:1] == b"." else line for line in body.split(b"\r\n")[:-1]] == lines


def test_binary_octets_go_on_as_they_came():
    chunks = [b".\r\n.\r", b"\n.\n\0", b"no line end"]
    fed = Fed(chunks, binary=True)
    assert fed.body == b"".join(chunks) and not fed.stream.bare_newlines


@pytest.mark.parametrize("bare", [b"a\nb", b"a\rb", b"\n", b"\r\r\n"])
def test_nothing_is_passed_on_from_a_bare_newline_on_unless_it_is_wanted(bare):
    fed = Fed([b"good\r\n", b"x" + bare, b"and more"], passes_bare=False)
    assert fed.stream.bare_newlines and fed.body == b"good\r\n"


def test_a_message_whose_last_octet_is_a_cr_is_bare():
    fed = Fed([b"text\r"], passes_bare=False)
    assert fed.stream.bare_newlines and fed.body == b"text\r"


def test_a_body_of_nothing_but_dots_does_not_shatter_into_as_many_views():
    raw = b".\r\n" * 20_000
    fed = Fed([raw])
    assert fed.body == stuffed(raw) and fed.views < 200


def test_silence_within_a_view_keeps_the_next_ones_back():
    seen = []
    stream = BdatStream(lambda view: (seen.append(bytes(view)), stream.silence()), binary=False)
    stream.feed(bytearray(b"a\r\n.b\r\n.c"), 0, 9)
    stream.finish()
    assert seen == [b"a\r\n"]


@pytest.mark.parametrize(
    ("arguments", "chunk"),
    [
        (b"0", (0, False)),
        (b"5 LAST", (5, True)),
        (b"5 last", (5, True)),
        (b"00005", (5, False)),
        (b" 5  Last ", (5, True)),
        (b"9999999999999999999", (9999999999999999999, False)),
        (b"10000000000000000000", None),
        (b"", None),
        (b"LAST", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.0", None),
        (b"0x10", None),
        (b"1_0", None),
        (b"\xb2", None),
        (b"5 LAST LAST", None),
        (b"5 FIRST", None),
        (b"5LAST", None),
        (b"5\tLAST", None),
        (b"5\0", None),
    ],
)
def test_arguments_of_bdat(arguments, chunk):
    assert parse_bdat(arguments) == chunk
