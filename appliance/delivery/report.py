"""The outcome of each attempt into the queue, and the reports that senders are owed for it into the spool.

The order is the promise: a recipient's fate is recorded first, its report is spooled durably next, then the recipient
counts as reported, and only then may the entry go. A crash in between leaves what `unreported` finds again, so a
report may come twice but never not at all. Knows no connections and no destinations. Called by `delivery.runner`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from appliance.config.schema import Config
from appliance.core.address import Address
from appliance.core.envelope import Envelope
from appliance.core.errors import GatewayError, SpoolTrouble
from appliance.core.ids import IdSource
from appliance.core.reply import Reply
from appliance.delivery import dsn
from appliance.delivery.dsn import Action, Outcome
from appliance.dns.names import to_ascii
from appliance.observe.tracking import DeliveryRow
from appliance.queue.store import Deferral, QueueStore
from appliance.spool.meta import Entry, Phase

EXPIRED_STATUS = "4.4.7"  # RFC 3463 §3.5: delivery time expired

_log = logging.getLogger(__name__)
_STORED_REPLY = re.compile(r"([2-5][0-9]{2})(?: ([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?: (.*))?", re.DOTALL)


class Reading(Protocol):
    """A stored message while it is read: `spool.Reading`."""

    @property
    def extents(self) -> Sequence[tuple[int, int, int]]:
        """(file descriptor, offset, length), valid while the reading is entered."""

    @property
    def size_bytes(self) -> int: ...

    def chunks(self) -> Iterator[bytes]: ...


Read = Callable[[str], AbstractContextManager[Reading]]
Submit = Callable[[Envelope, bytes], Awaitable[None]]
"""Puts a report into the queue: the octets are dot-stuffed. Returns when it is durable.

Raises GatewayError (SpoolFull, SpoolTrouble): it is not, and will be tried again."""
Record = Callable[[DeliveryRow], None]


class Attempt(NamedTuple):
    """What is the same for all recipients of one transaction."""

    at_s: float
    hop: str = ""
    """`Route.shown` of the destination."""
    remote_mta: str = ""
    """The server whose replies these are; empty when they are ours."""
    on_success: Action | None = None
    """What is reported of accepted recipients; None: the server itself reports (it has DSN), or there is no success."""
    duration_ms: float = 0.0


Owed = list[tuple[int, Outcome]]
"""Outcomes, with their recipients' indices, that somebody is to be told."""


class Clerk:
    """Keeps the books of the queue's deliveries."""

    def __init__(
        self,
        store: QueueStore,
        read: Read,
        submit: Submit,
        config: Config,
        *,
        clock: Callable[[], float],
        record: Record,
    ) -> None:
        self._store = store
        self._read = read
        self._submit = submit
        self._queue = config.queue
        self._hostname = to_ascii(config.hostname)
        self._clock = clock
        self._record = record
        self._ids = IdSource()
        self._desk: deque[tuple[Entry, Owed]] = deque()
        self._at_work: Counter[str] = Counter()
        """Entries whose reports are being made or wait for that: what they are owed is not found a second time."""
        self._task: asyncio.Task[None] | None = None
        self.on_idle: Callable[[], None] = lambda: None
        """Called when `backlog` has come down to nothing; the runner's."""

    @property
    def backlog(self) -> int:
        """Entries that wait for their reports to be made."""
        return len(self._desk)

    @property
    def busy(self) -> bool:
        """Reports are being made, or wait for that."""
        return bool(self._at_work)

    def settle(self, entry: Entry, results: Iterable[tuple[int, Reply]], attempt: Attempt) -> None:
        """`note`, with the reports left to the one task that makes them in turn: many at once need not many tasks."""
        self._leave(entry, self.note(entry, results, attempt))

    def settle_left_over(self, entry: Entry) -> None:
        """Sees to what is still owed for an entry whose reports were cut off by a crash or a full spool."""
        if not self._at_work[entry.id]:
            self._leave(entry, self._left_over(entry))

    async def close(self, drain_s: float) -> None:
        """Makes the reports that wait, for at most `drain_s` seconds; the rest is found again by `unreported`."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=drain_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for entry, _ in self._desk:
            self._done_with(entry)
        self._desk.clear()

    def note(self, entry: Entry, results: Iterable[tuple[int, Reply]], attempt: Attempt) -> Owed:
        """Records each recipient's reply in the store at once; returns what is to be reported.

        Where nobody is to be told, the recipient is marked so, and an entry that is through is removed.
        """
        owed: Owed = []
        for index, reply in results:
            action = self._fate(entry, index, reply, attempt)
            address = entry.meta.envelope.recipients[index].address.raw
            attempts = entry.recipients[index].attempts
            word = _word(action, reply)
            line = dsn.line_of(reply)
            self._record(
                DeliveryRow(entry.id, attempt.at_s, address, word, attempt.hop, line, attempts, attempt.duration_ms)
            )
            if action is not None:
                self._owe(owed, entry, index, action, reply, attempt)
        if not owed:
            self._store.finish(entry)
        return owed

    def _fate(self, entry: Entry, index: int, reply: Reply, attempt: Attempt) -> Action | None:
        """Tells the store; returns the action that the sender may have to be told, None if there is none."""
        line = dsn.line_of(reply)
        if reply.code < 300:
            self._store.delivered(entry, index, line)
            if attempt.on_success is None:
                self._store.reported(entry, [index])
            return attempt.on_success
        if reply.permanent:
            self._store.failed(entry, index, line)
            return Action.FAILED
        deferral = self._store.deferred(entry, index, line, attempt.at_s)
        if deferral is Deferral.EXPIRED:
            return Action.FAILED
        return Action.DELAYED if deferral is Deferral.WARN else None

    def _left_over(self, entry: Entry) -> Owed:
        owed: Owed = []
        for index in self._store.unreported(entry):
            state = entry.recipients[index]
            reply = stored_reply(state.reply)
            action = Action.FAILED if state.phase is Phase.FAILED else Action.RELAYED
            self._owe(owed, entry, index, action, reply, Attempt(self._clock()))
        if not owed:
            self._store.finish(entry)
        return owed

    async def report(self, entry: Entry, owed: Owed) -> None:
        """Makes and spools the reports for `owed`, then finishes `entry` if nothing is left of it.

        One that cannot be spooled now is made when the store hands out the entry again.
        """
        groups: dict[tuple[Action, Address], Owed] = {}
        for index, outcome in owed:
            to = self._addressee(entry, index, outcome.action)
            if to is not None:
                groups.setdefault((outcome.action, to), []).append((index, outcome))
        self._at_work[entry.id] += 1
        try:
            for (action, to), group in groups.items():
                if still := self._still_owed(entry, group):
                    await self._spool(entry, to, [outcome for _, outcome in still])
                    self._mark(entry, action, [index for index, _ in still])
        except GatewayError as error:
            _log.warning("event=report_not_spooled id=%s reason=%r", entry.id, str(error))
        finally:
            self._done_with(entry)
        self._store.finish(entry)

    def _still_owed(self, entry: Entry, owed: Owed) -> Owed:
        """Without what changed while the report waited: a delay was told or is over, or an operator deleted it all."""
        if not self._store.has(entry):
            return []
        states = entry.recipients
        return [
            (index, outcome)
            for index, outcome in owed
            if outcome.action is not Action.DELAYED
            or (states[index].phase is Phase.WAITING and not states[index].warned)
        ]

    async def _spool(self, entry: Entry, to: Address, outcomes: list[Outcome]) -> None:
        now_s = self._clock()
        envelope, octets = dsn.build(
            self._original(entry),
            outcomes,
            to=to,
            hostname=self._hostname,
            report_id=self._ids.next(int(now_s * 1000)),
            now_s=now_s,
            full_limit_bytes=self._queue.return_full_limit,
        )
        await self._submit(envelope, dsn.dotted(octets))

    def _leave(self, entry: Entry, owed: Owed) -> None:
        if not owed:
            return
        self._at_work[entry.id] += 1
        self._desk.append((entry, owed))
        if self._task is None:
            self._task = asyncio.create_task(self._clear_desk(), name="delivery reports")

    async def _clear_desk(self) -> None:
        try:
            while self._desk:
                entry, owed = self._desk.popleft()
                try:
                    await self.report(entry, owed)
                except Exception:  # noqa: BLE001 - a defect met with one entry must not keep the reports of all others
                    _log.exception("event=report_failed id=%s", entry.id)
                finally:
                    self._done_with(entry)
        finally:
            self._task = None
            self.on_idle()

    def _done_with(self, entry: Entry) -> None:
        self._at_work[entry.id] -= 1
        if self._at_work[entry.id] <= 0:
            del self._at_work[entry.id]

    def _mark(self, entry: Entry, action: Action, indices: list[int]) -> None:
        if action is Action.DELAYED:
            self._store.warned(entry, indices)
        else:
            self._store.reported(entry, indices)

    def _owe(self, owed: Owed, entry: Entry, index: int, action: Action, reply: Reply, attempt: Attempt) -> None:
        """Adds to `owed` what somebody is to be told; a recipient about whom nobody is to be told is marked so."""
        if self._addressee(entry, index, action) is None:
            self._mark(entry, action, [index])
        else:
            owed.append((index, self._outcome(entry, index, action, reply, attempt)))

    def _addressee(self, entry: Entry, index: int, action: Action) -> Address | None:
        """Who is told of `action`; None: nobody."""
        envelope = entry.meta.envelope
        return dsn.addressee(envelope, envelope.recipients[index], action, self._queue.double_bounce)

    def _outcome(self, entry: Entry, index: int, action: Action, reply: Reply, attempt: Attempt) -> Outcome:
        envelope = entry.meta.envelope
        lifetime_s = self._queue.bounce_lifetime if envelope.sender.is_null else self._queue.lifetime
        return Outcome(
            recipient=envelope.recipients[index],
            action=action,
            reply=reply,
            last_attempt_at_s=attempt.at_s,
            remote_mta=attempt.remote_mta,
            status=EXPIRED_STATUS if action is Action.FAILED and reply.temporary else "",
            retry_until_s=entry.meta.received_at_s + lifetime_s,
        )

    def _original(self, entry: Entry) -> dsn.Original:
        """The start of the message, as much as a report may hold; empty if the disk does not give it back."""
        most_bytes = max(self._queue.return_full_limit, dsn.MAX_RETURNED_HEADER_BYTES) + 1024
        content, complete = b"", False
        try:
            with self._read(entry.id) as reading:
                for chunk in reading.chunks():
                    content += chunk[: most_bytes - len(content)]
                    if len(content) >= most_bytes:
                        break
                complete = len(content) == reading.size_bytes
        except (SpoolTrouble, OSError, KeyError):
            content = b""  # a report without the original is worth more than none
        if entry.meta.dotted:
            content = dsn.undotted(content)
        return dsn.Original(entry.id, entry.meta.envelope, entry.meta.received_at_s, content, complete)


def _word(action: Action | None, reply: Reply) -> str:
    """The outcome as tracking calls it."""
    if reply.code < 300:
        return "delivered"
    if action is Action.FAILED:
        return "expired" if reply.temporary else "failed"
    return "deferred"


def stored_reply(line: str) -> Reply:
    """The reply that was stored as `line`, the form of `dsn.line_of`; code 451 if it is something else."""
    match = _STORED_REPLY.fullmatch(line)
    if match is None:
        return Reply(451, "", line)
    return Reply(int(match[1]), match[2] or "", match[3] or "")
