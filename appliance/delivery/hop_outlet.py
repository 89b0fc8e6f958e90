"""The pools as an outlet for the queue: what cut-through uses by callback, deliveries of stored mail await."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from appliance.core.errors import GatewayError, NextHopDown
from appliance.core.reply import Reply
from appliance.delivery.connection import HopConnection
from appliance.delivery.pool import HopPool
from appliance.delivery.remote import Connection, LeftAlone
from appliance.delivery.route import Route


class NotTaken(GatewayError):
    """No connection to the next hop: carries the pool's reply."""

    def __init__(self, said: Reply, hop: str) -> None:
        super().__init__(f"next hop {hop}: {said.text}")
        self.reply = said


class HopOutlet:
    """Connections for routes with a configured next hop. `remote.Outlet` says what the queue asks of it."""

    pooled = True

    def __init__(self, pools: Mapping[str, HopPool]) -> None:
        self._pools = pools
        self._owners: dict[HopConnection, HopPool] = {}

    async def open(self, route: Route, *, requiretls: bool) -> HopConnection:
        """A pooled connection; REQUIRETLS is seen to when MAIL is made (RFC 8689 §4.2.1).

        Raises:
            LeftAlone: every server's breaker is open.
            GatewayError: none can be had now; temporary.
        """
        if route.hop is None:
            raise NextHopDown(f"route {route.key} has no next hop")
        pool = self._pools.get(route.hop.name)
        if pool is None:
            raise NextHopDown(f"next hop {route.hop.name} is no longer configured")
        if pool.down and not pool.idle_count:
            raise LeftAlone(f"next hop {route.hop.name}: its breakers are open")
        future: asyncio.Future[HopConnection | Reply] | None = None
        at_once: list[HopConnection | Reply] = []

        def ready(got: HopConnection | Reply) -> None:
            if future is None:
                at_once.append(got)
            elif not future.done():
                future.set_result(got)
            elif isinstance(got, HopConnection):
                pool.release(got)  # nobody waits any more

        pool.acquire(ready)
        if at_once:
            got = at_once[0]
        else:
            future = asyncio.get_running_loop().create_future()
            got = await future
        if isinstance(got, Reply):
            raise NotTaken(got, route.hop.name)
        self._owners[got] = pool
        return got

    def release(self, connection: Connection) -> None:
        """Gives back what `open` gave."""
        assert isinstance(connection, HopConnection)
        pool = self._owners.pop(connection, None)
        if pool is not None:
            pool.release(connection)
