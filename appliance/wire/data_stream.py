"""The body of DATA as a stream: where it ends, whether its line ends are sound, without touching an octet.

Only CRLF.CRLF ends the data (RFC 5321 §4.1.1.4); every look-alike is content, and content with a bare CR or LF is
marked, to be refused. The stream passes on views of the caller's buffer in their dot-stuffed form; at most the two
octets that could be the beginning of the end are held back between feeds. Feeding in any split gives the same result.

It knows nothing of headers, sizes or policy. Called by `wire.smtp_server` and by the submission door.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import stringzilla as sz

from appliance.wire.newlines import Buffer, has_bare

END: Final = b"\r\n.\r\n"
_DOT: Final = memoryview(b".")
_DOT_CR: Final = memoryview(b".\r")

Sink = Callable[[memoryview], None]


def nobody(view: memoryview) -> None:
    """The sink of a body that nobody wants any more."""


class DataStream:
    """One body. `sink` is called with views of the body; each is the callee's until it returns."""

    __slots__ = ("_held", "_passes_bare", "_sink", "_tail", "bare_newlines", "ended")

    def __init__(self, sink: Sink, *, passes_bare: bool = True) -> None:
        """With `passes_bare` False, `sink` sees nothing of a feed with a bare CR or LF, and nothing after it."""
        self._sink = sink
        self._passes_bare = passes_bare
        self._tail = b"\r\n"  # DATA's own line end: a dot right behind it ends an empty message
        self._held = 0
        self.ended = False
        self.bare_newlines = False

    def feed(self, buffer: Buffer, start: int, stop: int) -> int:
        """Takes `buffer[start:stop]`; returns where the next command begins, or `stop` while the body goes on.

        The buffer must not change during the call, and may afterwards. A bytearray is checked much faster than bytes.
        """
        if start == stop:
            return stop
        end = self._end_at_edge(buffer, start, stop) if buffer[start] <= 46 else -1  # CR, LF and dot are not above 46
        if end < 0:
            # Base64 has no dot, and one octet is found three times as fast as five.
            dot = buffer.find(b".", start, stop)
            end = sz.find(buffer, END, max(start, dot - 2), stop) + 5 if dot >= 0 else 0
            if end < 5:
                self._pass(buffer, start, stop)
                return stop
        self._finish(buffer, start, end)
        return end

    def _end_at_edge(self, buffer: Buffer, start: int, stop: int) -> int:
        """Where an end of data stops that began in earlier feeds, or -1."""
        end = (self._tail + buffer[start : min(start + 4, stop)]).find(END)
        return end + start + 5 - len(self._tail) if end >= 0 else -1

    def silence(self) -> None:
        """The sink is not called any more, not even by a `feed` that is under way; the end is still looked for."""
        self._sink = nobody

    def _finish(self, buffer: Buffer, start: int, end: int) -> None:
        """The body ends with the CRLF in front of the dot; `end` is behind the terminator."""
        self.ended = True
        body_end = end - 3
        if body_end > start:
            self._check(buffer, start, body_end)
            self._flush_held()
            self._sink(memoryview(buffer)[start:body_end])
        # Otherwise what is held is the terminator's own beginning, and the body's last CRLF has been passed on.

    def _pass(self, buffer: Buffer, start: int, stop: int) -> None:
        self._check(buffer, start, stop)
        tail = (self._tail + buffer[max(start, stop - 4) : stop])[-4:]
        self._tail = tail
        hold = 2 if tail == b"\r\n.\r" else 1 if tail.endswith(b"\r\n.") else 0
        if hold <= stop - start:
            self._flush_held()
            if stop - hold > start:
                self._sink(memoryview(buffer)[start : stop - hold])
        # Otherwise only the CR came new: the dot of the last feed stays held with it.
        self._held = hold

    def _flush_held(self) -> None:
        if self._held:
            self._sink(_DOT if self._held == 1 else _DOT_CR)
            self._held = 0

    def _check(self, buffer: Buffer, start: int, stop: int) -> None:
        if self.bare_newlines:
            return
        after_cr = self._tail[-1] == 13
        # LF.LF must not end a message, or a peer can smuggle a second one: RFC 5321 §4.1.1.4.
        if after_cr != (buffer[start] == 10) or has_bare(buffer, start, stop):
            self.bare_newlines = True
            if not self._passes_bare:
                self.silence()


# A dot alone between CRLF and a bare newline, too, would become an end of data: it is stuffed like one behind it.
_NEWLINE: Final = re.compile(rb"\r\n(\.(?=\r(?!\n)|\n))?|(\r(?!\n)|\n)(\.?)")


class Normaliser:
    """Turns bare CR and LF into CRLF, for `delivery.bare_newline = "normalise"`.

    A dot that comes to stand at a line's beginning, or alone on a line, by this is stuffed (RFC 5321 §4.5.2), or the
    next hop would see an end of data that we did not.
    """

    __slots__ = ("_before", "_waiting", "changed")

    def __init__(self) -> None:
        self._before = b"\r\n"  # the newline that was passed on last, if nothing followed it yet
        self._waiting = b""  # CR, dot or both: what comes next says what becomes of them
        self.changed = False

    def feed(self, view: memoryview) -> bytes:
        """The octets to send on instead of `view`; up to two at its end wait for the next call, so they may be none.

        A body from `DataStream` or `BdatStream` ends in LF: when it is over, nothing waits.
        """
        text = b"".join((self._before, self._waiting, view))
        known = len(text) - text.endswith(b"\r")
        known -= text.endswith(b"\r\n.", 0, known)
        self._waiting = text[known:]
        text = text[:known]
        skip = 2 if self._before else 0  # what stands before has been sent as CRLF
        self._before = b"\r\n" if text.endswith(b"\r\n") else b"\n" if text.endswith(b"\n") else b""
        return _NEWLINE.sub(self._replace, text)[skip:]

    def _replace(self, match: re.Match[bytes]) -> bytes:
        if match[2] is None:
            return b"\r\n.." if match[1] else b"\r\n"
        self.changed = True
        return b"\r\n.." if match[3] else b"\r\n"
