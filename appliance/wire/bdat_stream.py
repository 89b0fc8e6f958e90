"""The body of BDAT chunks as a stream (RFC 3030): raw octets in, the dot-stuffed form of DATA out.

A next hop is always sent DATA, which every server takes, unless the body is BINARYMIME: then the octets stay raw and
go on by BDAT. Stuffing inserts constant dots between views of the caller's buffer. A body of nearly nothing but lines
with a dot would shatter into more views than octets: from the 64th on, the rest of a feed is one stuffed copy.

It knows sizes and chunks as little as `data_stream` does. Called by `wire.smtp_server`.
"""

from __future__ import annotations

import re
from typing import Final

import stringzilla as sz

from appliance.wire.data_stream import Sink, nobody
from appliance.wire.newlines import Buffer, has_bare

_DOT: Final = memoryview(b".")
_LF: Final = memoryview(b"\n")
_CRLF: Final = memoryview(b"\r\n")
_MOST_PIECES: Final = 64
_ARGUMENTS: Final = re.compile(rb" *([0-9]{1,19})(?: +([Ll][Aa][Ss][Tt]))? *")


class BdatStream:
    """All chunks of one message. `sink` is called with views; each is the callee's until it returns."""

    __slots__ = ("_at_line_start", "_last", "_passes_bare", "_sink", "bare_newlines", "binary")

    def __init__(self, sink: Sink, *, binary: bool, passes_bare: bool = True) -> None:
        """With `passes_bare` False, `sink` sees nothing of a feed with a bare CR or LF, and nothing after it."""
        self._sink = sink
        self._passes_bare = passes_bare
        self.binary = binary
        self.bare_newlines = False
        self._last = 10  # as if a line had just ended
        self._at_line_start = True

    def feed(self, buffer: Buffer, start: int, stop: int) -> None:
        """Takes `buffer[start:stop]`, all of it body. The buffer must not change during the call, and may later."""
        if start == stop:
            return
        view = memoryview(buffer)
        if self.binary:
            self._sink(view[start:stop])
            return
        last, at_line_start = self._last, self._at_line_start
        if not self.bare_newlines and ((last == 13) != (buffer[start] == 10) or has_bare(buffer, start, stop)):
            self._is_bare()
        self._last = buffer[stop - 1]
        before_last = buffer[stop - 2] if stop - start > 1 else last
        self._at_line_start = self._last == 10 and before_last == 13
        if at_line_start and buffer[start] == 46:
            self._sink(_DOT)
        elif last == 13 and buffer[start : start + 2] == b"\n." and stop - start > 1:
            self._sink(view[start : start + 1])
            self._sink(_DOT)
            start += 1
        self._stuff(buffer, view, start, stop)

    def _stuff(self, buffer: Buffer, view: memoryview, start: int, stop: int) -> None:
        """Passes on `buffer[start:stop]` with a dot more before each dot at a line's beginning (RFC 5321 §4.5.2).

        A line begins behind CRLF only: behind a bare newline the dot is stuffed by the one who makes a CRLF of it.
        """
        pieces = 0
        while (dot := sz.find(buffer, b"\r\n.", start, stop)) >= 0:
            pieces += 1
            if pieces == _MOST_PIECES:
                self._sink(memoryview(bytes(view[start:stop]).replace(b"\r\n.", b"\r\n..")))
                return
            self._sink(view[start : dot + 2])
            self._sink(_DOT)
            start = dot + 2
        self._sink(view[start:stop])

    def finish(self) -> None:
        """The LAST chunk has come: a message that does not end in CRLF is ended so, for DATA cannot say otherwise."""
        if self.binary:
            return
        if self._last == 13:
            self._is_bare()
            self._sink(_LF)
        elif self._last != 10:
            self._sink(_CRLF)

    def silence(self) -> None:
        """The sink is not called any more, not even by a `feed` that is under way."""
        self._sink = nobody

    def _is_bare(self) -> None:
        self.bare_newlines = True
        if not self._passes_bare:
            self.silence()


def parse_bdat(raw_arguments: bytes) -> tuple[int, bool] | None:
    """Octets of the chunk and whether it is the last, from behind `BDAT ` (RFC 3030 §2); None: malformed."""
    match = _ARGUMENTS.fullmatch(raw_arguments)
    return None if match is None else (int(match[1]), match[2] is not None)
