"""The body of DATA: its end, its line ends, its octets; and the normaliser."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.wire.data_stream import END, DataStream, Normaliser

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_ODD = {
    "CR": b"\r", "LF": b"\n", "CRLF": b"\r\n", "LFCR": b"\n\r", "CRCRLF": b"\r\r\n", "CRLFLF": b"\r\n\n", "NUL": b"\0",
    "VT": b"\v", "FF": b"\f", "NEL": b"\x85", "NEL in UTF-8": b"\xc2\x85", "BOM": b"\xef\xbb\xbf", "blank": b" ",
    "tab": b"\t", "LS": b"\xe2\x80\xa8", "nothing": b"", "CR NUL LF": b"\r\0\n", "CRLF blank": b"\r\n ",
    "8 bit CRLF": b"\x8d\x8a",
}  # fmt: skip
_SOUP = st.lists(
    st.sampled_from([b"\r\n.\r\n", b"\r\n.", b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"text"]), max_size=30
).map(b"".join)
_CUTS = st.lists(st.integers(1, 9), max_size=60)


class Fed:
    """A stream that was fed pieces from a buffer which is overwritten after each feed."""

    def __init__(self, pieces, **options):
        self.body = b""
        self.pieces = 0
        self.stream = DataStream(self._take, **options)
        self.rest = b""
        for place, piece in enumerate(pieces):
            buffer = bytearray(b"\n.\r" + piece + b"\r\n.\r\n")
            after = self.stream.feed(buffer, 3, 3 + len(piece))
            taken, buffer[:] = piece[: after - 3], b"?" * len(buffer)
            if self.stream.ended:
                self.rest = piece[len(taken) :] + b"".join(pieces[place + 1 :])
                break

    def _take(self, view):
        self.body += view
        self.pieces += 1


def cut(octets, cuts):
    places = [0, *(place for place in itertools.accumulate(cuts) if place < len(octets)), len(octets)]
    return [octets[start:stop] for start, stop in itertools.pairwise(places)]


def singly(octets):
    return [octets[place : place + 1] for place in range(len(octets))]


@settings(max_examples=400, deadline=None)
@given(_SOUP, _CUTS)
@example(b".\r\n", [1, 1])
@example(b"\r\n.\r\n", [4])
@example(b"\r\n.\r.\r\n", [4, 1])
def test_any_split_gives_what_a_search_in_the_whole_gives(octets, cuts):
    end = (b"\r\n" + octets).find(END)
    body = octets[:end] if end >= 0 else octets
    fed = Fed(cut(octets, cuts))
    assert fed.stream.ended is (end >= 0)
    if end >= 0:
        assert fed.body == body and fed.rest == octets[end + 3 :]
        assert fed.stream.bare_newlines is bool(_BARE.search(body))
    else:
        assert octets == fed.body + octets[len(fed.body) :] and len(octets) - len(fed.body) <= 2


@pytest.mark.parametrize("before", _ODD)
@pytest.mark.parametrize("split", [lambda octets: [octets], singly], ids=["whole", "an octet a feed"])
def test_no_look_alike_of_the_end_ends_the_message(before, split):
    for after in _ODD:
        is_content(before, after, split)


def is_content(before, after, split):
    octets = b"hi" + _ODD[before] + b"." + _ODD[after] + b"MAIL FROM:<evil@x.test>\r\n.\r\nQUIT\r\n"
    body, _, rest = octets.partition(END)
    fed = Fed(split(octets))
    assert fed.stream.ended and fed.rest == rest
    assert rest == b"QUIT\r\n" or (before.endswith("CRLF") and after.startswith("CRLF"))
    assert fed.body == body + b"\r\n"
    assert fed.stream.bare_newlines is bool(_BARE.search(fed.body))


@given(st.lists(st.binary(max_size=12).filter(lambda line: not _BARE.search(line) and b"\r\n" not in line)), _CUTS)
def test_what_is_unstuffed_is_what_was_sent(lines, cuts):
    stuffed = b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)
    fed = Fed(cut(stuffed + b".\r\n", cuts))
    assert fed.stream.ended and not fed.stream.bare_newlines and fed.body == stuffed
    unstuffed = [line[1:] if line.startswith(b".") else line for line in fed.body.split(b"\r\n")[:-1]]
    assert unstuffed == lines


def test_an_empty_message_ends_with_the_first_dot():
    fed = Fed([b".\r\nQUIT\r\n"])
    assert fed.stream.ended and fed.body == b"" and fed.rest == b"QUIT\r\n"


def test_a_dot_split_over_two_reads_still_ends_the_message():
    fed = Fed([b"hi\r\n.", b"\r\n"])
    assert fed.stream.ended and fed.body == b"hi\r\n"


def test_a_body_that_comes_in_one_feed_goes_out_as_one_view():
    assert Fed([b"line\r\n" * 5000 + b".\r\n"]).pieces == 1


def test_the_end_is_found_deep_in_a_large_feed():
    text = (b"A" * 76 + b"\r\n") * 1600
    fed = Fed([text, text + b".\r\n" + text])
    assert fed.stream.ended and fed.body == text * 2 and fed.rest == text and not fed.stream.bare_newlines


@pytest.mark.parametrize("bare", [b"a\nb", b"a\rb", b"\r\r\n"])
def test_nothing_is_passed_on_from_a_bare_newline_on_unless_it_is_wanted(bare):
    pieces = [b"good\r\n", b"also " + bare + b"more\r\n", b"and more\r\n.", b"\r\n"]
    fed = Fed(pieces, passes_bare=False)
    assert fed.stream.ended and fed.stream.bare_newlines and fed.body == b"good\r\n"
    assert Fed(pieces).body == b"".join(pieces)[:-3]


def test_a_cr_whose_lf_does_not_come_is_bare_also_at_the_end_of_a_feed():
    assert Fed([b"a\r", b"b\r\n.\r\n"], passes_bare=False).body == b"a\r"
    assert Fed([b"a\r", b"b\r\n.\r\n"]).stream.bare_newlines
    assert not Fed([b"a\r", b"\n.\r\n"]).stream.bare_newlines
    assert Fed([b"a", b"\n.\r\n"]).stream.bare_newlines


def test_silence_within_a_view_keeps_the_next_one_back():
    seen = []
    stream = DataStream(lambda view: (seen.append(bytes(view)), stream.silence()))
    stream.feed(bytearray(b"\r\n."), 0, 3)
    stream.feed(bytearray(b".more\r\n.\r\n"), 0, 10)
    assert stream.ended and seen == [b"\r\n"]


# -- normalising


def normalised(pieces):
    normaliser = Normaliser()
    return b"".join(normaliser.feed(memoryview(piece)) for piece in pieces), normaliser.changed


def reference(octets):
    """Each bare newline becomes CRLF, and a dot behind it, or alone before it, gets a dot."""
    output = []
    for line in octets.split(b"\r\n"):
        first, *others = re.split(rb"[\r\n]", line)
        first = b".." if first == b"." and others else first
        output.append(b"\r\n".join([first, *(b"." + piece if piece[:1] == b"." else piece for piece in others)]))
    return b"\r\n".join(output)


@settings(max_examples=400, deadline=None)
@given(_SOUP, _CUTS)
@example(b"a\n.b", [2])
@example(b"a\r.\r\nb", [2])
@example(b"\n\r.", [1, 1])
@example(b"a\r\r\n.b", [2, 1])
@example(b".\nMAIL", [1])
@example(b"\r\n.\rMAIL", [3])
@example(b"\r\n.\r\rMAIL", [4])
def test_normalised_octets_do_not_depend_on_the_split_and_have_no_bare_newline(octets, cuts):
    octets += b"\r\n"
    output, changed = normalised(cut(octets, cuts))
    assert output == reference(octets) and not _BARE.search(output)
    assert changed is bool(_BARE.search(octets))


@settings(max_examples=200, deadline=None)
@given(_SOUP, _CUTS)
@example(b"\r\n.\nMAIL FROM:<evil@x.test>", [])
@example(b".\rMAIL FROM:<evil@x.test>", [1])
def test_normalising_makes_no_end_of_data(octets, cuts):
    whole = octets + b"\r\n.\r\n"
    body = Fed([whole]).body
    output, _ = normalised(cut(body, cuts))
    assert (b"\r\n" + output).find(END) == -1
