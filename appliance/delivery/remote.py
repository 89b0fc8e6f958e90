"""The way out to domains that are not ours: MX hosts in order, addresses raced, until one server is ready for MAIL.

Knows which failures are worth the next host and which are final; nothing of the queue, of messages or of the SMTP
dialogue, which the injected `open_smtp` holds. Called by `delivery.runner`.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

from appliance.core.errors import GatewayError, NextHopDown, TlsPolicyFailed
from appliance.core.reply import NEXT_HOP_DOWN, Reply
from appliance.delivery import happy
from appliance.delivery.dsn import line_of
from appliance.delivery.endpoint import Endpoint
from appliance.delivery.route import Route
from appliance.dns import mx

MAX_TOLD_CHARACTERS = 400
"""Of a server's refusal that is handed on in our reply."""


class Connection(Protocol):
    """A server that is greeted and ready for MAIL; what `delivery.connection.HopConnection` shows of itself here."""

    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def extensions(self) -> Mapping[str, str]: ...
    @property
    def trouble(self) -> Reply | None:
        """Set once the connection is of no more use."""

    def quit(self) -> None: ...


class LeftAlone(GatewayError):
    """Nobody was even asked: the route's servers failed a moment ago, and their time-out is not over."""

    reply = NEXT_HOP_DOWN


class Outlet(Protocol):
    """A way to get connections for a route, and to give them back."""

    @property
    def pooled(self) -> bool:
        """Connections are shared with others, so they are to be given back after each message."""

    async def open(self, route: Route, *, requiretls: bool) -> Connection:
        """A connection for one user at a time.

        Raises:
            GatewayError: its `reply` says whether that is permanent for the route (5xx) or worth another try (4xx);
                `LeftAlone` says that it was not tried.
        """

    def release(self, connection: Connection) -> None:
        """The connection is not needed any more; it may be broken."""


class OpenSmtp(Protocol):
    """Speaks SMTP on a connected socket until the server is ready for MAIL: greeting, EHLO, STARTTLS."""

    async def __call__(self, sock: socket.socket, endpoint: Endpoint, *, requiretls: bool) -> Connection:
        """Owns `sock` from the call on, and closes it when it raises.

        Raises:
            GatewayError: with the server's own reply as `reply` where it gave one.
        """


class Connect(Protocol):
    """`happy.connect`, or what a test puts in its place."""

    def __call__(self, addresses: Collection[str], port: int, *, deadline_s: float) -> Awaitable[socket.socket]: ...


Hosts = Callable[[str], Awaitable[list[mx.MxHost]]]
"""`dns.mx.hosts` for a domain, with the resolver and our own names bound; raises what that raises."""


async def _connect(addresses: Collection[str], port: int, *, deadline_s: float) -> socket.socket:
    return await happy.connect(list(addresses), port, deadline_s=deadline_s)


class Remote:
    """The outlet for routes by MX."""

    pooled = False

    def __init__(
        self,
        hosts: Hosts,
        open_smtp: OpenSmtp,
        *,
        connect_timeout_s: float,
        port: int = 25,
        connect: Connect = _connect,
    ) -> None:
        self._hosts = hosts
        self._open_smtp = open_smtp
        self._connect_timeout_s = connect_timeout_s
        self._port = port
        self._connect = connect

    async def open(self, route: Route, *, requiretls: bool) -> Connection:
        """A connection to the best MX host of `route.domain` that will talk to us.

        A host that cannot be reached, or refuses us before MAIL with whatever code, is followed by the next one
        (RFC 5321 §5.1); when none is left that is temporary, since a server that greets with 554 speaks for itself
        (RFC 5321 §3.1) and not for the domain's recipients.

        Raises:
            NullMx, NoSuchDomain, NoMailHost, MxLoop and the like: permanent for all recipients of the domain.
            DnsTrouble: temporary.
            TlsPolicyFailed: temporary; every host that answered lacked the TLS we require.
            NextHopDown: temporary; `reply` has the last host's words.
        """
        failures: list[tuple[str, GatewayError]] = []
        for host in await self._hosts(route.domain):
            try:
                sock = await self._connect(host.addresses, self._port, deadline_s=self._connect_timeout_s)
                return await self._open_smtp(sock, Endpoint("smtp", host.name, self._port), requiretls=requiretls)
            except GatewayError as error:
                failures.append((host.name, error))
        raise _summary(route.domain, failures)

    def release(self, connection: Connection) -> None:
        connection.quit()


def _summary(domain: str, failures: list[tuple[str, GatewayError]]) -> GatewayError:
    """One temporary error for all hosts. A host that spoke to us tells more than one that could not be reached."""
    spoke = [(name, error) for name, error in failures if error.reply is not type(error).reply]
    reason = "; ".join(f"{name}: {error}" for name, error in failures)
    if any(isinstance(error, TlsPolicyFailed) for _, error in failures) and not spoke:
        return TlsPolicyFailed(f"{domain}: {reason}")
    down = NextHopDown(f"{domain}: {reason}")
    if spoke:
        name, error = spoke[-1]
        told = line_of(error.reply)[:MAX_TOLD_CHARACTERS]
        down.reply = Reply(451, "4.4.1", f"{name} said: {told}")
    return down
