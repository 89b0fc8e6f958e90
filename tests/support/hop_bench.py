"""Connections to a next hop without sockets: a transport that keeps what is written, and a server played by the test.

`Hop` opens connections for a pool and answers nothing by itself; the test says what the server says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from appliance.config.schema import Duration, HopServer, NextHop
from appliance.core.errors import GatewayError
from appliance.delivery.connection import HopConnection
from appliance.delivery.endpoint import Endpoint, parse_endpoint
from appliance.delivery.pool import HopPool

EXTENSIONS = ("PIPELINING", "8BITMIME", "SIZE 1000000", "CHUNKING", "BINARYMIME", "DSN")
REPLY_S, FINAL_S = 100.0, 500.0


class FakeTransport:
    """Writes into `written`, or while `stuck` into a buffer."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.buffered: list[bytes | memoryview] = []
        self.stuck = False
        self.aborted = False
        self.closed = False

    def write(self, octets: bytes | memoryview) -> None:
        if self.stuck:
            self.buffered.append(octets)
        else:
            self.written += octets

    def writelines(self, pieces: Sequence[bytes | memoryview]) -> None:
        for piece in pieces:
            self.write(piece)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.buffered))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = bytes(self.written)
        self.written.clear()
        return taken


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def connected(clock: Clock, url: str = "smtp://192.0.2.1:25") -> tuple[HopConnection, FakeTransport]:
    """A connection on which nothing was said yet."""
    connection = HopConnection(parse_endpoint(url), reply_timeout_s=REPLY_S, final_timeout_s=FINAL_S, now_s=clock)
    transport = FakeTransport()
    connection.connection_made(cast(asyncio.BaseTransport, transport))
    return connection, transport


def opened(
    clock: Clock, url: str = "smtp://192.0.2.1:25", extensions: Sequence[str] = EXTENSIONS
) -> tuple[HopConnection, FakeTransport]:
    """A connection that is ready for MAIL."""
    connection, transport = connected(clock, url)
    connection.expect_final([lambda answer: None])
    connection.data_received(b"220 hop.test\r\n")
    connection.submit(connection.engine.hello("gate.test"), lambda answer: None)
    lines = [b"250-%s\r\n" % line.encode() for line in ("hop.test", *extensions)]
    connection.data_received(b"".join(lines) + b"250 OK\r\n")
    assert connection.trouble is None and connection.engine.idle
    transport.take()
    return connection, transport


class Hop:
    """A next hop with a pool of connections to it."""

    def __init__(self, *urls: str, extensions: Sequence[str] = EXTENSIONS, **settings: Any) -> None:
        self.clock = Clock()
        self.extensions = extensions
        self.transports: dict[HopConnection, FakeTransport] = {}
        self.connections: list[HopConnection] = []
        self.asked: list[str] = []
        """Hosts of the endpoints that were opened, or tried to."""
        self.failing: dict[str, Exception] = {}
        """By host, what opening raises."""
        self.gate: asyncio.Event | None = None
        """Opening waits for it."""
        servers = [HopServer(url=url) for url in urls or ("smtp://192.0.2.1:25",)]
        given = {"breaker_reset": Duration(10), "breaker_failures": 2} | settings
        self.config = NextHop(name="inside", servers=given.pop("servers", servers), **given)
        self.pool = HopPool(self.config, self.open, now_s=self.clock)

    async def open(self, endpoint: Endpoint) -> HopConnection:
        self.asked.append(endpoint.host)
        if self.gate is not None:
            await self.gate.wait()
        if endpoint.host in self.failing:
            raise self.failing[endpoint.host]
        connection, transport = opened(self.clock, str(endpoint), self.extensions)
        self.transports[connection] = transport
        self.connections.append(connection)
        return connection

    def says(self, octets: bytes, number: int = -1) -> None:
        """The server at the other end of connection `number` speaks."""
        self.connections[number].data_received(octets)

    def heard(self, number: int = -1) -> bytes:
        """What it heard since the last call."""
        return self.transports[self.connections[number]].take()

    def closes(self, number: int = -1) -> None:
        self.connections[number].connection_lost(None)


async def settle() -> None:
    """Lets tasks and callbacks that are ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def trouble(text: str = "down") -> GatewayError:
    return GatewayError(text)
