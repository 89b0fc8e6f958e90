"""The DNS servers that we ask: one question, several servers, one deadline over all of them.

An attempt goes by UDP from a port of its own, and by TCP when the answer was cut off (RFC 7766 §5). What is not the
answer to our question (wrong id, wrong name, garbage) is ignored, so that a forger who is quicker than the server gains
nothing (RFC 5452 §9.1). Knows no cache and no mail. Called by the resolver alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.resolver

from appliance.core.errors import ConfigError, DnsTrouble
from appliance.dns.answer import Answer, NoAnswer, read_answer

_ROUNDS = (1, 2, 4)  # how the deadline is shared out: a datagram may get lost, and a slow zone needs patience
_UDP_PAYLOAD_OCTETS = 1_232  # fits every path unfragmented, as agreed for the DNS flag day of 2020
_SHUNNED_S = 30.0  # a silent server is asked last for so long


class Server(NamedTuple):
    """One server to ask."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def parse_server(text: str) -> Server:
    """The server in `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`; port 53 by default.

    Raises:
        ConfigError: none of these.
    """
    host, port = text, "53"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest or not bracket else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ip = str(ipaddress.ip_address(host))
    except ValueError:
        raise ConfigError(f"dns.servers: {text!r} is not an IP address with an optional port") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ConfigError(f"dns.servers: {text!r} has no usable port")
    return Server(ip, int(port))


def system_servers(path: str = "/etc/resolv.conf") -> list[Server]:
    """The servers that the file at `path` names; the local host's if there is none, as resolv.conf(5) says."""
    try:
        nameservers = dns.resolver.Resolver(filename=path).nameservers
    except dns.resolver.NoResolverConfiguration:
        return [Server("127.0.0.1", 53)]
    return [parse_server(str(nameserver)) for nameserver in nameservers] or [Server("127.0.0.1", 53)]


class Upstream:
    """The servers in the order of the configuration; those that were silent lately come last."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = tuple(servers)
        self._shunned_until_s: dict[Server, float] = {}

    async def ask(self, name: str, kind: str, end_s: float) -> Answer:
        """The answer to one question, by whichever server gives one before `end_s` (of the loop's clock).

        A server that is silent is asked again while there is time; one that answered with a failure is not.

        Raises:
            DnsTrouble: no server gave an answer; temporary.
        """
        loop = asyncio.get_running_loop()
        plan = [(weight, server) for weight in _ROUNDS for server in self._in_order(loop.time())]
        reasons: dict[Server, str] = {}
        while plan and loop.time() < end_s:
            weight, server = plan.pop(0)
            share = weight / (weight + sum(later for later, _ in plan))
            try:
                async with asyncio.timeout((end_s - loop.time()) * share):
                    answer = read_answer(await _exchange(server, name, kind))
            except TimeoutError:
                reasons[server] = "no answer in time"
                self._shunned_until_s[server] = loop.time() + _SHUNNED_S
                continue
            except (NoAnswer, dns.exception.DNSException, OSError, ValueError) as error:
                reasons[server] = str(error) or type(error).__name__
                plan = [later for later in plan if later[1] != server]
                continue
            self._shunned_until_s.pop(server, None)
            return answer
        told = "; ".join(f"{server}: {reason}" for server, reason in reasons.items())
        raise DnsTrouble(f"{kind} of {name}: {told or 'no time left'}")

    def _in_order(self, now_s: float) -> list[Server]:
        # The sort is stable: among the shunned, and among the others, the configured order holds.
        return sorted(self._servers, key=lambda server: self._shunned_until_s.get(server, 0.0) > now_s)


async def _exchange(server: Server, name: str, kind: str) -> dns.message.Message:
    """One question to one server; for ever, if it is silent: the caller sets the limit.

    The sockets are our own, not those of dnspython's asyncio backend: on uvloop a cancelled look-up leaks its transport
    there, and its time limits follow the wall clock, which may jump.
    """
    query = dns.message.make_query(f"{name}.", kind, use_edns=0, payload=_UDP_PAYLOAD_OCTETS)
    loop = asyncio.get_running_loop()
    # A connected socket hears at once when nobody listens there, and nothing from anybody else.
    with _socket(server, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(tuple(server))
        await loop.sock_sendall(datagrams, query.to_wire())
        message = None
        while message is None:
            message = _datagram_for(query, await loop.sock_recv(datagrams, 65_535))
    if not message.flags & dns.flags.TC:
        return message
    with _socket(server, socket.SOCK_STREAM) as stream:
        await loop.sock_connect(stream, tuple(server))
        await loop.sock_sendall(stream, query.to_wire(prepend_length=True))
        length = int.from_bytes(await _exactly(stream, 2), "big")
        message = dns.message.from_wire(await _exactly(stream, length))
    if not query.is_response(message):
        raise NoAnswer("answer to another question")
    return message


def _socket(server: Server, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in server.ip else socket.AF_INET
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _datagram_for(query: dns.message.Message, raw: bytes) -> dns.message.Message | None:
    """The message in `raw` if it answers `query`; None for what a forger could have sent."""
    try:
        message = dns.message.from_wire(raw, raise_on_truncation=True)
    except dns.message.Truncated as error:
        message = error.kwargs["message"]  # cut off anywhere, perhaps within a record; its TC flag is set
    except (dns.exception.DNSException, ValueError):
        return None
    return message if query.is_response(message) else None


async def _exactly(stream: socket.socket, length: int) -> bytes:
    raw = bytearray()
    while len(raw) < length:
        piece = await asyncio.get_running_loop().sock_recv(stream, length - len(raw))
        if not piece:
            raise NoAnswer("connection closed within the answer")
        raw += piece
    return bytes(raw)
