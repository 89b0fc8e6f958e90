"""Whether a stretch of a body holds a CR or LF that is not part of CRLF, at the speed of memory where it can be.

A profile showed this check to cost more than all the rest of a large message: counting newlines runs at 1 to 5 GB/s
and a Hyperscan or `re` automaton at about 1, for each line end wakes them up. But large bodies are attachments, and
attachments are base64: lines of one length. There the line ends stand on a lattice. Two strided slices prove that each
lattice point is CRLF; with those points blanked, two searches for one octet (75 GB/s, where a set of two takes four
times as long) prove that there is no other CR or LF; then the points are put back. Where another one is found the
stretch is counted: two short lines may well stand where one long line was expected. Everything else is counted, too,
and after a few changes of the line length the whole rest, or a peer could choose lengths that make each lattice a vain
effort.

The blanking happens in the receive buffer itself, which costs no copy; it belongs to the caller, who sees it unchanged
on return, and nobody else may look at these octets meanwhile. Strided slices are taken of the bytearray, not of a
memoryview, which walks items eight times slower.

It knows neither lines nor messages. Called by `wire.data_stream` and `wire.bdat_stream`.
"""

from __future__ import annotations

from typing import Final

import stringzilla as sz

Buffer = bytearray | bytes

_LATTICE_FROM_OCTETS: Final = 4096
_LATTICE_LINES: Final = 16  # fewer regular lines than this are counted
_MOST_SECTIONS: Final = 8
_MOST_LINES: Final = 65536
_BLANKS: Final = b" " * _MOST_LINES
_LF_RUN: Final = b"\n" * _MOST_LINES
_CR_RUN: Final = b"\r" * _MOST_LINES


def has_bare(buffer: Buffer, start: int, stop: int) -> bool:
    """True if `buffer[start:stop]` has a CR without LF behind it or an LF without CR before it.

    The edges are the caller's: an LF at the first place and a CR at the last are taken as good here. Views of the
    buffer may exist, but no other thread may read the stretch during the call.
    """
    if start >= stop:
        return False
    if buffer[start] == 10:
        start += 1
    if stop > start and buffer[stop - 1] == 13:
        stop -= 1
    if stop - start >= _LATTICE_FROM_OCTETS and isinstance(buffer, bytearray):
        return _has_bare_by_lattice(buffer, start, stop)
    return _has_bare_by_count(buffer, start, stop)


def _has_bare_by_count(buffer: Buffer, start: int, stop: int) -> bool:
    line_feeds = sz.count(buffer, b"\n", start, stop)
    if line_feeds != sz.count(buffer, b"\r", start, stop):
        return True
    return bool(line_feeds != sz.count(buffer, b"\r\n", start, stop))


def _has_bare_by_lattice(buffer: bytearray, start: int, stop: int) -> bool:
    for _ in range(_MOST_SECTIONS):
        if stop - start < _LATTICE_FROM_OCTETS:
            break
        first = buffer.find(b"\n", start, stop)
        if first < 0:
            return buffer.find(b"\r", start, stop) >= 0
        stride = buffer.find(b"\n", first + 1, stop) - first
        if first == start or stride < 3:
            break
        lines = _regular_lines(buffer, first, stride, stop)
        if lines < _LATTICE_LINES:
            break
        end = first + (lines - 1) * stride + 1
        if _has_stray(buffer, start, first, stride, lines, end) and _has_bare_by_count(buffer, start, end):
            return True
        start = end
    return _has_bare_by_count(buffer, start, stop)


def _regular_lines(buffer: bytearray, first: int, stride: int, stop: int) -> int:
    """How many lattice points from `first` on are CRLF without a gap."""
    points = min((stop - 1 - first) // stride + 1, _MOST_LINES)
    end = first + (points - 1) * stride + 1
    feeds = buffer[first:end:stride]
    if feeds != _LF_RUN[:points]:
        points -= len(feeds.lstrip(b"\n"))
    returns = buffer[first - 1 : end - 1 : stride][:points]
    if returns != _CR_RUN[:points]:
        points -= len(returns.lstrip(b"\r"))
    return points


def _has_stray(buffer: bytearray, start: int, first: int, stride: int, lines: int, end: int) -> bool:
    """True if there is a CR or LF beside the lattice's own."""
    blanks = _BLANKS[:lines]
    buffer[first:end:stride] = blanks
    buffer[first - 1 : end - 1 : stride] = blanks
    try:
        return buffer.find(b"\n", start, end) >= 0 or buffer.find(b"\r", start, end) >= 0
    finally:
        buffer[first:end:stride] = _LF_RUN[:lines]
        buffer[first - 1 : end - 1 : stride] = _CR_RUN[:lines]
