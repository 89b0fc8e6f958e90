"""Whether a stretch of a body holds a CR or LF that is not part of CRLF, at the speed of memory where it can be.

A profile showed this check to cost as much as all the rest of a large message: three vectorised counts stop at every
line end, a Hyperscan or `re` automaton wakes up at each. A loop of C that compares each octet with the one before
takes 2 µs for 64 KiB of text where the counts take 19. It comes with the compiled modules; the sources as they are
count, and both are held to the same tests.

It knows neither lines nor messages. Called by `wire.data_stream` and `wire.bdat_stream`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import stringzilla as sz

try:
    from appliance.wire import bare
except ImportError:
    bare = None  # type: ignore[assignment]

Buffer = bytearray | bytes


def has_bare_by_count(buffer: Buffer, start: int, stop: int) -> bool:
    """`has_bare` without anything compiled."""
    if start >= stop:
        return False
    if buffer[start] == 10:
        start += 1
    if stop > start and buffer[stop - 1] == 13:
        stop -= 1
    line_feeds = sz.count(buffer, b"\n", start, stop)
    if line_feeds != sz.count(buffer, b"\r", start, stop):
        return True
    return bool(line_feeds != sz.count(buffer, b"\r\n", start, stop))


has_bare: Final[Callable[[Buffer, int, int], bool]] = has_bare_by_count if bare is None else bare.has_bare
"""True if `buffer[start:stop]` has a CR without LF behind it or an LF without CR before it.

The edges are the caller's: an LF at the first place and a CR at the last are taken as good here.
"""
