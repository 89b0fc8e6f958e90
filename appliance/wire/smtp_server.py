"""The server's side of an SMTP session as a state machine without I/O (RFC 5321, 1870, 2034, 2920, 3030, 3207).

Octets go in by `receive`, replies come out by `take_output`; what a command means for mail is asked of a `Handler`,
which answers at once or later. A table (`smtp_states`) says which command is allowed in which state. The engine knows
the protocol and its bounds; it does not know who may relay, where mail goes, or what time it is.

A handler that has no answer yet returns None, and the owner calls `answer` and then `resume` later: RCPTs that were
pipelined are handed out meanwhile, up to the reply queue's bound; all else waits. Called by `intake.session`.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.core import reply
from appliance.core.envelope import Body
from appliance.core.reply import Reply
from appliance.wire.bdat_stream import BdatStream, parse_bdat
from appliance.wire.data_stream import DataStream
from appliance.wire.newlines import Buffer
from appliance.wire.parameters import parse_mail, parse_rcpt
from appliance.wire.smtp_input import SmtpInput
from appliance.wire.smtp_states import TABLE, Asked, Handler, Nobody, State, out_of_order, unknown

__all__ = ["Handler", "SmtpServer", "State"]

_FORBIDDEN: Final = re.compile(rb"[\r\n\0]")
# A module's names cost less than an enum's.
_MAIL: Final = Asked.MAIL
_RCPT: Final = Asked.RCPT
_DATA: Final = Asked.DATA
_CHUNKS: Final = Asked.CHUNKS
_OTHER: Final = Asked.OTHER
_BINARY: Final = Body.BINARY
_BDAT: Final = State.BDAT
_START: Final = State.START
_READY: Final = State.READY
_IN_MAIL: Final = State.MAIL
_IN_RCPT: Final = State.RCPT
_FAILED: Final = State.FAILED
_NOBODY: Final = Nobody()


class SmtpServer(SmtpInput):
    """One session. Not re-entrant: a handler must not call `receive` from within a callback; `answer` it may.

    A callback that raises is not caught: the exception passes through `receive`, `resume` or `answer`, its command
    has no reply yet, and the engine takes no more (`State.FAILED`) until the owner calls `close` with the last reply.
    """

    __slots__ = (
        "_chunk_last", "_chunk_left", "_chunks", "_data", "_handler", "_idle", "_idle_limit", "_passes_bare",
        "_size_limit", "_utf8",
        "accepted_recipients", "binary", "binary_offered", "esmtp", "secure",
    )  # fmt: skip

    def __init__(
        self,
        handler: Handler,
        *,
        command_limit: int,
        errors_limit: int,
        size_limit: int,
        idle_limit: int = 100,
        passes_bare_newlines: bool = True,
    ) -> None:
        """`command_limit` (with CRLF) and `size_limit` are octets; after `errors_limit` refused commands comes 421,
        and after `idle_limit` commands that bring no message, counted from the last message on.

        With `passes_bare_newlines` False the handler sees nothing of a body from the first read with a bare CR or LF
        on, only `on_body_end(bare_newlines=True)`. True is for a handler that normalises.
        """
        super().__init__(command_limit=command_limit, errors_limit=errors_limit)
        self._handler = handler
        self._size_limit = size_limit
        self._idle_limit = idle_limit
        self._idle = 0  # commands since the last message that brought none nearer
        self._passes_bare = passes_bare_newlines
        self._data: DataStream | None = None
        self._chunks: BdatStream | None = None
        self._chunk_left = 0  # octets; without `_chunks` they are discarded
        self._chunk_last = False
        self._utf8 = False
        self.esmtp = False
        self.binary = False
        self.binary_offered = False
        """BINARYMIME was in the answer to EHLO."""
        self.secure = False
        """The session is under TLS, so that REQUIRETLS was offered."""
        self.accepted_recipients = 0

    @property
    def in_body(self) -> bool:
        """A body is under way: the data time-out applies, not the command's."""
        return self._body is not None or self.state is _BDAT

    def start_over(self) -> None:
        """See `SmtpInput.start_over`; the client must say EHLO again."""
        super().start_over()
        self.esmtp = False

    def abandon(self) -> None:
        """The peer is gone. Handler and engine let go of each other: neither waits for the garbage collector."""
        self.close()
        self._handler = _NOBODY

    # -- commands

    def _command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        entry = _COMMANDS.get(verb)
        if entry is None:
            refusal = unknown(verb)
            if refusal is reply.HTTP_CLIENT:
                self.close(refusal)
            else:
                self._refuse(refusal)
        elif rest and not str(rest, "latin-1").isprintable() and _FORBIDDEN.search(rest):
            self._refuse(reply.BAD_SYNTAX)
        elif self.state in entry[0]:
            entry[1](self, rest)
        else:
            self._refuse(out_of_order(verb, self.state))
            if verb == b"BDAT":
                self._discard_chunk(rest)

    def _settle(self, asked: Asked, answer: Reply) -> None:
        code = answer.code
        if code < 400:
            if asked is _RCPT:
                self.accepted_recipients += code < 300
            elif asked is _MAIL:
                self.state = _IN_MAIL
            elif asked is _DATA:
                self._data = DataStream(self._handler.on_body, passes_bare=self._passes_bare)
                self._body = self._take_data
            elif asked is _CHUNKS:
                self._begin_chunks()
            return
        if asked is _CHUNKS:
            self._abort_chunks()
        if code == 421:
            self.close()
        elif code >= 500:
            self._count_error()

    def _on_ehlo(self, rest: bytes) -> None:
        self._greet_client(b"EHLO", rest)

    def _on_helo(self, rest: bytes) -> None:
        self._greet_client(b"HELO", rest)

    def _greet_client(self, verb: bytes, rest: bytes) -> None:
        name = rest.strip(b" \t").decode("ascii", "replace")
        if not name or len(name) > 255 or not (name.isascii() and name.isprintable()) or " " in name:
            self._refuse(reply.BAD_SYNTAX)  # ... and all stays as it was: RFC 5321 §4.1.4
            return
        answer = self._handler.on_hello(verb, name)
        if answer.code < 400 and self.state < _FAILED:
            self.esmtp = verb == b"EHLO"
            self.state = _READY
            self._reset()
        self._answer_idle(answer)

    def _on_mail(self, rest: bytes) -> None:
        esmtp = self.esmtp
        command = parse_mail(
            rest,
            utf8_offered=esmtp,
            binary_offered=esmtp and self.binary_offered,
            requiretls_offered=esmtp and self.secure,
        )
        if isinstance(command, Reply):
            self._refuse(command)
            return
        self.binary = command.body is _BINARY
        self._utf8 = command.smtputf8
        self.accepted_recipients = 0
        self._answered(_MAIL, self._handler.on_mail(command))

    def _on_rcpt(self, rest: bytes) -> None:
        command = parse_rcpt(rest, utf8=self._utf8)
        if isinstance(command, Reply):
            self._refuse(command)
            return
        self.state = _IN_RCPT
        self._answered(_RCPT, self._handler.on_rcpt(command))

    def _on_data(self, rest: bytes) -> None:
        if rest.strip(b" "):
            self._refuse(reply.BAD_SYNTAX)
        elif self.binary:
            self._refuse(reply.NEED_BDAT)
        elif not self.accepted_recipients:
            self._refuse(reply.NO_VALID_RECIPIENTS)
        else:
            self._answered(_DATA, self._handler.on_data("data"))

    def _on_bdat(self, rest: bytes) -> None:
        chunk = parse_bdat(rest)
        if chunk is None:
            # How many octets follow nobody knows. They are taken for commands, but none that could begin a message.
            self._abort_chunks()
            self._refuse(reply.BAD_BDAT_SIZE)
        elif self._chunks is None and not self.accepted_recipients:
            self._abort_chunks()
            self._refuse(reply.NO_VALID_RECIPIENTS)
            self._discard_chunk(rest)
        elif chunk[0] > self._size_limit:
            self.close(reply.TOO_BIG)
        else:
            self._chunk_left, self._chunk_last = chunk
            if self._chunks is not None:
                self._begin_chunk()
            else:
                self._ask_for_chunks()

    def _on_rset(self, rest: bytes) -> None:
        if self.state is not _START:
            self.state = _READY
        self._reset()
        self._answer_idle(reply.RESET_OK)

    def _on_noop(self, rest: bytes) -> None:
        self._answer_idle(reply.OK)

    def _on_vrfy(self, rest: bytes) -> None:
        if rest.strip(b" "):
            self._answer_idle(reply.CANNOT_VERIFY)
        else:
            self._refuse(reply.BAD_SYNTAX)

    def _on_help(self, rest: bytes) -> None:
        self._answer_idle(reply.HELP)

    def _answer_idle(self, answer: Reply) -> None:
        """Answers a command that brings no message nearer; one too many since the last message, and it is the end."""
        self._idle += 1
        if self._idle > self._idle_limit:
            self.close(reply.TOO_MANY_IDLE)
        else:
            self._answered(_OTHER, answer)

    def _on_quit(self, rest: bytes) -> None:
        self.close(reply.BYE)

    def _on_starttls(self, rest: bytes) -> None:
        if rest.strip(b" "):
            self._refuse(reply.BAD_SYNTAX)
            return
        answer = self._handler.on_starttls()
        self._answered(_OTHER, answer)
        if answer.code < 400 and self.state < _FAILED:
            # Commands in the packet of STARTTLS came in clear and could be anybody's: RFC 3207 §4.2, CVE-2011-0411.
            self.state = State.UPGRADING
            self._reset()

    def _on_xclient(self, rest: bytes) -> None:
        self._answered(_OTHER, self._handler.on_xclient(rest))

    # -- bodies

    def _take_data(self, buffer: Buffer, start: int, stop: int) -> int:
        data = self._data
        assert data is not None
        start = data.feed(buffer, start, stop)
        if data.ended and self._data is data:  # the handler may have closed the session
            self._finish_body(data.bare_newlines)
        return start

    def _finish_body(self, bare_newlines: bool) -> None:
        self._data = self._chunks = self._body = None
        self._idle = 0
        self.state = _READY
        self._answered(_OTHER, self._handler.on_body_end(bare_newlines=bare_newlines))

    def _ask_for_chunks(self) -> None:
        """The first chunk: an answer below 400 is no reply to it, for that comes behind its octets (RFC 3030 §2)."""
        answer = self._handler.on_data("bdat")
        if answer is None or answer.code >= 400 or self.state >= _FAILED:
            self._answered(_CHUNKS, answer)
        else:
            self._begin_chunks()

    def _begin_chunks(self) -> None:
        self._chunks = BdatStream(self._handler.on_body, binary=self.binary, passes_bare=self._passes_bare)
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self.state = State.BDAT
        if self._chunk_left:
            self._body = self._take_chunk
        else:
            self._end_chunk()

    def _take_chunk(self, buffer: Buffer, start: int, stop: int) -> int:
        end = min(stop, start + self._chunk_left)
        self._chunk_left -= end - start
        if self._chunks is not None:
            self._chunks.feed(buffer, start, end)
        if not self._chunk_left:
            self._end_chunk()
        return end

    def _end_chunk(self) -> None:
        chunks = self._chunks
        self._body = None
        if chunks is None:
            return  # it was discarded, or the handler has closed the session
        if not self._chunk_last:
            self._replies.append(reply.OK)
            return
        chunks.finish()
        if self._chunks is chunks:
            self._finish_body(chunks.bare_newlines)

    def _discard_chunk(self, rest: bytes) -> None:
        """A BDAT that is refused is still followed by its octets (RFC 3030 §2)."""
        chunk = parse_bdat(rest)
        if chunk is not None and chunk[0] > self._size_limit:
            self.close(reply.TOO_BIG)  # nobody is read to for hours only to be refused
        elif chunk is not None and chunk[0] and self.state < _FAILED:
            self._chunk_left, self._body = chunk[0], self._take_chunk

    def _abort_chunks(self) -> None:
        """The message is given up; what is left of a chunk is discarded, and only RSET or EHLO leads on."""
        left = self._chunk_left
        self.state = State.ABORTED
        self._reset()
        if left and self.state < _FAILED:
            self._chunk_left, self._body = left, self._take_chunk

    def _reset(self) -> None:
        if self._data is not None:
            self._data.silence()
        if self._chunks is not None:
            self._chunks.silence()
        self._data = self._chunks = self._body = None
        self._chunk_left = 0
        self.accepted_recipients = 0
        self.binary = False
        self._handler.on_reset()


_COMMANDS: Final = {
    verb: (allowed, getattr(SmtpServer, f"_on_{verb.decode().lower()}")) for verb, (allowed, _) in TABLE.items()
}
