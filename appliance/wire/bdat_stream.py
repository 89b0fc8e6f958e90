"""The body of BDAT chunks as a stream (RFC 3030): raw octets in, the dot-stuffed form of DATA out.

A next hop is always sent DATA, which every server takes, unless the body is BINARYMIME: then the octets stay raw and
go on by BDAT. Stuffing inserts constant dots between views of the caller's buffer; no octet is copied.
"""

from __future__ import annotations

from collections.abc import Callable

import stringzilla as sz

from appliance.wire.newlines import Buffer, has_bare

_DOT = memoryview(b".")
_CRLF = memoryview(b"\r\n")


class BdatStream:
    """All chunks of one message. `sink` is called with views; each is the callee's until it returns."""

    __slots__ = ("_last", "_sink", "bare_newlines", "binary")

    def __init__(self, sink: Callable[[memoryview], None], *, binary: bool) -> None:
        self._sink = sink
        self.binary = binary
        self.bare_newlines = False
        self._last = 10  # as if a line had just ended

    def feed(self, buffer: Buffer, start: int, stop: int) -> None:
        """Takes `buffer[start:stop]`, all of it body."""
        if start == stop:
            return
        if self.binary:
            self._sink(memoryview(buffer)[start:stop])
            return
        if not self.bare_newlines:
            self.bare_newlines = (self._last == 13) != (buffer[start] == 10) or has_bare(buffer, start, stop)
        view = memoryview(buffer)
        if self._last == 10 and buffer[start] == 46:
            self._sink(_DOT)
        self._last = buffer[stop - 1]
        while (dot := sz.find(buffer, b"\n.", start, stop)) >= 0:
            self._sink(view[start : dot + 1])
            self._sink(_DOT)
            start = dot + 1
        self._sink(view[start:stop])

    def finish(self) -> None:
        """The LAST chunk has come: a message that does not end in CRLF is ended so, for DATA cannot say otherwise."""
        if self.binary:
            return
        if self._last == 13:
            self.bare_newlines = True
        elif self._last != 10:
            self._sink(_CRLF)
