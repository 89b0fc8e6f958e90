"""The queue at work: takes what is due, groups it by destination, and gives destinations lanes to deliver it.

One task waits for the next due time or a call of `wake`; nothing is polled. Knows neither SMTP nor the spool's files,
and no clock but the one it is given. Started and closed by the worker's wiring; `delivery.lanes` does the sending,
`delivery.report` keeps the books.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice

from appliance.config.schema import Config
from appliance.core.reply import Reply
from appliance.delivery.destination import Destination, Job, destination_for, key_of
from appliance.delivery.lanes import Lanes, Send
from appliance.delivery.remote import Outlet
from appliance.delivery.report import Attempt, Clerk, Read
from appliance.delivery.route import Route, Router
from appliance.queue.store import QueueStore
from appliance.spool.meta import Entry

NO_WAY = Reply(550, "5.4.4", "No route to the recipient's domain")
RECIPIENTS_A_TRANSACTION = 100  # every server takes that many: RFC 5321 §4.5.3.1.8
ENTRIES_A_BATCH = 100
BATCHES_A_PASS = 5
"""Taken from the store before lanes and sessions get the loop again."""
REPORTS_WAITING_MAX = 200
"""While so many entries wait for their reports, nothing more is taken from the store."""
DESTINATIONS_A_SWEEP = 1_000
"""Dead domains that nobody writes to any more are forgotten when that many destinations are known."""
GATHER_S = 0.02
"""New mail that comes so soon after a pass waits for company: a pass a message cost a tenth of the intake's CPU."""
LONGEST_PAUSE_S = 300.0
"""So that a clock that was set forward is noticed."""

Wait = Callable[[asyncio.Event, float], Awaitable[None]]
"""Waits for the event, but not longer than so many seconds; tests bring their own."""

_log = logging.getLogger(__name__)


async def wait_for_event(event: asyncio.Event, longest_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await event.wait()


class Runner:
    """Delivers what the store holds. One for each store."""

    def __init__(
        self,
        store: QueueStore,
        clerk: Clerk,
        router: Router,
        config: Config,
        *,
        read: Read,
        send: Send,
        hops: Outlet,
        remote: Outlet,
        clock: Callable[[], float],
        wait: Wait = wait_for_event,
        gather_s: float = GATHER_S,
    ) -> None:
        """`hops` serves routes with a configured next hop, `remote` those by MX; `clock` gives seconds of the epoch."""
        self._store = store
        self._clerk = clerk
        self._router = router
        self._config = config
        self._clock = clock
        self._wait = wait
        self._gather_s = gather_s
        self._gathering = False
        self._passed_s = 0.0
        self._event = asyncio.Event()
        self._closing = False
        self._loop_task: asyncio.Task[None] | None = None
        self._lanes = Lanes(
            store, clerk, read=read, send=send, hops=hops, remote=remote, clock=clock, changed=self._changed
        )
        self._destinations: dict[str, Destination] = {}
        self._ready: dict[str, Destination] = {}
        """Destinations that may want a lane, in the order of their turn."""
        self._parking: dict[str, Destination] = {}
        clerk.on_idle = self._event.set

    def start(self) -> None:
        """Begins to deliver; to be called on the event loop."""
        self._loop_task = asyncio.create_task(self._run(), name="queue runner")

    def wake(self) -> None:
        """Something may be due earlier than was known: the store calls this."""
        if self._gathering:
            return
        if self._gather_s:
            loop = asyncio.get_running_loop()
            patience_s = self._passed_s + self._gather_s - loop.time()
            if patience_s > 0:
                self._gathering = True
                loop.call_later(patience_s, self._gathered)
                return
        self._event.set()

    def _gathered(self) -> None:
        self._gathering = False
        self._event.set()

    @property
    def deliveries(self) -> int:
        """Lanes at work, for the metrics."""
        return len(self._lanes)

    async def close(self, drain_s: float) -> None:
        """Takes nothing new, lets what is under way end for `drain_s` seconds, and gives the rest back to the store."""
        end_s = asyncio.get_running_loop().time() + drain_s
        self._closing = True
        self._lanes.stop()
        self._event.set()
        if self._loop_task is not None:
            await self._loop_task
        await self._lanes.close(drain_s)
        for destination in self._destinations.values():
            while destination.waiting:
                job = destination.waiting.popleft()
                self._store.give_back(job.entry, job.indices, 0.0)
            # After a reload another runner goes on, which would not know whom to call.
            for entry_id in destination.parked:
                self._recall(entry_id)
        await self._clerk.close(max(0.0, end_s - asyncio.get_running_loop().time()))

    async def _run(self) -> None:
        while not self._closing:
            self._event.clear()
            now_s = self._clock()
            try:
                self._call_parked(now_s)
                self._take_due(now_s)
                self._start_lanes(now_s)
                pause_s = self._pause_s(now_s)
            except Exception:  # noqa: BLE001 - a defect met with one entry must not end the deliveries of all others
                _log.exception("event=runner_failed")
                pause_s = LONGEST_PAUSE_S
            if self._gather_s:
                self._passed_s = asyncio.get_running_loop().time()
            await asyncio.sleep(0)
            await self._wait(self._event, pause_s)

    def _take_due(self, now_s: float) -> None:
        for _ in range(BATCHES_A_PASS):
            batch = [] if self._overdrawn else self._store.due(now_s, ENTRIES_A_BATCH)
            for entry, indices in batch:
                self._dispatch(entry, indices, now_s)
            if not batch:
                return
        self._event.set()  # there may be more

    @property
    def _overdrawn(self) -> bool:
        return self._clerk.backlog >= REPORTS_WAITING_MAX

    def _pause_s(self, now_s: float) -> float:
        times_s = [d.blocked_until_s for d in self._parking.values() if d.blocked(now_s)]
        due_s = None if self._overdrawn else self._store.next_due_s()
        if due_s is not None:
            times_s.append(due_s)
        return min(max(0.0, min(times_s, default=float("inf")) - now_s), LONGEST_PAUSE_S)

    def _dispatch(self, entry: Entry, indices: list[int], now_s: float) -> None:
        """Brings what is due of one entry to its destinations."""
        self._clerk.settle_left_over(entry)
        routes: dict[str, tuple[Route, list[int]]] = {}
        for index in indices:
            route = self._router.route(entry.meta.envelope.recipients[index].address)
            routes.setdefault(route.key, (route, []))[1].append(index)
        for route, some in routes.values():
            if not route.deliverable:
                self._clerk.settle(entry, [(index, NO_WAY) for index in some], Attempt(now_s))
                continue
            destination = self._destination(route, entry.meta.envelope.requiretls)
            destination.parked.pop(entry.id, None)
            if destination.blocked(now_s):
                self._lanes.defer(destination, Job(entry, some), now_s, tried=False)
            elif destination.room <= 0:
                self._lanes.park(destination, Job(entry, some), now_s)
            else:
                for start in range(0, len(some), RECIPIENTS_A_TRANSACTION):
                    destination.waiting.append(Job(entry, some[start : start + RECIPIENTS_A_TRANSACTION]))
                self._ready[destination.key] = destination

    def _destination(self, route: Route, requiretls: bool) -> Destination:
        key = key_of(route, requiretls)
        destination = self._destinations.get(key)
        if destination is None:
            if len(self._destinations) % DESTINATIONS_A_SWEEP == DESTINATIONS_A_SWEEP - 1:
                self._destinations = {name: known for name, known in self._destinations.items() if not known.unused}
            destination = self._destinations[key] = destination_for(route, requiretls, self._config)
        return destination

    def _call_parked(self, now_s: float) -> None:
        """Makes parked entries due again where there is room: one or two after a block, for the first is the probe."""
        for key, destination in list(self._parking.items()):
            if destination.blocked(now_s):
                continue
            for entry_id in list(islice(destination.parked, max(0, destination.room))):
                del destination.parked[entry_id]
                self._recall(entry_id)
            if not destination.parked:
                del self._parking[key]
                self._forget(destination)

    def _recall(self, entry_id: str) -> None:
        with suppress(KeyError):  # it was deleted, or delivered, meanwhile
            self._store.recall(entry_id)

    def _start_lanes(self, now_s: float) -> None:
        while self._ready and len(self._lanes) < self._config.queue.deliveries:
            key = next(iter(self._ready))
            destination = self._ready.pop(key)
            if destination.wants_lane(now_s):
                self._lanes.start(destination)
                self._ready[key] = destination  # behind the others
            # Otherwise the end of one of its lanes, or a new job, brings it back.

    def _changed(self, destination: Destination) -> None:
        if destination.waiting:
            self._ready[destination.key] = destination
        if destination.parked:
            self._parking[destination.key] = destination
        self._forget(destination)
        self._event.set()

    def _forget(self, destination: Destination) -> None:
        if destination.forgettable:
            self._destinations.pop(destination.key, None)
            self._ready.pop(destination.key, None)
