"""The client's side of an SMTP or LMTP session as a state machine without I/O (RFC 5321, 2033, 2920, 3207, 4954).

Each command is a method that returns the octets to send and notes which reply is expected; `feed` takes what the
server says and gives (kind, reply) pairs in the order of the commands. Commands may be sent before earlier ones are
answered: `state` is where the session stands if everything sent so far is accepted, and a refusal corrects it by the
table. The engine knows neither sockets nor time nor policy: whether to use TLS, when to give up and what a refusal
means for mail is for `delivery.connection`, which drives it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from appliance.core.reply import Reply
from appliance.wire.auth_client import CANCEL, Mechanism, auth_answer, auth_command
from appliance.wire.reply_reader import ReplyError, ReplyReader

__all__ = ["Event", "Kind", "OutOfOrder", "ReplyError", "ReplyReader", "SmtpClient", "State"]


class Kind(enum.Enum):
    """What a reply answers."""

    GREETING = "greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    LHLO = "LHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "body"  # the final dot, or BDAT LAST; by LMTP one for each accepted recipient
    BDAT = "BDAT"
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"
    CLOSING = "closing"  # a 421 that no command asked for


class State(enum.Enum):
    GREETING = "greeting"  # connected, the server has the word
    HELLO = "hello"  # greeted, or EHLO was refused, or TLS has begun
    OPENING = "opening"  # EHLO, STARTTLS or AUTH under way: nothing may be sent behind it
    HANDSHAKE = "handshake"  # STARTTLS accepted; no octet in clear is taken any more
    READY = "ready"
    TRANSACTION = "transaction"
    DATA = "data"  # DATA sent
    BODY = "body"  # 354 came
    CLOSED = "closed"


@dataclass(frozen=True, eq=False)
class _Row:
    """One row of the table: a command, when it may be sent, what may answer it, and where that leads."""

    kind: Kind
    sent_in: tuple[State, ...]
    """States that allow the command."""
    then: State | None
    """State once it is sent; None: no change."""
    accepts: tuple[int, ...]
    """First digits of the replies that it may have besides 4 and 5 (RFC 5321 §4.3.2)."""
    accepted: State | None = None
    refused: State | None = None
    alone: bool = False
    """Sent only when nothing is outstanding (RFC 2920 §3.1, RFC 3207 §4.1); its acceptance tells us something."""


# The table. Rows are passed around themselves: hashing an enum's member costs more than all the rest.
_S: Final = State
_OPEN: Final = (_S.HELLO, _S.READY)
_READY: Final = (_S.READY,)
_IN_MAIL: Final = (_S.TRANSACTION,)
_BETWEEN: Final = (_S.READY, _S.TRANSACTION)
_GREETING: Final = _Row(Kind.GREETING, (), None, (2,), _S.HELLO, _S.CLOSED, alone=True)
_EHLO: Final = _Row(Kind.EHLO, _OPEN, _S.OPENING, (2,), _S.READY, _S.HELLO, alone=True)
_HELO: Final = _Row(Kind.HELO, _OPEN, _S.OPENING, (2,), _S.READY, _S.HELLO, alone=True)
_LHLO: Final = _Row(Kind.LHLO, _OPEN, _S.OPENING, (2,), _S.READY, _S.HELLO, alone=True)
_STARTTLS: Final = _Row(Kind.STARTTLS, _READY, _S.OPENING, (2,), _S.HANDSHAKE, _S.READY, alone=True)
_AUTH: Final = _Row(Kind.AUTH, _READY, _S.OPENING, (2, 3), _S.READY, _S.READY, alone=True)
_MAIL: Final = _Row(Kind.MAIL, _READY, _S.TRANSACTION, (2,))
_RCPT: Final = _Row(Kind.RCPT, _IN_MAIL, None, (2,))
_DATA: Final = _Row(Kind.DATA, _IN_MAIL, _S.DATA, (3,), _S.BODY, _S.TRANSACTION)
_DOT: Final = _Row(Kind.BODY, (_S.BODY,), _S.READY, (2,))
_BDAT: Final = _Row(Kind.BDAT, _IN_MAIL, None, (2,))
_LAST: Final = _Row(Kind.BODY, _IN_MAIL, _S.READY, (2,))
_RSET: Final = _Row(Kind.RSET, _BETWEEN, _S.READY, (2,))
_NOOP: Final = _Row(Kind.NOOP, _BETWEEN, None, (2,))
_QUIT: Final = _Row(Kind.QUIT, (_S.HELLO, _S.READY, _S.TRANSACTION), _S.CLOSED, (2,))
_CLOSING: Final = _Row(Kind.CLOSING, (), None, (), None, _S.CLOSED)

Event = tuple[Kind, Reply]
_HANDSHAKE: Final = State.HANDSHAKE
_CLOSED: Final = State.CLOSED
_IDLE: Final = State.READY


class OutOfOrder(Exception):
    """The driver sent what the session does not allow: an error of ours, not the peer's."""


class SmtpClient:
    """One session with a next hop, from its greeting."""

    __slots__ = (
        "_expected", "_mechanism", "_output", "_reader", "accepted_recipients", "extensions", "greeting", "limits",
        "lmtp", "state",
    )  # fmt: skip

    def __init__(self, *, lmtp: bool = False) -> None:
        self._reader = ReplyReader()
        self._expected: list[_Row] = [_GREETING]
        self._mechanism: Mechanism | None = None
        self._output = b""
        self.lmtp = lmtp
        self.state = State.GREETING
        self.greeting: Reply | None = None
        self.extensions: dict[str, str] = {}
        """EHLO keyword in upper case -> its parameters, as the server wrote them; empty after HELO."""
        self.limits: dict[str, int] = {}
        """LIMITS by upper-case name: MAILMAX, RCPTMAX, RCPTDOMAINMAX (RFC 9422)."""
        self.accepted_recipients = 0
        """Of the transaction whose RCPTs were answered last."""

    # -- octets in

    def feed(self, chunk: bytes) -> list[Event]:
        """What `chunk` answers, in the order of the commands. Then see `take_output`, and `state` for CLOSED.

        A 421 closes whatever it answers; replies behind it are not awaited.

        Raises:
            ReplyError: no reply, an unsolicited one, one of the wrong kind, or clear text behind STARTTLS.
        """
        if self.state is _HANDSHAKE:
            raise ReplyError("clear text after STARTTLS was accepted")
        events: list[Event] = []
        expected = self._expected
        for answer in self._reader.feed(chunk):
            row = expected.pop(0) if expected else _CLOSING
            first_digit = answer.code // 100
            if first_digit in row.accepts:
                if row is _RCPT:
                    self.accepted_recipients += 1
                elif row.alone and not self._take(row, answer):
                    continue
                if row.accepted is not None:
                    self.state = row.accepted
            elif first_digit >= 4 and (row is not _CLOSING or answer.code == 421):
                if row.refused is not None and self.state is not _CLOSED:
                    self.state = row.refused
            else:
                raise ReplyError(f"{answer.code} in answer to {row.kind.value}")
            events.append((row.kind, answer))
            if answer.code == 421:
                self.state = _CLOSED
                expected.clear()
                break
        if self.state is _HANDSHAKE and self._reader.pending:
            # What came in clear would be taken for an answer under TLS: CVE-2021-38371. Whole replies behind the 220
            # answer nothing, and were refused above.
            raise ReplyError("octets behind the answer to STARTTLS")
        return events

    def take_output(self) -> bytes:
        """Octets that the engine wants sent by itself: the answers of an AUTH dialogue."""
        output, self._output = self._output, b""
        return output

    @property
    def awaiting(self) -> int:
        """Replies that are still to come."""
        return len(self._expected)

    @property
    def idle(self) -> bool:
        """Open, between two transactions, with nothing outstanding: fit for the pool."""
        return self.state is _IDLE and not self._expected and not self._reader.pending

    @property
    def size_limit_bytes(self) -> int:
        """SIZE as announced (RFC 1870 §4); 0: none."""
        digits = self.extensions.get("SIZE", "")
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else 0

    # -- commands out

    def hello(self, name: str) -> bytes:
        """EHLO, or LHLO by LMTP; `name` is ours."""
        row = _LHLO if self.lmtp else _EHLO
        return self._send(row, f"{row.kind.value} {name}\r\n".encode("ascii"))

    def helo(self, name: str) -> bytes:
        """HELO, for a server that refused EHLO with 5xx (RFC 5321 §3.2)."""
        return self._send(_HELO, f"HELO {name}\r\n".encode("ascii"))

    def start_tls(self) -> bytes:
        return self._send(_STARTTLS, b"STARTTLS\r\n")

    def tls_started(self) -> None:
        """The handshake is done: what the server said before is forgotten (RFC 3207 §4.2). EHLO is due again."""
        if self.state is not _HANDSHAKE:
            raise OutOfOrder(f"TLS started in state {self.state.value}")
        self.extensions, self.limits = {}, {}
        self.state = State.HELLO

    def auth(self, mechanism: Mechanism) -> bytes:
        """Begins AUTH; challenges are answered by way of `take_output`, the event is the final reply."""
        sent = self._send(_AUTH, auth_command(mechanism))
        self._mechanism = mechanism
        return sent

    def mail(self, command: bytes) -> bytes:
        """`command` is the whole line, of `client_commands.mail_command`."""
        sent = self._send(_MAIL, command)
        self.accepted_recipients = 0
        return sent

    def rcpt(self, command: bytes) -> bytes:
        """`command` is the whole line, of `client_commands.rcpt_command`."""
        return self._send(_RCPT, command)

    def data(self) -> bytes:
        """DATA. With `PIPELINING` it may follow at once; then a 354 may come although every recipient was refused,
        and `end_of_data` at once is the way out (RFC 2920 §3.1)."""
        return self._send(_DATA, b"DATA\r\n")

    def end_of_data(self) -> bytes:
        """The final dot; the body before it must have ended in CRLF. By LMTP all RCPTs must have been answered."""
        return self._send_last(_DOT, b".\r\n")

    def bdat(self, size_bytes: int, *, last: bool = False) -> bytes:
        """Announces a chunk that the driver sends behind it (RFC 3030 §2). By LMTP the last one waits for RCPTs."""
        if last:
            return self._send_last(_LAST, b"BDAT %d LAST\r\n" % size_bytes)
        return self._send(_BDAT, b"BDAT %d\r\n" % size_bytes)

    def reset(self) -> bytes:
        return self._send(_RSET, b"RSET\r\n")

    def noop(self) -> bytes:
        return self._send(_NOOP, b"NOOP\r\n")

    def quit(self) -> bytes:
        """QUIT; the state is CLOSED at once, its reply may still be read."""
        return self._send(_QUIT, b"QUIT\r\n")

    # -- inside

    def _send(self, row: _Row, line: bytes) -> bytes:
        if self.state not in row.sent_in or (row.alone and self._expected):
            raise OutOfOrder(f"{row.kind.value} in state {self.state.value}, {len(self._expected)} replies outstanding")
        if row.then is not None:
            self.state = row.then
        self._expected.append(row)
        return line

    def _send_last(self, row: _Row, line: bytes) -> bytes:
        """The end of a message: one reply, or by LMTP one for each accepted recipient (RFC 2033 §4.2)."""
        if not self.lmtp:
            return self._send(row, line)
        if _RCPT in self._expected:
            raise OutOfOrder("end of an LMTP message before its recipients are answered")
        self._send(row, line)
        self._expected.pop()
        self._expected.extend([row] * self.accepted_recipients)
        return line

    def _take(self, row: _Row, answer: Reply) -> bool:
        """Takes note of what a positive reply tells; False if it is no event, being a challenge."""
        if row is _GREETING:
            self.greeting = answer
        elif row is _EHLO or row is _LHLO:
            self._take_extensions(answer.lines[1:])
        elif row is _HELO:
            self.extensions, self.limits = {}, {}
        elif row is _AUTH and answer.code >= 300:
            self._answer_challenge(answer)
            return False
        return True

    def _answer_challenge(self, challenge: Reply) -> None:
        if self._mechanism is None:
            raise ReplyError("another challenge after AUTH was cancelled")
        answer = auth_answer(self._mechanism, challenge.text)
        if answer == CANCEL:
            self._mechanism = None
        self._output += answer
        self._expected.insert(0, _AUTH)

    def _take_extensions(self, lines: tuple[str, ...]) -> None:
        self.extensions, self.limits = {}, {}
        for line in lines:
            keyword, _, parameters = line.strip().partition(" ")
            keyword = keyword.upper()
            if keyword.startswith("AUTH="):  # as old servers write it
                keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
            known = self.extensions.get(keyword)
            self.extensions[keyword] = f"{known} {parameters}" if keyword == "AUTH" and known else parameters
        for word in self.extensions.get("LIMITS", "").split():
            name, _, digits = word.partition("=")
            if digits.isascii() and digits.isdigit() and len(digits) <= 6:  # RFC 9422 §4
                self.limits[name.upper()] = int(digits)
