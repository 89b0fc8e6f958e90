"""Replies of a server, parsed from chunks into `core.reply.Reply` (RFC 5321 §4.2), within bounds.

What is no reply raises, for a peer that breaks the grammar cannot be understood any more. The reader knows no
commands and no session. `smtp_client` calls it.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.core import reply
from appliance.core.errors import GatewayError
from appliance.core.reply import Reply

MAX_LINE_OCTETS: Final = 2048  # RFC 5321 §4.5.3.1.5 asks for 512
MAX_LINES: Final = 128
MAX_REPLY_OCTETS: Final = 64 << 10

# Code, text with its enhanced code apart; one that contradicts the code is text like any other (RFC 2034 §4).
_GRAMMAR: Final = r"(([2-5])[0-9][0-9])(?:([ -])(?:(\2\.[0-9]{1,3}\.[0-9]{1,3})(?: |(?=\r)))?([^\r\n\x00]*+))?\r\n"
_LINE: Final = re.compile(_GRAMMAR.encode())
_ONLY_LINE: Final = re.compile(_GRAMMAR)
_CACHED_CHUNK_OCTETS: Final = 512
_CACHED_CHUNKS: Final = 512


class ReplyError(GatewayError):
    """The next hop sent what is no reply, or one that nobody asked for; temporary, the connection is of no use."""

    reply = reply.NEXT_HOP_BABBLE


class ReceivedReply(Reply):
    """A reply as a server sent it: `raw` is what came, not a rendering."""

    __slots__ = ()

    def __init__(self, raw: bytes, code: int, enhanced: str, lines: tuple[str, ...]) -> None:
        self.raw = raw
        self.code = code
        self.enhanced = enhanced
        self.lines = lines


# A server says much the same all day: chunks that were seen before cost one look-up. Replies are immutable, and
# what is kept is bounded, so all readers of the process share it.
_seen: dict[bytes, tuple[Reply, ...]] = {}


class ReplyReader:
    """The reading side of one connection."""

    __slots__ = ("_code", "_enhanced", "_lines", "_partial", "_raw_lines", "_reply_octets")

    def __init__(self) -> None:
        self._partial = b""
        self._forget()

    @property
    def pending(self) -> bool:
        """Part of a reply has come."""
        return bool(self._partial or self._lines)

    def feed(self, chunk: bytes) -> tuple[Reply, ...]:
        """The replies that `chunk` completes, in order.

        Raises:
            ReplyError: not a reply, or one over the bounds.
        """
        if not self._partial and not self._lines:
            return _seen.get(chunk) or self._feed_whole(chunk)
        if b"\n" not in chunk and len(self._partial) + len(chunk) <= MAX_LINE_OCTETS:
            self._partial += chunk
            return ()
        partial, self._partial = self._partial, b""
        return self._parse(partial + chunk)

    def _feed_whole(self, chunk: bytes) -> tuple[Reply, ...]:
        """For a chunk that begins with a reply, and nearly always is one."""
        if len(chunk) > _CACHED_CHUNK_OCTETS:
            return self._parse(chunk)
        replies: tuple[Reply, ...]
        match = _ONLY_LINE.fullmatch(chunk.decode("utf-8", "replace"))
        if match is not None and match[3] != "-":
            code, _, _, enhanced, text = match.groups("")
            replies = (ReceivedReply(chunk, int(code), enhanced, (text,)),)
        else:
            replies = self._parse(chunk)
            if self._partial or self._lines:
                return replies
        if len(_seen) >= _CACHED_CHUNKS:
            _seen.clear()
        _seen[chunk] = replies
        return replies

    def _parse(self, data: bytes) -> tuple[Reply, ...]:
        replies: list[Reply] = []
        start, stop = 0, len(data)
        while start < stop:
            match = _LINE.match(data, start)
            if match is None:
                self._keep(data[start:])
                break
            end = match.end()
            if end - start > MAX_LINE_OCTETS:
                raise ReplyError(f"reply line of {end - start} octets")
            if match[3] == b"-" or self._lines:
                self._add_line(match)
                if match[3] != b"-":
                    replies.append(self._joined())
            else:
                code, enhanced, text = _parts(match)
                replies.append(ReceivedReply(match[0], code, enhanced, (text,)))
            start = end
        return tuple(replies)

    def _keep(self, rest: bytes) -> None:
        """Holds back an unfinished line.

        Raises:
            ReplyError: it is finished, or too long to become a line.
        """
        if b"\n" in rest or len(rest) > MAX_LINE_OCTETS:
            raise ReplyError(f"not a reply: {rest[:80]!r}")
        self._partial = rest

    def _add_line(self, match: re.Match[bytes]) -> None:
        code, enhanced, text = _parts(match)
        if not self._lines:
            self._code, self._enhanced = code, enhanced
        elif code != self._code:
            raise ReplyError(f"reply that begins with {self._code} and goes on with {code}")
        elif enhanced and enhanced != self._enhanced:
            text = f"{enhanced} {text}"
        self._lines.append(text)
        self._raw_lines.append(match[0])
        self._reply_octets += len(match[0])
        if len(self._lines) > MAX_LINES or self._reply_octets > MAX_REPLY_OCTETS:
            raise ReplyError(f"reply of over {len(self._lines)} lines, {self._reply_octets} octets")

    def _joined(self) -> Reply:
        joined = ReceivedReply(b"".join(self._raw_lines), self._code, self._enhanced, tuple(self._lines))
        self._forget()
        return joined

    def _forget(self) -> None:
        self._lines: list[str] = []
        self._raw_lines: list[bytes] = []
        self._reply_octets = 0
        self._code = 0
        self._enhanced = ""


def _parts(match: re.Match[bytes]) -> tuple[int, str, str]:
    """Code, enhanced code and text of one line."""
    raw_code, _, _, raw_enhanced, raw_text = match.groups(b"")
    return int(raw_code), raw_enhanced.decode("ascii"), raw_text.decode("utf-8", "replace")
