"""The session on port 25: what the engine asks is answered here, one transaction at a time.

AUTH is not offered (RFC 4954 is for submission). STARTTLS and XCLIENT make a new beginning. The socket is
`intake.socket_session`'s; `intake.submission` builds its doors on this one.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.intake.secured import secured
from appliance.intake.socket_session import SocketSession
from appliance.intake.transaction import Transaction
from appliance.wire.data_stream import Normaliser
from appliance.wire.parameters import MailCommand, RcptCommand
from appliance.wire.smtp_server import SmtpServer, State
from appliance.wire.xclient import KEYWORDS, parse_xclient


class Session(SocketSession):
    """One client on port 25."""

    __slots__ = ()

    def _make_engine(self) -> SmtpServer:
        bounds = self.site.bounds
        return SmtpServer(
            self,
            command_limit=bounds.command_line,
            errors_limit=bounds.errors_per_session,
            idle_limit=bounds.idle_commands,
            size_limit=bounds.message_size,
            passes_bare_newlines=bounds.normalises,
        )

    # -- what the engine asks

    def on_hello(self, verb: bytes, name: str) -> Reply:
        self.client.helo = name
        self.client.esmtp = verb == b"EHLO"
        self._engine.binary_offered = self.listener.binary_offered
        self._engine.secure = bool(self.client.tls)
        if not self.client.esmtp:
            return self.listener.helo_reply
        offered = self.listener.ehlo_secure if self.client.tls else self.listener.ehlo_clear
        return Reply(250, "", *offered.lines, f"XCLIENT {KEYWORDS}") if self._may_xclient() else offered

    def on_mail(self, command: MailCommand) -> Reply:
        limit = self.site.bounds.messages_per_session
        if self._messages >= limit or self.listener.draining:
            return reply.TOO_MANY_MESSAGES if self._messages >= limit else reply.SHUTTING_DOWN
        self._messages += 1
        self._buffer = None  # it was the last transaction's, who gave it back to the pool
        transaction = Transaction(self.site, self.client, self, self.key)
        answer = transaction.mail(command)
        if answer.code < 300:
            self._transaction = transaction
            self._began_s = self.listener.now_s
        return answer

    def on_rcpt(self, command: RcptCommand) -> Reply | None:
        assert self._transaction is not None
        return self._transaction.recipient(command)

    def on_data(self, form: str) -> Reply | None:
        assert self._transaction is not None
        if self.site.bounds.normalises:
            self._normaliser = Normaliser()
        return self._transaction.data(form)

    def on_body(self, view: memoryview) -> None:
        assert self._transaction is not None
        if self._normaliser is not None:
            self.site.counters.body_copies += 1
            view = memoryview(self._normaliser.feed(view))
        self._transaction.body(view)

    def on_body_end(self, *, bare_newlines: bool) -> Reply | None:
        assert self._transaction is not None
        bare_newlines = bare_newlines and self._normaliser is None
        self._normaliser = None
        return self._transaction.body_end(bare_newlines=bare_newlines)

    def on_reset(self) -> None:
        transaction, self._transaction = self._transaction, None
        self._normaliser = None
        self._buffer = None
        if transaction is not None:
            transaction.abort()

    def on_starttls(self) -> Reply:
        if self.client.tls:
            return reply.TLS_ALREADY
        if self.site.tls is None:
            return reply.TLS_UNAVAILABLE
        if self._transport is not None:
            self._transport.pause_reading()  # now, not when the task runs: nothing in clear may come in behind this
        self.listener.spawn(self._upgrade(self.site.tls))
        return reply.START_TLS

    def _may_xclient(self) -> bool:
        return self.site.access.may_xclient(self._peer_ip)

    def on_xclient(self, raw_attributes: bytes) -> Reply:
        if not self._may_xclient():
            return reply.XCLIENT_DENIED
        attributes = parse_xclient(raw_attributes)
        if isinstance(attributes, Reply):
            return attributes
        self.client = attributes.applied_to(self.client)
        self._engine.start_over()
        return self._recount() or self.listener.greeting

    async def _upgrade(self, context: ssl.SSLContext) -> None:
        """STARTTLS: everything known from before is forgotten (RFC 3207 §4.2)."""
        transport = self._transport
        if transport is None:
            return
        loop = asyncio.get_running_loop()
        timeout_s = self.site.config.timeouts.tls_handshake
        protocol: Any = self
        try:
            secure = await loop.start_tls(
                transport, protocol, context, server_side=True, ssl_handshake_timeout=timeout_s
            )
        except (OSError, ssl.SSLError) as error:
            self.site.counters.tls_handshakes["in", "failed"] += 1
            self.site.events.event("tls_failed", {"client": self.client.ip, "reason": str(error)})
            transport.abort()
            return
        assert secure is not None
        if self._engine.state is not State.UPGRADING or self._transport is None:
            secure.abort()  # the session ended meanwhile
            return
        ssl_object = secure.get_extra_info("ssl_object")
        self.client = secured(self.client, ssl_object)
        self.site.counters.tls_handshakes["in", str(ssl_object.version())] += 1
        self._transport = secure
        self._stops = 0
        self._engine.start_over()
        # The client may have spoken before the handshake's end was told to us.
        early, self._early = self._early, None
        self._rearm()
        if early:
            self._engine.receive(bytearray(early), 0, len(early))
            if self._transaction is not None:
                self._transaction.secure()
            self._flush()
