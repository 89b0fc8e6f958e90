"""Takes dot-stuffing off (RFC 5321 §4.5.2) by pointing around the dots: sub-views of what came, no copies.

The first dot of each line is left out, over any number of feeds. A body whose lines nearly all begin with dots would
shatter into millions of views; from the 64th dot of a feed on, the rest of that feed is one copy without them. Knows
no end of data: the octets it is given are the message's. Called by the scanners that must see the message itself.
"""

from __future__ import annotations

from typing import Final

from stringzilla import find

_MAX_PIECES: Final = 64
_DOT: Final = 0x2E
_LF: Final = 0x0A


class Unstuffer:
    """The state of one message: whether the next octet begins a line."""

    __slots__ = ("_at_line_start",)

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, view: memoryview) -> list[memoryview]:
        """`view` without its stuffed dots, in pieces that belong to whom `view` belongs to."""
        size = len(view)
        if not size:
            return []
        begin = 1 if self._at_line_start and view[0] == _DOT else 0
        self._at_line_start = view[size - 1] == _LF
        found = find(view, b"\n.", begin)
        if found < 0:
            return [view[begin:] if begin else view]
        pieces = []
        while found >= 0:
            pieces.append(view[begin : found + 1])
            begin = found + 2
            if len(pieces) == _MAX_PIECES:
                pieces.append(memoryview(_without_dots(view, begin)))
                return pieces
            found = find(view, b"\n.", begin)
        pieces.append(view[begin:])
        return pieces


def _without_dots(view: memoryview, begin: int) -> bytes:
    return view[begin:].tobytes().replace(b"\n.", b"\n")
