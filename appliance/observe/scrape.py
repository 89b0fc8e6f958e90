"""`GET /metrics` and nothing else: a very small HTTP/1.1 server for Prometheus on a loopback port.

Knows HTTP as far as a scrape needs it (RFC 9112), and gets the numbers from whoever made it. Called by the daemon.
Every request has a size, a time and a place among few; whoever wants more is let go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from appliance.core.errors import ConfigError
from appliance.observe.exposition import render
from appliance.observe.metrics import Snapshot

MAX_REQUEST_BYTES = 8 << 10
MAX_CONNECTIONS = 8
REQUEST_TIMEOUT_S = 5.0
COLLECT_TIMEOUT_S = 5.0

Collect = Callable[[], Awaitable[Mapping[str, Snapshot]]]

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class MetricsServer:
    """One request a connection; the answer says `Connection: close`."""

    def __init__(self, address: str, collect: Collect) -> None:
        """
        Args:
            address: `127.0.0.1:9125`, `[::1]:9125`; port 0 picks a free one.
            collect: asked at each scrape for each worker's snapshot by its name; may raise OSError, TimeoutError or
                ValueError.

        Raises:
            ConfigError: no address and port.
        """
        host, colon, port = address.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ConfigError(f'[metrics] address = "{address}": use "127.0.0.1:9125"')
        self.port = int(port)
        """The port that is listened on, once started."""
        self._host = host.strip("[]")
        self._collect = collect
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens.

        Raises:
            ConfigError: the address cannot be had.
        """
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self.port, limit=MAX_REQUEST_BYTES)
        except OSError as error:
            raise ConfigError(f'[metrics] address = "{self._host}:{self.port}": {error.strerror}') from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and drops the connections that are open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S + COLLECT_TIMEOUT_S):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.CancelledError):
            # The peer is gone or does not read, or `close` ends us: nobody is left to tell.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                raw_head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return _response(408)
        except asyncio.LimitOverrunError:
            return _response(431)
        except asyncio.IncompleteReadError:
            return _response(400)
        method, target = _request_line(raw_head)
        if not method:
            return _response(400)
        if target.partition(b"?")[0] != b"/metrics":
            return _response(404, b"see /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return _response(405)
        try:
            async with asyncio.timeout(COLLECT_TIMEOUT_S):
                body = render(await self._collect())
        except (OSError, TimeoutError, ValueError) as error:  # a worker that is gone or slow; the next may do better
            return _response(503, f"cannot collect: {type(error).__name__}\n".encode())
        return _response(200, body, with_body=method == b"GET")


def _request_line(raw_head: bytes) -> tuple[bytes, bytes]:
    """Method and target; two empty ones if the line is none (RFC 9112 §3)."""
    parts = raw_head.split(b"\r\n", 1)[0].split(b" ")
    if len(parts) != 3 or not parts[0].isalpha() or not parts[2].startswith(b"HTTP/1."):
        return b"", b""
    return parts[0], parts[1]


def _response(status: int, body: bytes = b"", *, with_body: bool = True) -> bytes:
    kind = "text/plain; version=0.0.4; charset=utf-8"
    allow = "Allow: GET, HEAD\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"{allow}Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
