"""The doors of ports 587 and 465: the session of port 25 with a login in front of MAIL (RFC 6409, RFC 8314).

Everything but AUTH is port 25's own code: engine, limits, deadlines, STARTTLS, the transaction; so a dialogue that
holds there holds here, and a body crosses this door by reference, too. That is why aiosmtpd speaks the AUTH exchange
(`intake.auth`) and not the session: its server would bring a second state machine, and lines where we have chunks.

AUTH is offered under TLS only, MAIL needs a login, and whose address a login may use is asked by the transaction.
Called by the worker's wiring, as `intake.listener` is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

from appliance.config.schema import BareNewline, Config, Listen
from appliance.core import reply
from appliance.core.reply import Reply
from appliance.intake.auth import MECHANISMS, AuthDialogue
from appliance.intake.listener import Listener
from appliance.intake.login_gate import LoginGate
from appliance.intake.secured import secured
from appliance.intake.session import Session
from appliance.intake.site import Site
from appliance.wire.newlines import Buffer
from appliance.wire.parameters import MailCommand
from appliance.wire.smtp_server import SmtpServer, State
from appliance.wire.smtp_states import Asked

AUTH_NEEDS_TLS: Final = Reply(538, "5.7.11", "Encryption required for authentication")

_VERIFYING: Final = 16  # a reason not to read, beside the session's and the transaction's
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]\.?")
_PRIVATE: Final = frozenset({"local", "localdomain", "localhost", "lan", "home", "internal", "test", "invalid", "arpa"})


def kind_of(helo: str) -> str:
    """`MTA` or `MUA`, for the log and policy; nothing is allowed by it.

    A server introduces itself by its public host name (RFC 5321 §4.1.4). Mail programs send an address literal, a
    name without a dot, or one under a domain that exists only at home.
    """
    if _HOST_NAME.fullmatch(helo) is None:
        return "MUA"
    return "MUA" if helo.rstrip(".").rpartition(".")[2].lower() in _PRIVATE else "MTA"


class SubmissionServer(SmtpServer):
    """The engine with AUTH. While an exchange is under way, all input is handed to it as it comes."""

    __slots__ = ("_session",)

    def __init__(self, session: SubmissionSession, config: Config) -> None:
        super().__init__(
            session,
            command_limit=config.limits.command_line,
            errors_limit=config.limits.errors_per_session,
            idle_limit=config.limits.idle_commands,
            size_limit=config.limits.message_size,
            passes_bare_newlines=config.delivery.bare_newline is BareNewline.NORMALISE,
        )
        self._session = session

    def end_auth(self, answer: Reply) -> None:
        """The exchange is over; `answer` is the reply to AUTH. A failed one counts as an error, the temporary too."""
        self._body = None
        if answer.positive or answer.code == 421:
            self._answered(Asked.OTHER, answer)
        elif self.state is State.READY:
            self._refuse(answer)

    @property
    def in_body(self) -> bool:
        return super().in_body and self._body != self._take_exchange

    def _command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        if verb.upper() != b"AUTH":
            super()._command(line)
        elif any(octet in line for octet in b"\r\n\0"):
            self._refuse(reply.BAD_SYNTAX)
        elif self.state is State.START or not self.esmtp:
            self._refuse(reply.NEED_HELLO)
        elif self.state is not State.READY:
            self._refuse(reply.BAD_SEQUENCE)  # RFC 4954 §4: not during a transaction
        elif (refusal := self._session.on_auth(rest)) is not None:
            self._refuse(refusal)
        else:
            self._body = self._take_exchange

    def _take_exchange(self, buffer: Buffer, start: int, stop: int) -> int:
        self._session.on_exchange(bytes(buffer[start:stop]))
        return stop


class SubmissionSession(Session):
    """One client that is to log in. Owned by its `SubmissionListener` from connection to loss."""

    __slots__ = ("_dialogue", "_gate", "_server")

    def __init__(self, listener: SubmissionListener) -> None:
        super().__init__(listener)
        self._gate = listener.gate
        self._dialogue: AuthDialogue | None = None

    def _make_engine(self) -> SmtpServer:
        self._server = SubmissionServer(self, self.site.config)
        return self._server

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.client.kind = "MUA"
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:  # RFC 8314 §3.3: TLS came first
            self.client = secured(self.client, ssl_object)
            self.site.counters.tls_handshakes["in", str(ssl_object.version())] += 1

    def connection_lost(self, error: Exception | None) -> None:
        if self._dialogue is not None:
            self._dialogue.end()
        super().connection_lost(error)

    # -- what the engine asks

    def on_hello(self, verb: bytes, name: str) -> Reply:
        self.client.kind = kind_of(name)
        return super().on_hello(verb, name)

    def on_mail(self, command: MailCommand) -> Reply:
        if not self.client.tls:
            return reply.TLS_REQUIRED
        if not self.client.login:
            return reply.AUTH_REQUIRED
        return super().on_mail(command)

    def _may_xclient(self) -> bool:
        return False  # a login is the client's own; nobody speaks for it

    def on_xclient(self, raw_attributes: bytes) -> Reply:
        return reply.NOT_IMPLEMENTED

    def on_auth(self, rest: bytes) -> Reply | None:
        """Begins an exchange, or says why not."""
        if not self.client.tls:
            return AUTH_NEEDS_TLS
        if self.client.login:
            return reply.BAD_SEQUENCE  # RFC 4954 §4: one login a session
        words = rest.split()
        if len(words) not in (1, 2) or not rest.isascii():
            return reply.BAD_SYNTAX
        self._dialogue = AuthDialogue(self.site.config.hostname, self._challenge, self._check)
        self.listener.spawn(self._authenticate(self._dialogue, b" ".join(words).decode("ascii")))
        return None

    def on_exchange(self, octets: bytes) -> None:
        """Octets that came during an exchange."""
        if self._dialogue is not None:
            self._dialogue.feed(octets)

    async def _authenticate(self, dialogue: AuthDialogue, argument: str) -> None:
        try:
            answer = await dialogue.run(argument)
            rest = await dialogue.rest()
            self._dialogue = None
            if answer is not None and self._transport is not None:
                self._end_exchange(answer, rest)
        except Exception as error:  # noqa: BLE001 - as for input: the unexpected becomes 451
            self._dialogue = None
            self._fail(error)

    def _end_exchange(self, answer: Reply, rest: bytes) -> None:
        """`rest` is what came behind the exchange: commands again."""
        self._server.end_auth(answer)
        self._rearm()
        self._engine.receive(bytearray(rest), 0, len(rest))
        if self._transaction is not None:
            self._transaction.secure()  # its views keep `rest` alive themselves
        self._flush()

    def _challenge(self, octets: bytes) -> None:
        if self._transport is not None:
            self._rearm()
            self._transport.write(octets)

    async def _check(self, login: str, password: str) -> Reply:
        """What the client is answered; nothing is read from it meanwhile."""
        self._stop(_VERIFYING)
        try:
            site = self.site
            user = await self._gate.enter(site.users, self.client, site.events, login, password)
        finally:
            self._go(_VERIFYING)
        if isinstance(user, Reply):
            return user
        self.client.login = user.name
        return reply.AUTH_OK


class SubmissionListener(Listener):
    """Sessions of one `[[listen]]` entry of kind `submission` or `submissions`."""

    def __init__(self, listen: Listen, site: Callable[[], Site], now_s: float, gate: LoginGate | None = None) -> None:
        """`gate` is best shared by all listeners of a worker; without one the listener makes its own.

        For kind `submissions` the server that calls `make_session` does the handshake before (RFC 8314 §3.3).
        """
        self.gate = gate or LoginGate(site().config.submission, site().counts.failures)
        super().__init__(listen, site, now_s)

    def refresh(self) -> None:
        super().refresh()
        self.gate.refresh(self.site().config.submission)
        self.ehlo_secure = Reply(250, "", *self.ehlo_secure.lines, f"AUTH {MECHANISMS}")

    def make_session(self) -> Session:
        return SubmissionSession(self)
