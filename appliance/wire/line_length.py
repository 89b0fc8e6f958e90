"""Whether a body has a line that is longer than the configuration wants (RFC 5321 §4.5.3.1.6 gives 998 octets).

Looks for the last line end within reach of each line's beginning, so that ordinary text is skipped through in steps of
about the limit. Knows nothing of what follows from it. Called by the transaction, only where a limit is configured.
"""

from __future__ import annotations

from typing import Final

import stringzilla as sz

_DOT: Final = 46


class LineLength:
    """One body in the dot-stuffed form; a stuffed dot does not count. Any split of the body gives the same result."""

    __slots__ = ("_begun_octets", "_limit_octets", "_stuffed")

    def __init__(self, limit_octets: int) -> None:
        """`limit_octets` are those of a line without its CRLF."""
        self._limit_octets = limit_octets
        self._begun_octets = 0  # of the line that the last view ended in
        self._stuffed = False

    def feed(self, view: memoryview) -> bool:
        """True once a line is too long. `view` is the caller's again on return."""
        size = len(view)
        start = -self._begun_octets
        while start < size:
            if start >= 0:
                self._stuffed = view[start] == _DOT
            reach = start + self._limit_octets + 2 + self._stuffed
            end = int(sz.rfind(view, b"\n", max(start, 0), min(reach, size))) if reach > 0 else -1
            if end < 0:
                if reach <= size:
                    return True
                break
            start = end + 1
        self._begun_octets = size - start
        return False
