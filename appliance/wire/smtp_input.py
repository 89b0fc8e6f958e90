"""What comes in and what goes out of an SMTP session: command lines, waiting input, replies in order, the end.

The half of the server engine that does not know the commands. It cuts octets into lines within a bound, hands bodies
through to whoever reads one, keeps the replies in the order of their commands (RFC 2920 §3.2) while answers are open,
counts refusals, and closes. `wire.smtp_server` is the other half, and the only heir.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.wire.newlines import Buffer
from appliance.wire.reply_queue import ReplyQueue
from appliance.wire.smtp_states import Asked, State

# A module's names cost less than an enum's.
_START: Final = State.START
_CLOSED: Final = State.CLOSED
_FAILED: Final = State.FAILED
_DEAF_FROM: Final = State.UPGRADING
_RCPT: Final = Asked.RCPT
_CHUNKS: Final = Asked.CHUNKS
_OTHER: Final = Asked.OTHER


class SmtpInput(ABC):
    """Takes octets, yields replies. What waits for answers is kept here, so the owner stops reading while `waiting`:
    then no more is held than it read at once. A command line takes at most `command_limit` octets.
    """

    __slots__ = (
        "_awaited", "_body", "_command_limit", "_errors", "_errors_limit", "_held", "_held_from", "_line", "_overlong",
        "_replies", "state",
    )  # fmt: skip

    def __init__(self, *, command_limit: int, errors_limit: int) -> None:
        self._command_limit = command_limit
        self._errors_limit = errors_limit
        self._errors = 0
        self._line = b""  # the beginning of a command line whose end has not come
        self._overlong = False  # ... which is too long already
        self._held: Buffer = b""  # input that waits for answers, from `_held_from` on
        self._held_from = 0
        self._replies = ReplyQueue()
        self._awaited = _OTHER  # what waits for answers: any number of RCPT, or one of another kind
        self._body: Callable[[Buffer, int, int], int] | None = None  # who reads a body; returns where it stopped
        self.state = _START

    # -- what the other half does

    @abstractmethod
    def _command(self, line: bytes) -> None:
        """Acts on one line, without CRLF."""

    @abstractmethod
    def _settle(self, asked: Asked, answer: Reply) -> None:
        """Does what the answer to `asked` entails, whether it came at once or late. The reply is queued already."""

    @abstractmethod
    def _reset(self) -> None:
        """Forgets the transaction and what is left of its body."""

    # -- octets in, octets out

    def receive(self, buffer: Buffer, start: int, stop: int) -> None:
        """Takes `buffer[start:stop]` from the peer. Body octets are handed on as views, commands are copied."""
        if self._held:
            buffer = self._held[self._held_from :] + buffer[start:stop]
            self._held, start, stop = b"", 0, len(buffer)
        start = self._take(buffer, start, stop)
        if start < stop:
            self._held, self._held_from = buffer[start:stop], 0

    def resume(self) -> None:
        """Goes on with input that waited; to be called after `answer`."""
        held, start = self._held, self._held_from
        if held:
            self._held = b""
            start = self._take(held, start, len(held))
            if start < len(held):
                self._held, self._held_from = held, start

    def _take(self, buffer: Buffer, start: int, stop: int) -> int:
        """Acts on `buffer[start:stop]`; returns `stop`, or how far it came until it had to wait for an answer."""
        try:
            while start < stop and self.state < _DEAF_FROM:
                if self._body is not None:
                    start = self._body(buffer, start, stop)
                elif self._replies.open and self._must_wait(buffer, start):
                    return start
                else:
                    start = self._take_line(buffer, start, stop)
        except BaseException:
            self.state = max(self.state, _FAILED)
            raise
        return stop

    def _must_wait(self, buffer: Buffer, start: int) -> bool:
        """While answers are open only further RCPTs go on: their order of answers is the next hop's."""
        if self._awaited is not _RCPT or self._replies.full:
            return True
        return not self._line and buffer[start : start + 5].upper() != b"RCPT "

    def _take_line(self, buffer: Buffer, start: int, stop: int) -> int:
        end = buffer.find(b"\r\n", start, stop)
        if end < 0 or self._line:
            return self._take_part(buffer, start, stop, end)
        if end + 2 - start > self._command_limit:
            self._refuse(reply.LINE_TOO_LONG)
        else:
            self._command(bytes(buffer[start:end]))
        return end + 2

    def _take_part(self, buffer: Buffer, start: int, stop: int, end: int) -> int:
        """A line that is not whole in this input; `end` is where its CRLF is, or negative."""
        line = self._line
        if buffer[start] == 10 and line.endswith(b"\r"):
            line, end = line[:-1], start - 1
        elif end >= 0:
            line += buffer[start:end]
        else:
            line += bytes(buffer[start:stop])
            self._overlong |= len(line) >= self._command_limit
            # The last octet may be the CR of the CRLF that ends the line.
            self._line = line[-1:] if self._overlong else line
            return stop
        self._line = b""
        if self._overlong or len(line) + 2 > self._command_limit:
            self._overlong = False
            self._refuse(reply.LINE_TOO_LONG)
        else:
            self._command(line)
        return end + 2

    @property
    def pending(self) -> int:
        """Commands whose answers are still open."""
        return self._replies.open

    @property
    def waiting(self) -> bool:
        """True while more input would only pile up: the owner should stop reading until `answer` was called."""
        return self._replies.open > 0 and len(self._held) > 0

    @property
    def in_command(self) -> bool:
        """A command line has begun and not ended: the command's time-out runs on, however its octets trickle."""
        return len(self._line) > 0

    def take_output(self) -> bytes:
        """The replies that are due; the caller sends them."""
        return self._replies.take()

    # -- replies

    def answer(self, answer: Reply) -> None:
        """The handler's answer to the oldest command that still waits for one; ignored once the session is over.

        Raises:
            RuntimeError: no command waits; the caller's mistake.
        """
        if self.state >= _FAILED:
            return
        if answer.code == 421:
            self.close(answer)
            return
        if self._awaited is _CHUNKS and answer.code < 400:
            self._replies.withdraw()
        else:
            self._replies.fill(answer)
        try:
            self._settle(self._awaited, answer)
        except BaseException:
            self.state = max(self.state, _FAILED)
            raise

    def _answered(self, asked: Asked, answer: Reply | None) -> None:
        """Queues the handler's answer to `asked`, or its place."""
        if self.state >= _FAILED:
            return  # the handler has closed the session meanwhile
        if answer is None:
            self._replies.reserve()
            self._awaited = asked
        else:
            self._replies.append(answer)
            self._settle(asked, answer)

    def _refuse(self, refusal: Reply) -> None:
        """Answers a command that was never handed to the handler; one too many, and it is the last."""
        self._errors += 1
        if self._errors > self._errors_limit:
            self.close(reply.TOO_MANY_ERRORS)
        else:
            self._replies.append(refusal)

    def _count_error(self) -> None:
        """The handler has refused, and its reply is queued."""
        self._errors += 1
        if self._errors > self._errors_limit:
            self.close(reply.TOO_MANY_ERRORS)

    # -- beginning and end

    def greet(self, greeting: Reply) -> None:
        """Queues the greeting, or a 421 or 554 that ends the session."""
        self._replies.append(greeting)
        if greeting.code != 220:
            self.state = _CLOSED

    def close(self, last: Reply | None = None) -> None:
        """No input is taken after this. `last`, if given, is sent behind what is due, instead of what is still open."""
        if self.state is _CLOSED:
            return
        self.state = _CLOSED
        self._replies.end(last)
        self._line = self._held = b""
        self._reset()

    def start_over(self) -> None:
        """Forgets the session: after STARTTLS (RFC 3207 §4.2) and XCLIENT. Input that waited is discarded."""
        if self.state >= _FAILED:
            return
        self.state = _START
        self._line = self._held = b""
        self._reset()
