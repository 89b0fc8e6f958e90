"""A worker's part of the health gate: for a while, one domain of the gate's own leads to a port on loopback.

So the real service relays the gate's message, past its real doors, limits and scanners, and the configuration is not
touched. It makes no open relay: the domain is random, cannot be in DNS, leads only to 127.0.0.1, is taken from clients
on this machine alone (`intake.access`), and is forgotten after `MAX_OPEN_S`. Called by the worker.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from appliance.config.schema import Config, HopServer, HopTls, NextHop
from appliance.control.arguments import typed
from appliance.control.protocol import RequestRefused
from appliance.control.server import Handler
from appliance.daemon.rooms import Rooms
from appliance.delivery.handshake import Handshake
from appliance.delivery.pool import HopPool
from appliance.delivery.route import CHECK_SUFFIX
from appliance.tls.contexts import ClientContexts

MAX_OPEN_S = 180.0
_TOKEN = re.compile(r"[a-z0-9]{8,40}")
_HOP = " check"
"""No configuration can have a next hop of this name."""


class _Open(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    port: int


class _Close(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class CheckDoor:
    """One of a worker; at most one domain is open."""

    def __init__(self, rooms: Callable[[], Rooms], config: Callable[[], Config]) -> None:
        self._rooms = rooms
        self._config = config
        self._open: tuple[str, Rooms, asyncio.TimerHandle] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def handlers(self) -> Mapping[str, Handler]:
        """`check.open` {token, port} gives {domain}; `check.close` {token}. A reload closes it, too."""
        return {"check.open": self._opened, "check.close": self._closed}

    async def _opened(self, args: dict[str, Any]) -> object:
        asked = typed(args, _Open)
        if not _TOKEN.fullmatch(asked.token) or not 1024 <= asked.port <= 65535:
            raise RequestRefused("a check wants a token of small letters and digits, and a port from 1024 on")
        self.close()
        rooms, config, domain = self._rooms(), self._config(), asked.token + CHECK_SUFFIX
        servers = [HopServer(url=f"smtp://127.0.0.1:{asked.port}")]
        hop = NextHop(name=_HOP, servers=servers, tls=HopTls.MAY, connections=2)
        handshake = Handshake(
            hop, hostname=config.hostname, timeouts=config.timeouts, contexts=ClientContexts(), now_s=time.monotonic
        )
        rooms.pools[_HOP] = HopPool(hop, handshake.open, now_s=time.monotonic)
        rooms.site.router.open_check(domain, hop)
        timer = asyncio.get_running_loop().call_later(MAX_OPEN_S, self.close)
        self._open = domain, rooms, timer
        return {"domain": domain}

    async def _closed(self, args: dict[str, Any]) -> object:
        asked = typed(args, _Close)
        if self._open is not None and self._open[0] == asked.token + CHECK_SUFFIX:
            self.close()
        return {}

    def close(self) -> None:
        """Forgets the domain; its connections end. For the loop's thread."""
        if self._open is None:
            return
        domain, rooms, timer = self._open
        self._open = None
        timer.cancel()
        rooms.site.router.close_check(domain)
        pool = rooms.pools.pop(_HOP, None)
        if pool is not None:
            task = asyncio.create_task(pool.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
