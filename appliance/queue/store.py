"""The queue: which entries are due, and what became of each recipient.

Lives in memory over the spool, which keeps the states; bodies stay on disk. It decides when, never how: deliveries
and DSNs are made by the runner, which asks `due` and reports back. An entry leaves by `finish` (or by an operator's
`delete`), and not before every recipient is final and reported, so that a crash between a failure and its DSN loses
neither. Called by intake (`add`), the runner and the control socket, all on one loop.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence

from appliance.config import schema
from appliance.queue.entry import Queued
from appliance.queue.schedule import Schedule
from appliance.spool.meta import Entry, Phase
from appliance.spool.spool import Spool

MAX_REPLY_CHARACTERS = 500
"""Of a next hop's reply are kept, for a thousand recipients may get one each."""
_CLOCK_SLACK_S = 60.0
_LOOK_AGAIN_S = 60.0


class Deferral(enum.Enum):
    """What `deferred` made of a temporary failure."""

    LATER = "later"
    """Tried again later."""
    WARN = "warn"
    """Tried again later, and a delay DSN is due: make it if it is wanted, then call `warned`."""
    EXPIRED = "expired"
    """Its life is over: the recipient is FAILED now, as after `failed`."""


def _nobody() -> None:
    """Nobody waits to be woken."""


class QueueStore:
    """The entries of one spool.

    Args:
        clock: seconds since the epoch.
        chance: random in [0, 1).
        wake: called when something may be due earlier than `next_due_s` said, or an entry is to be looked at again.
    """

    def __init__(
        self,
        spool: Spool,
        config: schema.Queue,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        wake: Callable[[], None] = _nobody,
    ) -> None:
        self.wake = wake
        self._spool = spool
        self._schedule = Schedule(config)
        self._clock = clock
        self._chance = chance
        self._queued: dict[str, Queued] = {}
        self._heap: list[tuple[float, int, Queued]] = []
        self._turns = itertools.count()
        self._last_now_s = -math.inf

    def __len__(self) -> int:
        return len(self._queued)

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Takes over what `Spool.open` recovered."""
        for entry in entries:
            self._queued[entry.id] = Queued(entry)
        self._reschedule_all(self._clock())
        self.wake()

    def add(self, entry: Entry) -> None:
        """Takes over an entry whose commit is durable, as the commit's `done` tells; unless held it is due at once."""
        queued = self._queued[entry.id] = Queued(entry)
        self._reschedule(queued)
        self.wake()

    # The runner's side.

    def due(self, now_s: float, limit: int = 100) -> list[tuple[Entry, list[int]]]:
        """At most `limit` entries whose time has come, each with the indices of its recipients that are due.

        These are the caller's until it has told the fate of each index by `delivered`, `deferred`, `failed` or
        `give_back`; meanwhile they are not handed out again. An empty list of indices means that all recipients are
        final, but the entry was not finished (a crash, or no room for the DSN): make what DSNs are missing
        (`unreported`), then `finish`. Such an entry is handed out once a minute while it is there.
        """
        if now_s < self._last_now_s - _CLOCK_SLACK_S:
            self._reschedule_all(now_s)
        self._last_now_s = now_s
        taken: list[tuple[Entry, list[int]]] = []
        heap = self._heap
        while heap and heap[0][0] <= now_s and len(taken) < limit:
            _, turn, queued = heapq.heappop(heap)
            if queued.turn != turn:
                continue
            indices = queued.take_due(now_s)
            queued.scheduled_s, queued.turn = math.inf, -1
            if queued.is_waiting():
                self._reschedule(queued)
            else:
                self._push(queued, now_s + _LOOK_AGAIN_S)
            if indices or not queued.is_waiting():
                taken.append((queued.entry, indices))
        return taken

    def next_due_s(self) -> float | None:
        """When `due` will next have something, seconds since the epoch; None: not before `wake` is called."""
        heap = self._heap
        while heap and heap[0][2].turn != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def delivered(self, entry: Entry, index: int, reply: str) -> None:
        """The next hop took the recipient with a 2xx."""
        self._settle(entry, index, Phase.DELIVERED, reply)

    def failed(self, entry: Entry, index: int, reply: str) -> None:
        """The recipient is refused for good."""
        self._settle(entry, index, Phase.FAILED, reply)

    def deferred(self, entry: Entry, index: int, reply: str, now_s: float) -> Deferral:
        """The recipient was tried in vain at `now_s`; tried again by the schedule, or given up."""
        queued = self._back(entry, index)
        if queued is None:
            return Deferral.LATER
        meta, state = entry.meta, entry.recipients[index]
        is_bounce = meta.envelope.sender.is_null
        if self._schedule.is_over(meta.received_at_s, now_s, state.attempts + 1, is_bounce=is_bounce):
            queued.out.add(index)
            self._settle(entry, index, Phase.FAILED, reply)
            return Deferral.EXPIRED
        state.attempts += 1
        state.reply = reply[:MAX_REPLY_CHARACTERS]
        state.due_s = now_s + self._schedule.wait_s(state.attempts, self._chance())
        self._changed(queued)
        if not state.warned and self._schedule.warns(meta.received_at_s, now_s, is_bounce=is_bounce):
            return Deferral.WARN
        return Deferral.LATER

    def give_back(self, entry: Entry, indices: Sequence[int], due_s: float) -> None:
        """The recipients were not tried at all (no free slot, back-off, shutting down): due again at `due_s`."""
        queued = self._queued.get(entry.id)
        if queued is None or queued.entry is not entry:
            return
        for index in indices:
            queued.out.discard(index)
            entry.recipients[index].due_s = due_s
        # Not worth a write: after a crash it is tried a little earlier.
        self._reschedule(queued)

    def has(self, entry: Entry) -> bool:
        """Whether `entry` is still in the queue."""
        queued = self._queued.get(entry.id)
        return queued is not None and queued.entry is entry

    def not_tried(self, entry: Entry, indices: Sequence[int]) -> list[int]:
        """Nobody tried these, for the destination is left alone just now: an operator's `retry_now` is taken back.

        Returns the others: their time had come by the schedule, by which this is an attempt.
        """
        queued = self._queued.get(entry.id)
        if queued is None or queued.entry is not entry:
            return list(indices)
        for index in [index for index in indices if index in queued.urged]:
            self.give_back(entry, [index], queued.urged.pop(index))
        return [index for index in indices if index in queued.out]

    def postpone(self, entry: Entry, indices: Sequence[int], reply: str, now_s: float) -> bool:
        """The recipients' destination cannot be reached, for the reason `reply`; False if that is no news to them.

        What nobody tried yet waits as long as after a first failure, but no attempt counts and nothing is written, for
        mail that comes in while its next hop is down would cost two records a message: after a crash it is due at once.
        """
        queued = self._queued.get(entry.id)
        states = [entry.recipients[index] for index in indices]
        if queued is None or queued.entry is not entry or any(state.reply or state.attempts for state in states):
            return False
        due_s = now_s + self._schedule.wait_s(1, self._chance())
        for index, state in zip(indices, states, strict=True):
            state.reply = reply[:MAX_REPLY_CHARACTERS]
            state.due_s = due_s
            queued.urged.pop(index, None)
        queued.out.difference_update(indices)
        self._reschedule(queued)
        return True

    def recall(self, entry_id: str) -> None:
        """Makes all waiting recipients due at once: their destination is back. KeyError for an unknown id."""
        queued = self._queued[entry_id]
        for state in queued.entry.recipients:
            state.due_s = 0.0
        self._reschedule(queued)
        self.wake()

    def unreported(self, entry: Entry) -> list[int]:
        """Indices that are final, and whose DSN nobody marked as made or not wanted."""
        queued = self._queued.get(entry.id)
        return queued.unreported() if queued is not None else []

    def reported(self, entry: Entry, indices: Sequence[int]) -> None:
        """The final DSN for these is durable (call it in that commit's `done`), or none was wanted."""
        self._mark(entry, indices, "reported")

    def warned(self, entry: Entry, indices: Sequence[int]) -> None:
        """The delay DSN for these is durable, or none was wanted."""
        self._mark(entry, indices, "warned")

    def finish(self, entry: Entry) -> bool:
        """Removes `entry` from queue and spool if every recipient is final and reported; True if it is gone.

        To be called after every round of delivery, and after `reported`.
        """
        if not self.has(entry):
            return True
        queued = self._queued[entry.id]
        if queued.out or queued.is_waiting() or queued.unreported():
            return False
        self._drop(queued)
        return True

    # The operator's side. All raise KeyError for an unknown id.

    def entry(self, entry_id: str) -> Entry:
        """The entry of this id."""
        return self._queued[entry_id].entry

    def hold(self, entry_id: str, reason: str) -> None:
        """Keeps it from being tried until `release`; a delivery under way is not stopped."""
        self._set_hold(self._queued[entry_id], True, reason)

    def release(self, entry_id: str) -> None:
        """Ends a hold; what waited for long is due at once."""
        self._set_hold(self._queued[entry_id], False, "")

    def retry_now(self, entry_id: str) -> None:
        """Makes all waiting recipients due at once; a held entry stays held."""
        queued = self._queued[entry_id]
        for index, state in enumerate(queued.entry.recipients):
            queued.urged.setdefault(index, state.due_s)
        self.recall(entry_id)

    def delete(self, entry_id: str) -> None:
        """Removes it, without any DSN. What a delivery under way says of it later is ignored."""
        self._drop(self._queued[entry_id])

    def describe(self, entry_id: str) -> dict[str, object]:
        """The entry as values that JSON can carry."""
        return self._queued[entry_id].describe()

    def entry_ids(self) -> list[str]:
        """Of all entries."""
        return list(self._queued)

    def listing(self) -> list[dict[str, object]]:
        """All entries, oldest first, each as `describe`."""
        ordered = sorted(self._queued.values(), key=lambda queued: queued.entry.meta.received_at_s)
        return [queued.describe() for queued in ordered]

    def _back(self, entry: Entry, index: int) -> Queued | None:
        """The entry, if it is still here and `index` was out for delivery, which it is no more."""
        queued = self._queued.get(entry.id)
        if queued is None or queued.entry is not entry or index not in queued.out:
            return None
        queued.out.discard(index)
        queued.urged.pop(index, None)
        return queued

    def _settle(self, entry: Entry, index: int, phase: Phase, reply: str) -> None:
        queued = self._back(entry, index)
        if queued is None:
            return
        state = entry.recipients[index]
        state.phase = phase
        state.attempts += 1
        state.reply = reply[:MAX_REPLY_CHARACTERS]
        self._spool.update(entry.id)  # costs no write if the entry is removed in a moment
        if not queued.out and not queued.is_waiting():
            self._push(queued, self._clock() + _LOOK_AGAIN_S)

    def _mark(self, entry: Entry, indices: Sequence[int], flag: str) -> None:
        queued = self._queued.get(entry.id)
        if queued is None or queued.entry is not entry or not indices:
            return
        for index in indices:
            setattr(entry.recipients[index], flag, True)
        self._spool.update(entry.id)

    def _set_hold(self, queued: Queued, held: bool, reason: str) -> None:
        queued.entry.meta.held = held
        queued.entry.meta.hold_reason = reason
        self._changed(queued)
        self.wake()

    def _changed(self, queued: Queued) -> None:
        self._spool.update(queued.entry.id)
        self._reschedule(queued)

    def _drop(self, queued: Queued) -> None:
        queued.turn = -1
        del self._queued[queued.entry.id]
        self._spool.remove(queued.entry.id)

    def _reschedule(self, queued: Queued) -> None:
        due_s = queued.due_s()
        if due_s != queued.scheduled_s:
            self._push(queued, due_s)

    def _push(self, queued: Queued, due_s: float) -> None:
        queued.scheduled_s = due_s
        queued.turn = -1 if math.isinf(due_s) else next(self._turns)
        if queued.turn < 0:
            return
        heap = self._heap
        heapq.heappush(heap, (due_s, queued.turn, queued))
        if len(heap) > 2 * len(self._queued) + 64:
            heap[:] = [place for place in heap if place[2].turn == place[1]]
            heapq.heapify(heap)

    def _reschedule_all(self, now_s: float) -> None:
        """After a start, or when the clock went back: nothing may be due further away than the schedule ever says."""
        latest_s = now_s + self._schedule.longest_wait_s
        self._heap.clear()
        for queued in self._queued.values():
            for state in queued.entry.recipients:
                state.due_s = min(state.due_s, latest_s)
            queued.scheduled_s = math.inf
            self._reschedule(queued)
