"""The body of DATA as a stream: where it ends, whether its line ends are sound, without touching an octet.

Only CRLF.CRLF ends the data (RFC 5321 §4.1.1.4); every look-alike is content, and content with a bare CR or LF is
marked, to be refused. The stream passes on views of the caller's buffer in their dot-stuffed form; at most the two
octets that could be the beginning of the end are held back between feeds. Feeding in any split gives the same result.

It knows nothing of headers, sizes or policy. Called by `wire.smtp_server` and by the submission door.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import stringzilla as sz

from appliance.wire.newlines import Buffer, has_bare

END = b"\r\n.\r\n"
_DOT = memoryview(b".")
_DOT_CR = memoryview(b".\r")


class DataStream:
    """One body. `sink` is called with views of the body; each is the callee's until it returns."""

    __slots__ = ("_held", "_sink", "_tail", "bare_newlines", "ended")

    def __init__(self, sink: Callable[[memoryview], None]) -> None:
        self._sink = sink
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
        edge = self._tail + buffer[start : min(start + 4, stop)]
        end = edge.find(END)
        if end >= 0:
            end += start + 5 - len(self._tail)
        else:
            end = sz.find(buffer, END, start, stop)
            if end >= 0:
                end += 5
        if end >= 0:
            self._finish(buffer, start, end)
            return end
        self._pass(buffer, start, stop)
        return stop

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
        hold = 2 if tail == b"\r\n.\r" else 1 if tail.endswith(b"\r\n.") else 0
        if hold > stop - start:
            self._held = hold  # only the CR came new: the dot of the last feed stays held with it
        else:
            self._flush_held()
            if stop - hold > start:
                self._sink(memoryview(buffer)[start : stop - hold])
            self._held = hold
        self._tail = tail

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


_NEWLINE = re.compile(rb"\r\n|(\r(?!\n)|\n)(\.?)")


class Normaliser:
    """Turns bare CR and LF into CRLF, for `delivery.bare_newline = "normalise"`.

    A dot that comes to stand at a line's beginning by this is stuffed (RFC 5321 §4.5.2), or the next hop would see an
    end of data that we did not.
    """

    __slots__ = ("_after_bare", "_pending_cr", "changed")

    def __init__(self) -> None:
        self._pending_cr = False
        self._after_bare = False
        self.changed = False

    def feed(self, view: memoryview) -> bytes:
        """The octets to send on instead of `view`; a CR at its end waits for the next call."""
        octets = bytes(view)
        if self._pending_cr:
            octets = b"\r" + octets
        elif self._after_bare and octets[:1] == b".":
            octets = b"." + octets
        self._after_bare = False
        self._pending_cr = octets.endswith(b"\r")
        if self._pending_cr:
            octets = octets[:-1]
        normal = _NEWLINE.sub(self._replace, octets)
        return normal

    def _replace(self, match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return b"\r\n"
        self.changed = True
        if match.end() == len(match.string) and not match[2]:
            self._after_bare = True
        return b"\r\n.." if match[2] else b"\r\n"
