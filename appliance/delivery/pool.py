"""Warm connections to a configured next hop: one pool per next hop and worker.

Servers are tried by preference, equal ones by weight; a server that fails is left alone by its breaker. A connection
comes back after each message; idle ones are used again last in, first out, so that those not needed age and are
closed. One that idled longer than `probe_after` is asked RSET before it is given out. A pool never waits without a
bound: `acquire` always ends in a connection or a temporary reply.

Called by `delivery.cutthrough` on the hot path, without a task or future where a warm connection is at hand, and by
the queue's runner. Opening is left to an injected coroutine, so that tests need no network.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from appliance.config.schema import NextHop
from appliance.core import reply
from appliance.core.errors import GatewayError
from appliance.core.reply import Reply
from appliance.delivery.breaker import Breaker
from appliance.delivery.connection import HopConnection
from appliance.delivery.endpoint import Endpoint, parse_endpoint

Ready = Callable[[HopConnection | Reply], None]
Open = Callable[[Endpoint], Awaitable[HopConnection]]

_MAX_WAITERS: Final = 1_000

_log = logging.getLogger(__name__)


class Server:
    """One server of the next hop, with its idle connections."""

    __slots__ = ("breaker", "endpoint", "idle", "preference", "weight")

    def __init__(self, endpoint: Endpoint, preference: int, weight: int, breaker: Breaker) -> None:
        self.endpoint = endpoint
        self.preference = preference
        self.weight = weight
        self.breaker = breaker
        self.idle: list[HopConnection] = []


class HopPool:
    """All connections of one worker to one next hop. To be swept about once a second."""

    __slots__ = (
        "_busy", "_chance", "_closing", "_hop", "_now", "_open", "_opening", "_servers", "_takes_binary",
        "_tasks", "_waiters", "name",
    )  # fmt: skip

    def __init__(
        self, hop: NextHop, open_connection: Open, *, now_s: Callable[[], float], chance: random.Random | None = None
    ) -> None:
        self.name = hop.name
        self._hop = hop
        self._open = open_connection
        self._now = now_s
        self._chance = chance or random.Random()
        self._servers = [
            Server(
                parse_endpoint(server.url),
                server.preference,
                max(server.weight, 0),
                Breaker(hop.breaker_failures, hop.breaker_reset),
            )
            for server in hop.servers
        ]
        self._busy: set[HopConnection] = set()
        self._opening = 0
        self._waiters: deque[tuple[Ready, float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._takes_binary = False

    # -- taking and giving back

    def acquire(self, ready: Ready, *, fresh: bool = False) -> None:
        """Calls `ready` with a connection, at once if a warm one is at hand, or with a 4xx reply if none can be had.

        `fresh` asks for a new connection, after a warm one turned out dead.
        """
        if not fresh:
            connection = self._take_idle()
            if connection is not None:
                self._busy.add(connection)
                if self._now() - connection.idle_since_s > self._hop.probe_after:
                    self._probe(connection, ready)
                else:
                    ready(connection)
                return
        if len(self._busy) + self._opening < self._hop.connections:
            self._start_opening(ready)
        elif len(self._waiters) < _MAX_WAITERS:
            self._waiters.append((ready, self._now() + self._hop.acquire_timeout))
        else:
            ready(reply.NEXT_HOP_BUSY)

    def _probe(self, connection: HopConnection, ready: Ready) -> None:
        """RSET to a connection that idled: many servers close one that does so long (RFC 5321 §4.5.3.2)."""

        def answered(answer: Reply) -> None:
            if connection.trouble is None and answer.code < 300:
                ready(connection)
                return
            self._busy.discard(connection)
            if connection.trouble is None:
                connection.quit()
            self.acquire(ready)

        connection.submit(connection.engine.reset(), answered)

    def release(self, connection: HopConnection) -> None:
        """Gives back a connection on which no transaction is open; a broken or worn-out one is dropped."""
        self._busy.discard(connection)
        if not connection.quiet:
            # Answered before all was sent: the rest of that message must go nowhere.
            connection.fail(reply.NEXT_HOP_BABBLE)
        if connection.trouble is not None:
            self._serve_waiters()
            return
        worn_out = connection.transactions >= self._hop.messages_per_connection
        # One that is not between two transactions would carry the end of one message into the next.
        if self._closing or worn_out or not connection.engine.idle:
            connection.quit()
            self._serve_waiters()
            return
        if self._waiters:
            ready, _ = self._waiters.popleft()
            self._busy.add(connection)
            # Not from here: waiters that have gone would give it back, one inside the other.
            asyncio.get_running_loop().call_soon(self._hand_over, connection, ready)
            return
        connection.idle_since_s = self._now()
        server = connection.server
        assert isinstance(server, Server)
        server.idle.append(connection)

    def _hand_over(self, connection: HopConnection, ready: Ready) -> None:
        if connection.trouble is None:
            ready(connection)
        else:
            self.acquire(ready)

    def reset_and_release(self, connection: HopConnection) -> None:
        """Gives back a connection with an open transaction: RSET first (RFC 5321 §4.1.1.5)."""

        def answered(answer: Reply) -> None:
            if connection.trouble is None and answer.code >= 300:
                connection.quit()
            self.release(connection)

        connection.submit(connection.engine.reset(), answered)

    def discard(self, connection: HopConnection) -> None:
        """Cuts a connection off at once: the only way out of a body that must not arrive."""
        self._busy.discard(connection)
        connection.fail(reply.NEXT_HOP_LOST)
        self._serve_waiters()

    # -- state

    @property
    def down(self) -> bool:
        """Every server's circuit is open: there is no use in asking now."""
        now_s = self._now()
        return all(server.breaker.is_open(now_s) for server in self._servers)

    @property
    def takes_binary(self) -> bool:
        """BINARYMIME may be offered to clients: the last server spoken to takes it (RFC 3030 §3)."""
        return self._takes_binary

    @property
    def idle_count(self) -> int:
        return sum(len(server.idle) for server in self._servers)

    @property
    def busy_count(self) -> int:
        return len(self._busy)

    def sweep(self, now_s: float) -> None:
        """Closes what idled too long, fails overdue replies, and tells waiters who waited too long."""
        for connection in list(self._busy):
            connection.expire(now_s)
        for server in self._servers:
            while server.idle and now_s - server.idle[0].idle_since_s > self._hop.idle:
                server.idle.pop(0).quit()
        while self._waiters and now_s > self._waiters[0][1]:
            self._waiters.popleft()[0](reply.NEXT_HOP_BUSY)

    async def close(self) -> None:
        """Closes idle connections, cuts busy ones; afterwards `acquire` opens nothing that stays."""
        self._closing = True
        for server in self._servers:
            for connection in server.idle:
                connection.quit()
            server.idle.clear()
        for connection in list(self._busy):
            connection.fail(reply.SHUTTING_DOWN)
        while self._waiters:
            self._waiters.popleft()[0](reply.NEXT_HOP_DOWN)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- within

    def _take_idle(self) -> HopConnection | None:
        if len(self._servers) == 1:
            return self._take_idle_of(self._servers[0])
        for server in self._in_order(lambda server: bool(server.idle)):
            connection = self._take_idle_of(server)
            if connection is not None:
                return connection
        return None

    def _take_idle_of(self, server: Server) -> HopConnection | None:
        idle = server.idle
        while idle:
            connection = idle.pop()
            if connection.trouble is None:
                return connection
        return None

    def _in_order(self, wanted: Callable[[Server], bool]) -> list[Server]:
        """Servers to try: lowest preference first, equal ones drawn by weight (as SRV does, RFC 2782)."""
        left = [server for server in self._servers if wanted(server)]
        if len(left) < 2:
            return left
        draw = self._chance.random
        drawn = [(server.preference, -(draw() ** (1.0 / (server.weight or 0.001))), server) for server in left]
        drawn.sort(key=lambda entry: entry[:2])
        return [server for _, _, server in drawn]

    def _start_opening(self, ready: Ready) -> None:
        now_s = self._now()
        servers = self._in_order(lambda server: not server.breaker.is_open(now_s))
        if not servers or self._closing:
            ready(reply.NEXT_HOP_DOWN)
            return
        self._opening += 1
        task = asyncio.get_running_loop().create_task(self._open_one(servers, ready))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_one(self, servers: list[Server], ready: Ready) -> None:
        trouble: Reply = reply.NEXT_HOP_DOWN
        connection: HopConnection | None = None
        try:
            for server in servers:
                if not server.breaker.allows(self._now()):
                    continue
                try:
                    connection = await self._open(server.endpoint)
                except GatewayError as error:
                    server.breaker.failed(self._now())
                    trouble = error.reply
                    continue
                except Exception:  # noqa: BLE001 - a defect must not leave a client without an answer
                    _log.exception("event=open_failed hop=%s server=%s", self.name, server.endpoint)
                    server.breaker.failed(self._now())
                    trouble = reply.LOCAL_ERROR
                    continue
                except asyncio.CancelledError:
                    server.breaker.failed(self._now())
                    trouble = reply.SHUTTING_DOWN
                    break
                if connection.trouble is not None:  # it was lost while this coroutine waited for its turn
                    server.breaker.failed(self._now())
                    trouble, connection = connection.trouble, None
                    continue
                server.breaker.succeeded()
                connection.server = server
                connection.on_lost = self._lost
                self._takes_binary = {"BINARYMIME", "CHUNKING"} <= connection.extensions.keys()
                break
        finally:
            self._opening -= 1
        if connection is None:
            ready(trouble)
            self._serve_waiters()
            return
        self._busy.add(connection)
        ready(connection)

    def _serve_waiters(self) -> None:
        while self._waiters and len(self._busy) + self._opening < self._hop.connections:
            ready, _ = self._waiters.popleft()
            self._start_opening(ready)

    def _lost(self, connection: HopConnection) -> None:
        server = connection.server
        if isinstance(server, Server) and connection in server.idle:
            server.idle.remove(connection)
        elif connection in self._busy:
            # Whoever has it need not give it back, and its place is free for those who wait.
            self._busy.discard(connection)
            self._serve_waiters()
