"""Opening a connection to a server: connect, greeting, EHLO, TLS as policy says, AUTH if configured.

Runs as a coroutine, for it happens once per connection and not per message. Everything that goes wrong is a
`GatewayError` with the reply that a client may see; TLS that policy requires is never done without (RFC 3207 §6).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import msgspec

from appliance.config.schema import HopTls, NextHop, Timeouts
from appliance.core import reply
from appliance.core.errors import ConfigError, GatewayError, NextHopDown, TlsPolicyFailed
from appliance.core.reply import Reply
from appliance.delivery.connection import HopConnection
from appliance.delivery.endpoint import Endpoint
from appliance.tls.contexts import ClientContexts, TlsPolicy, check_peer, describe, handshake_failed
from appliance.wire.auth_client import Login, Mechanism, Plain


class Refused(GatewayError):
    """The server said no before a transaction; carries its reply."""

    def __init__(self, said: Reply, where: str) -> None:
        super().__init__(f"{where}: {said.code} {said.text}")
        # A 5xx here is about the connection, not the message: another server, or another hour, may take it.
        self.reply = said if said.temporary else Reply(451, "4.4.0", f"Next hop refused the session: {said.text}")


class Handshake:
    """Opens connections to the servers of one next hop, or of all MX hosts. One per configuration."""

    def __init__(
        self, hop: NextHop, *, hostname: str, timeouts: Timeouts, contexts: ClientContexts, now_s: Callable[[], float]
    ) -> None:
        """`hop` gives TLS policy and credentials; `hostname` is our name in EHLO; `now_s` a monotonic clock."""
        self._hop = hop
        self._hostname = hostname
        self._timeouts = timeouts
        self._contexts = contexts
        self._now = now_s

    async def open(self, endpoint: Endpoint) -> HopConnection:
        """A connection ready for MAIL.

        Raises:
            NextHopDown: it could not be reached or did not answer in time; temporary.
            TlsPolicyFailed: it does not offer the TLS that policy requires; temporary.
            GatewayError: another refusal, with its reply.
        """
        return await self._opened(endpoint, None, self._policy(endpoint))

    async def open_on(self, sock: socket.socket, endpoint: Endpoint, *, requiretls: bool = False) -> HopConnection:
        """As `open`, on a socket that is connected already; owns it from the call on."""
        policy = self._policy(endpoint)
        return await self._opened(endpoint, sock, policy.with_requiretls() if requiretls else policy)

    def _policy(self, endpoint: Endpoint) -> TlsPolicy:
        if endpoint.implicit_tls and self._hop.tls is HopTls.NONE:
            # `smtps://` with `tls = "none"`: TLS all the same, unverified, for the URL asks for it.
            return TlsPolicy.of(msgspec.structs.replace(self._hop, tls=HopTls.ENCRYPT), endpoint.host)
        return TlsPolicy.of(self._hop, endpoint.host)

    async def _opened(self, endpoint: Endpoint, sock: socket.socket | None, policy: TlsPolicy) -> HopConnection:
        connection = HopConnection(
            endpoint,
            reply_timeout_s=self._timeouts.reply,
            final_timeout_s=self._timeouts.final_reply,
            now_s=self._now,
        )
        try:
            await self._connect(connection, sock, policy)
            await self._greet(connection, policy)
        except (OSError, TimeoutError) as error:
            connection.fail(reply.NEXT_HOP_DOWN)
            raise NextHopDown(f"{endpoint}: {error or type(error).__name__}") from error
        except ConfigError as error:
            connection.fail(reply.LOCAL_ERROR)
            raise GatewayError(str(error)) from error
        except BaseException:
            connection.fail(reply.NEXT_HOP_DOWN)
            raise
        return connection

    async def _connect(self, connection: HopConnection, sock: socket.socket | None, policy: TlsPolicy) -> None:
        endpoint, loop = connection.endpoint, asyncio.get_running_loop()
        greeting = connection.expect()
        factory: Callable[[], Any] = lambda: connection  # noqa: E731 - a compiled class is no BaseProtocol by descent
        context = self._contexts.get(policy) if endpoint.implicit_tls else None
        name = policy.name if context is not None else None
        try:
            async with asyncio.timeout(self._timeouts.connect):
                if endpoint.path:
                    await loop.create_unix_connection(factory, endpoint.path)
                elif sock is not None:
                    await loop.create_connection(factory, sock=sock, ssl=context, server_hostname=name)
                else:
                    await loop.create_connection(
                        factory, endpoint.host, endpoint.port, ssl=context, server_hostname=name
                    )
        except ssl.SSLError as error:
            raise handshake_failed(error, policy) from error
        if context is not None:
            self._check(connection, policy)
        connection.no_delay()
        async with asyncio.timeout(self._timeouts.greeting):
            said = await greeting
        if said.code >= 300 or connection.trouble is not None:
            raise Refused(said, f"{endpoint} greeting")

    async def _greet(self, connection: HopConnection, policy: TlsPolicy) -> None:
        await self._hello(connection)
        if not connection.tls and policy.wanted and not connection.lmtp:
            if "STARTTLS" in connection.extensions:
                await self._start_tls(connection, policy)
            elif policy.required:
                raise TlsPolicyFailed(f"{connection.endpoint} does not offer STARTTLS")
        if self._hop.username:
            await self._authenticate(connection)

    async def _hello(self, connection: HopConnection) -> None:
        engine = connection.engine
        said = await self._ask(connection, engine.hello(self._hostname))
        if said.permanent and not connection.lmtp and connection.trouble is None:
            said = await self._ask(connection, engine.helo(self._hostname))
        if said.code >= 300:
            raise Refused(said, f"{connection.endpoint} EHLO")

    async def _start_tls(self, connection: HopConnection, policy: TlsPolicy) -> None:
        said = await self._ask(connection, connection.engine.start_tls())
        if said.code >= 300:
            if policy.required or connection.trouble is not None:
                raise TlsPolicyFailed(f"{connection.endpoint} refused STARTTLS: {said.code} {said.text}")
            return
        try:
            async with asyncio.timeout(self._timeouts.tls_handshake):
                await connection.start_tls(self._contexts.get(policy), policy.name)
        except (ssl.SSLError, OSError, TimeoutError) as error:
            raise handshake_failed(error, policy) from error
        self._check(connection, policy)
        connection.engine.tls_started()
        await self._hello(connection)

    @staticmethod
    def _check(connection: HopConnection, policy: TlsPolicy) -> None:
        ssl_object = connection.ssl_object
        check_peer(ssl_object, policy)
        connection.tls = describe(ssl_object) if ssl_object is not None else ""

    async def _authenticate(self, connection: HopConnection) -> None:
        offered = connection.extensions.get("AUTH", "").upper().split()
        if not connection.tls and self._hop.tls is not HopTls.NONE:
            raise TlsPolicyFailed(f"{connection.endpoint}: no TLS, and the password is not sent in clear")
        mechanism = self._mechanism(offered)
        if mechanism is None:
            raise Refused(Reply(454, "4.7.0", "Next hop offers no AUTH that we speak"), str(connection.endpoint))
        said = await self._ask(connection, connection.engine.auth(mechanism))
        if said.code >= 300:
            raise Refused(said, f"{connection.endpoint} AUTH")

    def _mechanism(self, offered: list[str]) -> Mechanism | None:
        try:
            with open(self._hop.password_file, encoding="utf-8") as file:
                password = file.read().rstrip("\r\n")
        except OSError as error:
            raise GatewayError(f"password file {self._hop.password_file}: {error.strerror}") from error
        try:
            if "PLAIN" in offered:
                return Plain(self._hop.username, password)
            return Login(self._hop.username, password) if "LOGIN" in offered else None
        except ValueError as error:
            raise GatewayError(f"next hop {self._hop.name}: {error}") from error

    async def _ask(self, connection: HopConnection, command: bytes) -> Reply:
        answer = connection.expect()
        connection.submit(command)
        async with asyncio.timeout(self._timeouts.reply):
            return await answer

