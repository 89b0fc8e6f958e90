"""One destination of the queue: who waits for it, how many deliveries it may have at a time, and when it is left alone.

Pure state, moved by `delivery.runner`, which passes the clock. A destination earns its concurrency: it begins with one
lane, and each connection that it grants adds one, up to the configured number. One that cannot be reached is blocked;
after that a single lane is the probe. Entries beyond the few that a destination can use soon are only remembered by
id (`parked`), so that a million messages for a dead server cost little and come back in order.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from appliance.config.schema import Config
from appliance.core import reply
from appliance.core.reply import Reply
from appliance.delivery.route import Route, RouteKind
from appliance.spool.meta import Entry

LONGEST_HOP_BLOCK_S = 60.0
FIRST_MX_BLOCK_S = 60.0
LONGEST_MX_BLOCK_S = 1800.0
JOBS_WAITING = 50
LOST_BEFORE_BLOCK = 3
"""Connections lost in a row in mid transaction: fewer may be the messages' fault."""


class Job(NamedTuple):
    """One transaction to be: recipients of one entry that share the destination."""

    entry: Entry
    indices: list[int]


class Destination:
    """The state of one destination, for messages with or without REQUIRETLS."""

    def __init__(
        self, key: str, route: Route, *, requiretls: bool, lanes_max: int, first_block_s: float, longest_block_s: float
    ) -> None:
        self.key = key
        self.route = route
        self.requiretls = requiretls
        self.lanes_max = lanes_max
        self.first_block_s = first_block_s
        self.longest_block_s = longest_block_s
        self.waiting: deque[Job] = deque()
        self.parked: dict[str, None] = {}
        """Ids of entries that wait in the queue for this destination to come back or to catch up, oldest first."""
        self.active = 0
        """Lanes at work, connected or connecting."""
        self.connected = 0
        self.window = 1
        self.lost = 0
        self.blocked_until_s = 0.0
        self.trouble: Reply = reply.NEXT_HOP_DOWN
        """Why it is blocked; what its recipients are deferred with."""
        self._block_s = 0.0

    def blocked(self, now_s: float) -> bool:
        # A clock that was set back must not block for longer than was meant.
        return now_s < self.blocked_until_s <= now_s + self.longest_block_s

    def wants_lane(self, now_s: float) -> bool:
        return bool(self.waiting) and self.active < min(self.window, self.lanes_max) and not self.blocked(now_s)

    @property
    def room(self) -> int:
        """How many more jobs may wait here: enough that no lane runs dry; hardly any while it is not known to live."""
        enough = 2 * min(self.window, self.lanes_max)
        return (enough if self._block_s else max(enough, JOBS_WAITING)) - len(self.waiting)

    @property
    def forgettable(self) -> bool:
        """Nothing is lost when this object goes."""
        return self.unused and not self._block_s

    @property
    def unused(self) -> bool:
        """Nobody waits for it or is on the way; it may still remember how long it was blocked."""
        return not (self.waiting or self.parked or self.active)

    def granted(self) -> None:
        """A connection is open."""
        self.connected += 1
        self.window = min(self.window + 1, self.lanes_max)
        self._block_s = 0.0

    def served(self) -> None:
        """A transaction came to its replies."""
        self.lost = 0

    def refused(self, why: Reply, now_s: float) -> bool:
        """No connection could be had. True: blocked now. False: there are others, so this was one too many."""
        if self.connected:
            self.window = self.connected
            return False
        self._block(why, now_s)
        return True

    def broke(self, why: Reply, now_s: float) -> None:
        """A connection was lost in mid transaction."""
        self.lost += 1
        if self.lost >= LOST_BEFORE_BLOCK:
            self.lost = 0
            self._block(why, now_s)

    def _block(self, why: Reply, now_s: float) -> None:
        self.window = 1
        self.trouble = why
        if not self.blocked(now_s):
            self._block_s = min(max(self.first_block_s, 2 * self._block_s), self.longest_block_s)
            self.blocked_until_s = now_s + self._block_s


def destination_for(route: Route, requiretls: bool, config: Config) -> Destination:
    """A fresh destination for `route` with the limits of `config`."""
    key = key_of(route, requiretls)
    lanes_max = max(1, config.queue.destinations)
    if route.kind is RouteKind.MX or route.hop is None:
        first_s, longest_s = FIRST_MX_BLOCK_S, LONGEST_MX_BLOCK_S
    else:
        # Half of a hop's connections stay for mail that is streaming through.
        lanes_max = max(1, min(lanes_max, route.hop.connections // 2))
        first_s = float(route.hop.breaker_reset)
        longest_s = max(first_s, LONGEST_HOP_BLOCK_S)
    return Destination(
        key, route, requiretls=requiretls, lanes_max=lanes_max, first_block_s=first_s, longest_block_s=longest_s
    )


def key_of(route: Route, requiretls: bool) -> str:
    """What destinations are told apart by: a server without TLS must not block mail that does not ask for it."""
    return f"{route.key} requiretls" if requiretls else route.key
