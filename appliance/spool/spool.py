"""The spool of one worker: messages on stable storage.

Accepts drafts, makes them durable by group commit, keeps the recipients' states, gives the octets to deliveries, and
gets its room back segment by segment. Whom a message is for and when it is tried again is none of its business; the
queue above decides. Everything here runs on the loop's thread; waiting for the disk is done in one thread of its own.
Callers get callbacks, for a task or a future a message would cost more than the message.

Called by the transaction (`begin`), by the queue (`update`, `remove`), by deliveries (`read`).
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path

from appliance.config import schema
from appliance.core.errors import GatewayError, SpoolTrouble
from appliance.spool import codec
from appliance.spool.batch import Batch, Done, Hold, Removal, as_gateway_error
from appliance.spool.compaction import Compaction
from appliance.spool.disk import Disk
from appliance.spool.draft import Draft
from appliance.spool.journal import Journal, Later
from appliance.spool.meta import Entry, EntryMeta, Extent, RecipientState
from appliance.spool.pool import SegmentPool
from appliance.spool.reading import Reading
from appliance.spool.record import HEAD_BYTES, Kind
from appliance.spool.recovery import Recovery
from appliance.spool.segment import Segment
from appliance.spool.syncer import CallSoon, Syncer, SyncThread

_log = logging.getLogger(__name__)

_REMOVALS_PER_RECORD = 4096


class SpoolInUse(SpoolTrouble):
    """Another process has the directory."""


class Spool:
    """One directory, taken by an exclusive lock from `open` to `close`.

    Args:
        directory: made if it is not there.
        config: its quota counts for this directory alone; several workers share the gateway's by dividing it.
        loop_call_soon: hands a callable over to the loop from any thread, as `loop.call_soon_threadsafe`.
        later: `loop.call_later`; without it no commit waits for company.
        disk, syncer, clock: for tests; `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        directory: Path,
        config: schema.Spool,
        *,
        loop_call_soon: CallSoon,
        later: Later | None = None,
        disk: Disk | None = None,
        syncer: Syncer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self.bytes_live = 0
        """Octets of messages in the spool."""
        self._config = config
        self._call_soon = loop_call_soon
        self._later = later
        # On the loop's own thread there is no need to wake it.
        self._soon: CallSoon = loop_call_soon if later is None else partial(later, 0.0)
        self._disk = disk or Disk()
        self._given_syncer = syncer
        self._clock = clock
        self._lock_fd = -1
        self._damaged = False
        self._entries: dict[str, Entry] = {}
        self._next_number = 0
        self._restless: dict[int, Entry] = {}
        """Entries whose states are to be written, by number."""
        self._removals: list[Removal] = []
        self._dones: list[Done] = []

    @property
    def entries(self) -> int:
        """Messages in the spool, those included whose commit is under way."""
        return len(self._entries)

    @property
    def spent(self) -> bool:
        """Neither a message is in it, nor a segment that could not be read and is left to a person."""
        return not self._entries and not self._damaged

    @property
    def fsyncs(self) -> int:
        return self._journal.fsyncs

    @property
    def bytes_written(self) -> int:
        """Octets given to the disk, those of empty segments included."""
        return self._journal.bytes_written + self._pool.zeroed_bytes

    def open(self) -> list[Entry]:
        """Takes the directory and recovers its entries, oldest first. Blocks on the disk.

        Raises:
            SpoolInUse: another process has it.
            SpoolTrouble: it cannot be read or written, or was written by another version.
        """
        try:
            self._take_directory()
            syncer = self._given_syncer or SyncThread(self._call_soon, f"spool-{self.directory.name}")
        except OSError as error:
            raise as_gateway_error(error) from error
        self._syncer = syncer
        self._pool = SegmentPool(self.directory, self._config, self._disk, self._clock, syncer.put)
        self._journal = Journal(
            self._pool, self._disk, syncer, self._soon, self._later, self._clock, self._emit, self._settled
        )
        self._compaction = Compaction(
            self._pool, self._journal, self._disk, self._entries.values, self._is_alive, self._mark_states
        )
        try:
            self._pool.adopt_files()
            recovered = Recovery(self._disk, self._pool.segments).run()
        except (OSError, GatewayError) as error:
            syncer.close()
            self._give_back_directory()
            raise as_gateway_error(error) from error
        self._damaged = any(segment.unreadable for segment in self._pool.segments.values())
        for entry in recovered:
            self._entries[entry.id] = entry
            self.bytes_live += entry.meta.size_bytes
        self._next_number = self._pool.next_generation << 32
        self._sweep()
        self._pool.prepare_ahead()
        self._journal.lazily()
        return recovered

    def _take_directory(self) -> None:
        self._disk.make_directory(self.directory)
        try:
            self._lock_fd = self._disk.lock(self.directory / "lock")
        except BlockingIOError as error:
            raise SpoolInUse(f"spool {self.directory} is in use by another process") from error

    def _give_back_directory(self) -> None:
        self._pool.close()
        self._disk.close(self._lock_fd)
        self._lock_fd = -1

    def begin(self, size_hint_bytes: int = 0) -> Draft:
        """A draft for a message of about `size_hint_bytes`.

        Raises:
            SpoolFull: no room for it; temporary.
            SpoolTrouble: the disk failed a moment ago; temporary.
        """
        journal = self._journal
        if journal.trouble is not None:
            journal.check()
        try:
            self._pool.admit(size_hint_bytes, journal.active)
        except GatewayError:
            journal.lazily()  # there may be something to compact, even if no batch comes any more
            raise
        return Draft(journal, self._commit)

    def _commit(self, draft: Draft, meta: EntryMeta, done: Done) -> Entry:
        if meta.id in self._entries:
            raise ValueError(f"entry {meta.id} is in the spool already")
        journal = self._journal
        meta.size_bytes = draft.size_bytes
        number = self._next_number
        self._next_number = number + 1
        entry = Entry(number, meta, [RecipientState() for _ in meta.envelope.recipients])
        draft.close()
        extents, tail_bytes = draft.extents, draft.tail_bytes
        body = codec.encode_commit(meta, extents)
        try:
            if extents and any(e.segment.bad and e.offset + e.length > e.segment.synced_end for e in extents):
                raise SpoolTrouble("octets written before were lost by the disk")
            segment, offset, length = journal.append(Kind.COMMIT, number, (body, *draft.tail), draft=True)
        except GatewayError as error:
            trouble = error
            draft.abandon()
            self._soon(lambda: self._tell(done, trouble))
            return entry
        segment.acquire(HEAD_BYTES + length)
        if extents:
            entry.holds = [(e.segment, HEAD_BYTES + e.length) for e in extents]
            entry.extents = extents
            draft.extents = []
        entry.holds.append((segment, HEAD_BYTES + length))
        if tail_bytes:
            entry.extents.append(Extent(segment, offset + len(body), tail_bytes))
            draft.take_tail()
            journal.ram_bytes += tail_bytes  # they stay in RAM until the batch is settled
            journal.pending.ram_bytes += tail_bytes
        entry.commit_generations = (segment.generation,)
        self._entries[meta.id] = entry
        self.bytes_live += meta.size_bytes
        journal.pending.commits.append((entry, done))
        journal.soon()
        return entry

    def update(self, entry_id: str, done: Done | None = None) -> None:
        """Has the entry's recipients and hold written: with the next commit, within a moment, or at once for `done`.

        Raises:
            KeyError: no such entry.
        """
        entry = self._entries[entry_id]
        self._restless[entry.number] = entry
        self._hurry(done)

    def remove(self, entry_id: str, done: Done | None = None) -> None:
        """Forgets the entry; on disk within a moment, or at once for `done`. Open readings of it stay good.

        Raises:
            KeyError: no such entry.
            ValueError: its commit is still under way.
        """
        entry = self._entries[entry_id]
        if not entry.durable:
            raise ValueError(f"entry {entry_id} is not committed yet")
        self._forget(entry)
        self._hurry(done)

    def _hurry(self, done: Done | None) -> None:
        if done is None:
            self._journal.lazily()
        else:
            self._dones.append(done)
            self._journal.soon()

    def read(self, entry_id: str) -> Reading:
        """The entry's octets; to be released by the caller.

        Raises:
            KeyError: no such entry.
            ValueError: its commit is still under way.
        """
        entry = self._entries[entry_id]
        if not entry.durable:
            raise ValueError(f"entry {entry_id} is not committed yet")
        return Reading(self._disk, entry.extents, entry.meta.size_bytes, self._sweep)

    def close(self) -> None:
        """Writes what waits, tells every `done`, and gives the directory back. Blocks on the disk."""
        if self._lock_fd < 0:
            return
        self._syncer.close()
        self._syncer.reap()
        for _ in range(2):  # the second round is for what the first one's callbacks asked for
            self._journal.cut()
            self._syncer.reap()
        self._give_back_directory()

    def _is_alive(self, entry: Entry) -> bool:
        return self._entries.get(entry.id) is entry

    def _mark_states(self, entry: Entry) -> None:
        self._restless[entry.number] = entry
        self._journal.lazily()

    def _forget(self, entry: Entry) -> None:
        del self._entries[entry.id]
        self.bytes_live -= entry.meta.size_bytes
        self._restless.pop(entry.number, None)
        holds = entry.holds if entry.states_hold is None else [*entry.holds, entry.states_hold]
        self._removals.append(Removal(entry.number, entry.commit_generations, tuple(holds)))

    @staticmethod
    def _release(hold: Hold) -> None:
        hold[0].release(hold[1])

    def _emit(self, batch: Batch) -> None:
        """Adds what waits to a batch that is about to be written."""
        batch.dones += self._dones
        self._dones = []
        if not self._restless and not self._removals:
            return
        journal = self._journal
        try:
            while self._restless:
                number, entry = self._restless.popitem()
                self._restless[number] = entry  # it stays if the next line fails
                states = codec.encode_states(entry.meta, entry.recipients)
                segment, _, length = journal.append(Kind.STATES, number, (states,))
                del self._restless[number]
                segment.acquire(HEAD_BYTES + length)
                batch.states.append((entry, (segment, HEAD_BYTES + length)))
            while self._removals:
                some = self._removals[:_REMOVALS_PER_RECORD]
                numbers = array("Q", (removal.number for removal in some))
                segment, _, _ = journal.append(Kind.REMOVED, 0, (numbers.tobytes(),))
                del self._removals[: len(some)]
                batch.removals.append((segment, some))
        except GatewayError as error:
            journal.note(error)
            journal.lazily()
            dones, batch.dones = batch.dones, []
            for done in dones:
                self._tell(done, error)

    def _pin(self, segment: Segment, removals: list[Removal]) -> None:
        """Removals in `segment` are durable: it is kept while commits of those entries lie in others."""
        for removal in removals:
            for hold in removal.holds:
                self._release(hold)
            for generation in removal.generations:
                if generation != segment.generation and generation in self._pool.segments:
                    segment.tombs.setdefault(generation, array("Q")).append(removal.number)

    def _settled(self, batch: Batch, error: GatewayError | None) -> None:
        self._settle_states(batch, error)
        self._settle_moves(batch, error)
        if error is None:
            for segment, removals in batch.removals:
                self._pin(segment, removals)
            for entry, done in batch.commits:
                entry.durable = True
                self._tell(done, None)
        else:
            for _, removals in batch.removals:
                self._removals += removals
            for entry, done in batch.commits:
                self._forget(entry)
                self._tell(done, error)
        for done in batch.dones:
            self._tell(done, error)
        self._compaction.step()
        self._sweep()

    def _settle_states(self, batch: Batch, error: GatewayError | None) -> None:
        for entry, hold in batch.states:
            if error is not None or not self._is_alive(entry):
                self._release(hold)
                if self._is_alive(entry):
                    self._restless[entry.number] = entry
            else:
                if entry.states_hold is not None:
                    self._release(entry.states_hold)
                entry.states_hold = hold

    def _settle_moves(self, batch: Batch, error: GatewayError | None) -> None:
        for move in batch.moves:
            entry = move.entry
            given_up = move.holds
            if error is None and self._is_alive(entry):
                given_up = entry.holds
                entry.extents, entry.holds = move.extents, move.holds
            elif self._is_alive(entry):
                for segment, _ in entry.holds:
                    segment.compacted = False  # to be tried again
            for hold in given_up:
                self._release(hold)

    @staticmethod
    def _tell(done: Done, error: GatewayError | None) -> None:
        # One session's fault must not cost the others their answer.
        try:
            done(error)
        except Exception:  # noqa: BLE001
            _log.exception("event=spool_callback_failed")

    def _sweep(self) -> None:
        """Retires segments that nobody needs; takes the removals that are still needed out of them first."""
        segments = self._pool.segments
        busy = {self._journal.active, *self._journal.pending.dirty}
        if self._journal.in_flight is not None:
            busy.update(self._journal.in_flight.dirty)
        for segment in list(segments.values()):
            if segment.refs or segment.readers or segment.retiring or segment.unreadable or segment in busy:
                continue
            if not segment.tombs:
                self._pool.retire(segment)
            elif all(not segments[generation].retiring for generation in segment.tombs):
                self._forward_tombs(segment)

    def _forward_tombs(self, segment: Segment) -> None:
        for generation, numbers in segment.tombs.items():
            for number in numbers:
                segment.acquire(0)
                self._removals.append(Removal(number, (generation,), ((segment, 0),)))
        segment.tombs = {}
        self._journal.lazily()
