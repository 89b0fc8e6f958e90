"""The server's side of an SMTP session as a state machine without I/O (RFC 5321, 1870, 2034, 2920, 3030, 3207).

Octets go in by `receive`, replies come out by `take_output`; what a command means for mail is asked of a `Handler`,
which answers at once or later. One table says which command is allowed in which state. The engine knows the protocol
and its bounds; it does not know who may relay, where mail goes, or what time it is.

Replies leave in the order of their commands. A handler that has no answer yet returns None and calls `answer` later:
RCPTs that were pipelined are all handed out meanwhile, anything else waits for them.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Protocol

from appliance.core import reply
from appliance.core.envelope import Body
from appliance.core.reply import Reply
from appliance.wire.bdat_stream import BdatStream
from appliance.wire.data_stream import DataStream
from appliance.wire.newlines import Buffer
from appliance.wire.parameters import MailCommand, RcptCommand, parse_mail, parse_rcpt


class Handler(Protocol):
    """Who gives the commands their meaning. None as an answer: later, by `SmtpServer.answer`."""

    def on_hello(self, verb: bytes, name: str) -> Reply: ...
    def on_mail(self, command: MailCommand) -> Reply | None: ...
    def on_rcpt(self, command: RcptCommand) -> Reply | None: ...
    def on_data(self, stream: str) -> Reply | None: ...
    def on_body(self, view: memoryview) -> None: ...
    def on_body_end(self, *, bare_newlines: bool) -> Reply | None: ...
    def on_reset(self) -> None: ...
    def on_starttls(self) -> Reply: ...
    def on_xclient(self, raw_attributes: bytes) -> Reply: ...


class State(enum.Enum):
    START = "start"  # connected, no EHLO or HELO yet
    READY = "ready"
    MAIL = "mail"  # MAIL accepted
    RCPT = "rcpt"  # at least one RCPT handed to the handler
    BDAT = "bdat"  # between two chunks
    ABORTED = "aborted"  # a chunk was refused: RSET is due (RFC 3030 §2)
    UPGRADING = "upgrading"  # 220 to STARTTLS is on its way: clear text is discarded
    CLOSED = "closed"


_ANY = frozenset(State) - {State.CLOSED, State.UPGRADING}
_DEAF = frozenset({State.CLOSED, State.UPGRADING})
_IN_MAIL = frozenset({State.MAIL, State.RCPT})

# verb -> (states that allow it, reply elsewhere once the client has said hello)
_TABLE: dict[bytes, tuple[frozenset[State], Reply]] = {
    b"EHLO": (_ANY, reply.BAD_SEQUENCE),
    b"HELO": (_ANY, reply.BAD_SEQUENCE),
    b"MAIL": (frozenset({State.READY}), reply.NESTED_MAIL),
    b"RCPT": (_IN_MAIL, reply.NEED_MAIL),
    b"DATA": (frozenset({State.RCPT}), reply.NEED_RCPT),
    b"BDAT": (frozenset({State.RCPT, State.BDAT}), reply.NEED_RCPT),
    b"RSET": (_ANY, reply.BAD_SEQUENCE),
    b"NOOP": (_ANY, reply.BAD_SEQUENCE),
    b"QUIT": (_ANY, reply.BAD_SEQUENCE),
    b"VRFY": (_ANY, reply.BAD_SEQUENCE),
    b"HELP": (_ANY, reply.BAD_SEQUENCE),
    b"STARTTLS": (frozenset({State.READY}), reply.BAD_SEQUENCE),
    b"XCLIENT": (_ANY - _IN_MAIL, reply.BAD_SEQUENCE),
}
_REFUSED = frozenset({b"EXPN", b"ETRN", b"TURN", b"ATRN", b"SEND", b"SOML", b"SAML", b"XFORWARD", b"AUTH"})
_HTTP = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE"})
_MAX_BDAT_DIGITS = 19


class SmtpServer:
    """One session. Not re-entrant: a handler must not call `receive` from within a callback; `answer` it may."""

    __slots__ = (
        "_bdat_left", "_bdat_last", "_chunks", "_command_limit", "_data", "_discarding", "_errors", "_errors_limit",
        "_handler", "_input", "_pending", "_replies", "_size_limit", "_skip_line", "_utf8", "accepted_recipients",
        "binary", "binary_offered", "esmtp", "secure", "state",
    )  # fmt: skip

    def __init__(self, handler: Handler, *, command_limit: int, errors_limit: int, size_limit: int) -> None:
        """`command_limit` and `size_limit` are octets; after `errors_limit` refused commands the session gets 421."""
        self._handler = handler
        self._command_limit = command_limit
        self._errors_limit = errors_limit
        self._size_limit = size_limit
        self._errors = 0
        self._input = b""
        self._skip_line = False
        self._replies: deque[Reply | None] = deque()
        self._pending = 0
        self._data: DataStream | None = None
        self._chunks: BdatStream | None = None
        self._bdat_left = 0
        self._bdat_last = False
        self._discarding = False
        self.state = State.START
        self.esmtp = False
        self.binary = False
        self.binary_offered = False
        """BINARYMIME was in the answer to EHLO."""
        self.secure = False
        """The session is under TLS, so that REQUIRETLS was offered."""
        self._utf8 = False
        self.accepted_recipients = 0

    # -- octets in, octets out

    def receive(self, buffer: Buffer, start: int, stop: int) -> None:
        """Takes `buffer[start:stop]` from the peer. Body octets are handed on as views, commands are copied."""
        if self.state in _DEAF:
            return
        if self._input:
            buffer = bytearray(self._input + buffer[start:stop])
            start, stop = 0, len(buffer)
            self._input = b""
        while start < stop and self.state not in _DEAF:
            if self._data is not None:
                start = self._receive_data(self._data, buffer, start, stop)
            elif self._bdat_left:
                start = self._receive_chunk(buffer, start, stop)
            elif self._must_wait(buffer, start):
                self._input = bytes(buffer[start:stop])
                return
            else:
                start = self._receive_line(buffer, start, stop)

    @property
    def pending(self) -> int:
        """Commands whose answers are still open."""
        return self._pending

    @property
    def waiting(self) -> bool:
        """True while more input would only pile up: the owner should stop reading until `answer` was called."""
        return self._pending > 0 and len(self._input) > 0

    def take_output(self) -> bytes:
        """The replies that are due; the caller sends them."""
        replies = self._replies
        if not replies or replies[0] is None:
            return b""
        if len(replies) == 1:
            only = replies.popleft()
            return only.raw if only is not None else b""
        output = []
        while replies and (head := replies[0]) is not None:
            output.append(head.raw)
            replies.popleft()
        return b"".join(output)

    def answer(self, answer: Reply) -> None:
        """The handler's answer to the oldest command that still waits for one."""
        for place, waiting in enumerate(self._replies):
            if waiting is None:
                self._replies[place] = answer
                break
        else:
            raise RuntimeError("no command waits for an answer")
        self._pending -= 1
        if self.state is State.RCPT and answer.code < 300:
            self.accepted_recipients += 1
        if answer.code == 421:
            self.close()

    def resume(self) -> None:
        """Goes on with input that waited; to be called after `answer`."""
        if self._input and not self._pending:
            waiting, self._input = self._input, b""
            self.receive(bytearray(waiting), 0, len(waiting))

    def greet(self, greeting: Reply) -> None:
        """Queues the greeting, or a 421 or 554 that ends the session."""
        self._replies.append(greeting)
        if greeting.code != 220:
            self.state = State.CLOSED

    def close(self, last: Reply | None = None) -> None:
        """No input is taken after this; `last`, if given, is sent behind what is due."""
        if self.state is State.CLOSED:
            return
        if last is not None:
            self._replies.append(last)
        self.state = State.CLOSED
        self._input = b""
        self._end_body()
        self._handler.on_reset()

    def start_over(self) -> None:
        """Forgets the session: after STARTTLS (RFC 3207 §4.2) and XCLIENT. Input that came before is discarded."""
        self._input = b""
        self._reset()
        self.state = State.START
        self.esmtp = False

    @property
    def in_body(self) -> bool:
        """A body is under way: the data time-out applies, not the command's."""
        return self._data is not None or self._bdat_left > 0 or self.state is State.BDAT

    # -- commands

    def _must_wait(self, buffer: Buffer, start: int) -> bool:
        """While answers are pending only further RCPTs go on: their order of answers is the next hop's."""
        return self._pending > 0 and (self.state is not State.RCPT or buffer[start : start + 5].upper() != b"RCPT ")

    def _receive_line(self, buffer: Buffer, start: int, stop: int) -> int:
        end = buffer.find(b"\r\n", start, stop)
        if end < 0:
            if stop - start > self._command_limit:
                self._skip_line = True
            if self._skip_line:
                # Keep the last octet: it may be the CR of the CRLF that ends the line.
                self._input = bytes(buffer[stop - 1 : stop])
            else:
                self._input = bytes(buffer[start:stop])
            return stop
        if self._skip_line or end - start > self._command_limit:
            self._skip_line = False
            self._refuse(reply.LINE_TOO_LONG)
            return end + 2
        self._command(bytes(buffer[start:end]))
        return end + 2

    def _command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        entry = _TABLE.get(verb)
        if entry is None:
            self._unknown(verb)
            return
        if b"\n" in line or b"\r" in line or b"\0" in line:
            self._refuse(reply.BAD_SYNTAX)
            return
        allowed, too_soon = entry
        if self.state not in allowed:
            self._refuse(self._out_of_order(verb, too_soon))
            if verb == b"BDAT":
                self._discard_chunk(rest)
            return
        _METHODS[verb](self, rest)

    def _out_of_order(self, verb: bytes, too_soon: Reply) -> Reply:
        if self.state is State.START:
            return reply.NEED_HELLO
        if self.state is State.ABORTED:
            return reply.BDAT_ABORTED
        if self.state is State.BDAT:
            return reply.BAD_SEQUENCE  # RFC 3030 §2: no DATA, MAIL or RCPT between chunks
        if self.state is State.READY and verb in (b"DATA", b"BDAT"):
            return reply.NEED_MAIL
        return too_soon

    def _unknown(self, verb: bytes) -> None:
        if verb in _HTTP:
            self.close(reply.HTTP_CLIENT)
        elif verb in _REFUSED:
            self._refuse(reply.NOT_IMPLEMENTED)
        else:
            self._refuse(reply.UNKNOWN_COMMAND)

    def _refuse(self, refusal: Reply) -> None:
        self._errors += 1
        if self._errors > self._errors_limit:
            self.close(reply.TOO_MANY_ERRORS)
        else:
            self._replies.append(refusal)

    def _reply(self, answer: Reply | None) -> bool:
        """Queues an answer, or its place; True if the command was taken or is still open."""
        self._replies.append(answer)
        if answer is None:
            self._pending += 1
            return True
        if answer.code == 421:
            self.close()
        elif answer.code >= 500:
            self._errors += 1
            if self._errors > self._errors_limit:
                self.close(reply.TOO_MANY_ERRORS)
        return answer.code < 400

    def _on_ehlo(self, rest: bytes) -> None:
        self._greet_client(b"EHLO", rest)

    def _on_helo(self, rest: bytes) -> None:
        self._greet_client(b"HELO", rest)

    def _greet_client(self, verb: bytes, rest: bytes) -> None:
        try:
            name = rest.strip(b" \t").decode("ascii")
        except UnicodeDecodeError:
            name = ""
        if not name or len(name) > 255 or not name.isprintable() or " " in name:
            self._refuse(reply.BAD_SYNTAX)
            return
        self._reset()
        self.esmtp = verb == b"EHLO"
        self.state = State.READY
        self._reply(self._handler.on_hello(verb, name))

    def _on_mail(self, rest: bytes) -> None:
        command = parse_mail(rest, binary_offered=self.binary_offered, requiretls_offered=self.secure)
        if isinstance(command, Reply):
            self._refuse(command)
            return
        if self._reply(self._handler.on_mail(command)):
            self.binary = command.body is Body.BINARY
            self._utf8 = command.smtputf8
            self.accepted_recipients = 0
            self.state = State.MAIL if self.state is not State.CLOSED else State.CLOSED

    def _on_rcpt(self, rest: bytes) -> None:
        command = parse_rcpt(rest, utf8=self._utf8)
        if isinstance(command, Reply):
            self._refuse(command)
            return
        self.state = State.RCPT
        answer = self._handler.on_rcpt(command)
        if answer is not None and answer.code < 300:
            self.accepted_recipients += 1
        self._reply(answer)

    def _on_data(self, rest: bytes) -> None:
        if rest.strip():
            self._refuse(reply.BAD_SYNTAX)
        elif self.binary:
            self._refuse(reply.NEED_BDAT)
        elif not self.accepted_recipients:
            self._refuse(reply.NO_VALID_RECIPIENTS)
        elif self._reply(self._handler.on_data("data")):
            self._data = DataStream(self._handler.on_body)

    def _receive_data(self, data: DataStream, buffer: Buffer, start: int, stop: int) -> int:
        start = data.feed(buffer, start, stop)
        if data.ended:
            self._data = None
            self._finish_body(data.bare_newlines)
        return start

    def _finish_body(self, bare_newlines: bool) -> None:
        self.state = State.READY
        self.accepted_recipients = 0
        self._reply(self._handler.on_body_end(bare_newlines=bare_newlines))

    def abandon_body(self, refusal: Reply) -> None:
        """The handler wants no more of this body (too big, a limit): the session ends, for DATA cannot be stopped."""
        self.close(refusal)

    def _on_bdat(self, rest: bytes) -> None:
        words = rest.split()
        last = len(words) == 2 and words[1].upper() == b"LAST"
        if not words or len(words) > 2 or (len(words) == 2 and not last) or not _is_size(words[0]):
            self._abort_chunks(reply.BAD_BDAT_SIZE)
            return
        size = int(words[0])
        if self._chunks is None:
            if not self.accepted_recipients:
                self._abort_chunks(reply.NO_VALID_RECIPIENTS)
                self._begin_discard(size)
                return
            if self._begin_chunks() is None:
                self._begin_discard(size)
                return
        self.state = State.BDAT
        self._bdat_left, self._bdat_last = size, last
        if not size:
            self._end_chunk()

    def _begin_chunks(self) -> BdatStream | None:
        answer = self._handler.on_data("bdat")
        if answer is not None and answer.code >= 400:
            self._abort_chunks(answer)
            return None
        self._chunks = BdatStream(self._handler.on_body, binary=self.binary)
        return self._chunks

    def _receive_chunk(self, buffer: Buffer, start: int, stop: int) -> int:
        end = min(stop, start + self._bdat_left)
        self._bdat_left -= end - start
        if self._discarding:
            self._discarding = self._bdat_left > 0
            return end
        if self._chunks is not None:
            self._chunks.feed(buffer, start, end)
        if not self._bdat_left and self.state is State.BDAT:
            self._end_chunk()
        return end

    def _end_chunk(self) -> None:
        chunks = self._chunks
        if chunks is None:
            return
        if not self._bdat_last:
            self._replies.append(reply.OK)
            return
        chunks.finish()
        self._chunks = None
        self._finish_body(chunks.bare_newlines)

    def _abort_chunks(self, refusal: Reply) -> None:
        self._refuse(refusal)
        if self.state is not State.CLOSED:
            self._end_body()
            self.state = State.ABORTED
            self._handler.on_reset()

    def _discard_chunk(self, rest: bytes) -> None:
        """A BDAT that is refused out of order is still followed by its octets (RFC 3030 §2)."""
        words = rest.split()
        if words and _is_size(words[0]):
            self._begin_discard(int(words[0]))

    def _begin_discard(self, size: int) -> None:
        if size > self._size_limit:
            self.close(reply.TOO_BIG)  # nobody is read to for hours only to be refused
        elif size and self.state is not State.CLOSED:
            self._bdat_left, self._discarding = size, True

    def _end_body(self) -> None:
        self._data = None
        self._chunks = None
        self._bdat_left = 0
        self._discarding = False

    def _reset(self) -> None:
        self._end_body()
        self.accepted_recipients = 0
        self.binary = False
        self._handler.on_reset()

    def _on_rset(self, rest: bytes) -> None:
        self._reset()
        if self.state is not State.START:
            self.state = State.READY
        self._reply(reply.RESET_OK)

    def _on_noop(self, rest: bytes) -> None:
        self._reply(reply.OK)

    def _on_vrfy(self, rest: bytes) -> None:
        self._reply(reply.CANNOT_VERIFY if rest.strip() else reply.BAD_SYNTAX)

    def _on_help(self, rest: bytes) -> None:
        self._reply(reply.HELP)

    def _on_quit(self, rest: bytes) -> None:
        self.close(reply.BYE)

    def _on_starttls(self, rest: bytes) -> None:
        if rest.strip():
            self._refuse(reply.BAD_SYNTAX)
        elif self._reply(self._handler.on_starttls()):
            # Commands in the packet of STARTTLS came in clear and could be anybody's: RFC 3207 §4.2, CVE-2011-0411.
            self._reset()
            self.state = State.UPGRADING

    def _on_xclient(self, rest: bytes) -> None:
        self._reply(self._handler.on_xclient(rest))


def _is_size(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _MAX_BDAT_DIGITS


_METHODS = {verb: getattr(SmtpServer, f"_on_{verb.decode().lower()}") for verb in _TABLE}
