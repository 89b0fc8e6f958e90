"""`has_bare` says what a plain regular expression says, whatever line ends there are, compiled or not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.wire.newlines import has_bare, has_bare_by_count

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BASE64 = b"A" * 76 + b"\r\n"


def reference(octets: bytes) -> bool:
    octets = octets[1:] if octets[:1] == b"\n" else octets
    octets = octets[:-1] if octets[-1:] == b"\r" else octets
    return _BARE.search(octets) is not None


def agrees(octets: bytes, start: int = 0, stop: int | None = None) -> bool:
    stop = len(octets) if stop is None else stop
    buffer = bytearray(octets)
    expected = reference(octets[start:stop])
    for judge in (has_bare, has_bare_by_count):
        assert judge(octets, start, stop) is expected
        assert judge(buffer, start, stop) is expected
    assert buffer == octets
    return expected


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"bc"]), max_size=40).map(b"".join))
def test_short_stretches_are_judged_as_a_regular_expression_does(octets):
    agrees(octets)


@pytest.mark.parametrize("octets", [b"", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\n\r", b"a\r", b"\na", b"\n\r\n\r"])
def test_the_edges_are_left_to_the_caller(octets):
    agrees(octets)


@st.composite
def sections(draw):
    """Sections of lines of one length each, with strays planted anywhere, as a stretch of a larger buffer."""
    lines = draw(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 220)), min_size=1, max_size=8))
    octets = bytearray(b"".join((b"x" * length + b"\r\n") * count for length, count in lines))
    octets *= 1 + 5000 // len(octets)
    spots = st.tuples(st.integers(0, len(octets) - 1), st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\r", b"x", b"xx"]))
    for place, stray in draw(st.lists(spots, max_size=3)):
        octets[place : place + len(stray)] = stray
    return bytes(octets), draw(st.integers(0, 200)), len(octets) - draw(st.integers(0, 200))


@settings(max_examples=200, deadline=None)
@given(sections())
def test_regular_lines_with_strays_are_judged_as_a_regular_expression_does(stretch):
    agrees(*stretch)


@pytest.mark.parametrize("stray", [b"\r", b"\n"])
@pytest.mark.parametrize("line", [0, 1, 15, 16, 40, 98, 99])
@pytest.mark.parametrize("column", [0, 1, 38, 75, 76, 77])
def test_a_stray_in_base64_is_found_wherever_it_stands(stray, line, column):
    octets = bytearray(b"x" + _BASE64 * 100)
    place = 1 + line * 78 + column
    is_stray = octets[place] != stray[0]  # some places hold that very octet
    octets[place] = stray[0]
    assert agrees(bytes(octets)) is is_stray


def test_lines_whose_length_changes_are_sound():
    assert not agrees(_BASE64 * 40 + b"\r\n" + b"B" * 74 + b"\r\n" + _BASE64 * 40)
    assert not agrees((b"ab\r\n" * 20 + b"\r\n\r\n") * 200)
    assert not agrees((b"a\r\n" * 17 + b"bb\r\n") * 2_000)


def test_a_bare_newline_beside_two_short_lines_is_still_found():
    assert agrees(_BASE64 * 40 + b"\r\n" + b"B" * 74 + b"\r\n" + _BASE64 * 40 + b"C" * 20 + b"\n" + b"C" * 57 + _BASE64)


def test_octets_outside_the_stretch_do_not_count():
    octets = b"\n\r" * 10 + _BASE64 * 100 + b"\r\r"
    assert not agrees(octets, 20, len(octets) - 2)
    assert agrees(octets)


def test_a_stretch_without_any_line_end_is_sound():
    assert not agrees(b"x" * 10_000)
    assert agrees(b"x" * 5_000 + b"\r" + b"x" * 5_000)


def test_views_of_the_buffer_do_not_hinder():
    buffer = bytearray(_BASE64 * 100)
    with memoryview(buffer):
        assert not has_bare(buffer, 0, len(buffer))


@pytest.mark.parametrize(("start", "stop"), [(-1, 4), (0, 5), (2, 9)])
def test_a_stretch_that_is_not_within_the_buffer_is_not_judged(start, stop):
    if has_bare is has_bare_by_count:
        pytest.skip("the sources as they are trust their caller")
    with pytest.raises(IndexError):
        has_bare(b"a\nbc", start, stop)
