"""Lanes: tasks that each hold one connection to one destination and send what waits for it, message after message.

A lane tells the fate of every recipient it took, whatever happens: sent, refused, connection lost, cancelled, or a
defect of ours. Which destinations get lanes, and when, is `delivery.runner`'s decision; SMTP is behind `Send` and
`Outlet`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from appliance.core import reply
from appliance.core.envelope import Recipient
from appliance.core.errors import GatewayError
from appliance.core.reply import Reply
from appliance.delivery.destination import Destination, Job
from appliance.delivery.dsn import Action, line_of
from appliance.delivery.remote import Connection, LeftAlone, Outlet
from appliance.delivery.report import Attempt, Clerk, Read, Reading
from appliance.delivery.route import RouteKind
from appliance.queue.store import QueueStore
from appliance.spool.meta import EntryMeta

JOBS_A_LANE = 50
"""Then the lane makes place for other destinations."""
PARKED_S = 600.0
"""A parked entry that nobody called comes back by itself after this."""

Send = Callable[[Connection, EntryMeta, Sequence[Recipient], Reading], Awaitable[Sequence[Reply]]]
"""Sends a stored message to some of its recipients: one final reply for each, in order. Raises GatewayError."""

_log = logging.getLogger(__name__)


class Lanes:
    """All lanes of one runner."""

    def __init__(
        self,
        store: QueueStore,
        clerk: Clerk,
        *,
        read: Read,
        send: Send,
        hops: Outlet,
        remote: Outlet,
        clock: Callable[[], float],
        changed: Callable[[Destination], None],
    ) -> None:
        """`changed` is called when a destination may take another lane, or a lane has ended."""
        self._store = store
        self._clerk = clerk
        self._read = read
        self._send = send
        self._hops = hops
        self._remote = remote
        self._clock = clock
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, destination: Destination) -> None:
        """One more lane to `destination`."""
        destination.active += 1
        task = asyncio.create_task(self._lane(destination), name=f"lane {destination.key}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, destination))

    def stop(self) -> None:
        """No lane begins another transaction."""
        self._closing = True

    async def close(self, drain_s: float) -> None:
        """Transactions under way may end for `drain_s` seconds; those that do not are cut off and given back."""
        self.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def defer(self, destination: Destination, job: Job, now_s: float, *, tried: bool) -> None:
        """The destination is blocked: the entry is called when it is back.

        The attempt counts, or nobody would ever be given up; only one that an operator wanted, and that was not made,
        does not, nor does new mail's.
        """
        destination.parked[job.entry.id] = None
        if not tried and self._store.postpone(job.entry, job.indices, line_of(destination.trouble), now_s):
            self._changed(destination)
            return
        counting = job.indices if tried else self._store.not_tried(job.entry, job.indices)
        results = [(index, destination.trouble) for index in counting]
        self._clerk.settle(job.entry, results, Attempt(now_s, destination.route.shown))
        self._changed(destination)

    def park(self, destination: Destination, job: Job, now_s: float) -> None:
        """The destination has enough to do: the job is not tried, and called when there is room."""
        destination.parked[job.entry.id] = None
        self._store.give_back(job.entry, job.indices, now_s + PARKED_S)
        self._changed(destination)

    def _ended(self, task: asyncio.Task[None], destination: Destination) -> None:
        self._tasks.discard(task)
        destination.active -= 1
        if not task.cancelled() and task.exception() is not None:
            _log.error("event=lane_failed hop=%s", destination.route.shown, exc_info=task.exception())
        self._changed(destination)

    async def _lane(self, destination: Destination) -> None:
        outlet = self._remote if destination.route.kind is RouteKind.MX else self._hops
        connection: Connection | None = None
        try:
            for _ in range(JOBS_A_LANE):
                if not destination.waiting or self._closing:
                    break
                job = destination.waiting.popleft()
                if destination.parked and destination.room > destination.window:
                    self._changed(destination)  # more is called before the lanes run dry
                if connection is None:
                    connection = await self._connected(outlet, destination, job)
                    if connection is None:
                        continue
                await self._deliver(destination, connection, job)
                if outlet.pooled or connection.trouble is not None:
                    self._part(outlet, destination, connection)
                    connection = None
        finally:
            if connection is not None:
                self._part(outlet, destination, connection)

    @staticmethod
    def _part(outlet: Outlet, destination: Destination, connection: Connection) -> None:
        destination.connected -= 1
        outlet.release(connection)

    async def _connected(self, outlet: Outlet, destination: Destination, job: Job) -> Connection | None:
        """A connection, or None when `job` has been dealt with because there is none."""
        started_s = self._clock()
        try:
            connection = await outlet.open(destination.route, requiretls=destination.requiretls)
        except GatewayError as error:
            _log.info("event=no_connection id=%s hop=%s reason=%r", job.entry.id, destination.route.shown, str(error))
            await self._no_connection(destination, job, error.reply, started_s, tried=not isinstance(error, LeftAlone))
            return None
        except asyncio.CancelledError:
            self._store.give_back(job.entry, job.indices, 0.0)
            raise
        except Exception:  # noqa: BLE001 - a defect must not take the recipients with it
            _log.exception("event=connect_failed id=%s hop=%s", job.entry.id, destination.route.shown)
            await self._no_connection(destination, job, reply.LOCAL_ERROR, started_s)
            return None
        destination.granted()
        self._changed(destination)
        return connection

    async def _no_connection(
        self, destination: Destination, job: Job, why: Reply, started_s: float, *, tried: bool = True
    ) -> None:
        now_s = self._clock()
        if why.permanent and destination.route.kind is not RouteKind.MX:
            why = Reply(451, "4.4.1", f"Next hop said: {line_of(why)}")  # its trouble, not the recipients'
        if why.permanent:  # the domain takes no mail, or does not exist
            attempt = Attempt(now_s, destination.route.shown, duration_ms=1000 * (now_s - started_s))
            owed = self._clerk.note(job.entry, [(index, why) for index in job.indices], attempt)
            if owed:
                await self._clerk.report(job.entry, owed)
        elif destination.refused(why, now_s):
            self.defer(destination, job, now_s, tried=tried)
            while destination.waiting:
                self.defer(destination, destination.waiting.popleft(), now_s, tried=False)
        else:
            self.park(destination, job, now_s)

    async def _deliver(self, destination: Destination, connection: Connection, job: Job) -> None:
        """One transaction."""
        entry, indices = job
        started_s = self._clock()
        server, on_success = connection.endpoint.host or "localhost", _on_success(connection)
        recipients = [entry.meta.envelope.recipients[index] for index in indices]
        try:
            reading = self._read(entry.id)
        except KeyError:
            return  # deleted by hand a moment ago
        try:
            with reading as message:
                replies = await self._send(connection, entry.meta, recipients, message)
            results = list(zip(indices, replies, strict=True))
        except GatewayError as error:
            results, server = [(index, error.reply) for index in indices], ""
        except asyncio.CancelledError:
            self._store.give_back(entry, indices, 0.0)
            raise
        except Exception:  # noqa: BLE001 - a defect must not take the recipients with it
            _log.exception("event=delivery_failed id=%s hop=%s", entry.id, destination.route.shown)
            results, server = [(index, reply.LOCAL_ERROR) for index in indices], ""
            connection.quit()  # nobody knows what state it is in
        now_s = self._clock()
        trouble = connection.trouble
        if trouble is None:
            destination.served()
        else:
            destination.broke(trouble, now_s)
        attempt = Attempt(now_s, destination.route.shown, server, on_success, 1000 * (now_s - started_s))
        # What the connection says when it breaks are our words, not the server's.
        theirs = [result for result in results if result[1] is not trouble]
        ours = [result for result in results if result[1] is trouble]
        owed = self._clerk.note(entry, theirs, attempt) + self._clerk.note(entry, ours, attempt._replace(remote_mta=""))
        if owed:
            await self._clerk.report(entry, owed)


def _on_success(connection: Connection) -> Action | None:
    """A server that knows DSN was told what to report, and does (RFC 3461 §5.2.1); else we do (§5.2.2)."""
    if "DSN" in connection.extensions:
        return None
    return Action.DELIVERED if connection.endpoint.lmtp else Action.RELAYED
