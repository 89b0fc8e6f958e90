"""Line lengths: the limit to the octet, in any split."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.line_length import LineLength


def too_long(body: bytes, limit_octets: int, cuts: list[int]) -> bool:
    lines = LineLength(limit_octets)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    found = [lines.feed(memoryview(body)[a:b]) for a, b in itertools.pairwise(edges)]
    return any(found)


@given(st.lists(st.binary(max_size=9).map(lambda line: line.translate(None, b"\r\n"))), st.lists(st.integers(0, 99)))
def test_a_body_is_refused_exactly_when_a_line_is_over_the_limit_however_it_is_split(
    lines: list[bytes], cuts: list[int]
) -> None:
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    assert too_long(stuffed, 6, cuts) == any(len(line) > 6 for line in lines)


def test_the_limit_itself_passes_and_one_more_does_not() -> None:
    assert not too_long(b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n", 998, [])
    assert too_long(b"x" * 998 + b"\r\n" + b"y" * 999 + b"\r\n", 998, [])


def test_a_line_that_never_ends_is_too_long_before_it_does() -> None:
    assert too_long(b"x" * 5000, 998, [10, 20, 1500])
