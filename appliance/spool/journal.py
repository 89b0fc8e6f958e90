"""Records appended to the active segment, and group commit.

Commits and small records gather in RAM until the batch under way is on stable storage, then leave together: one
write, one fdatasync. While other messages are still being received, a commit waits for them up to `GATHER_S`: at 100
sessions on a disk that flushes in 0.1 ms, batches of two cost more in handing over to the sync thread and back than
all that the messages themselves cost here (0.5 syncs and 13 context switches a message, and half of the rate). A lone
session never waits.

Chunks of long bodies go to the page cache at once, so that memory stays bounded. A batch begins on a page of its own,
so that no page with acknowledged records is ever written again, and last pages are filled up with zeros, so that none
has to be read to be written. After a failed sync nothing is assumed of the pages since the last good one: the segment
is given up and writing goes on in another.

Knows records and segments, not entries; `before_cut` adds what waits to a batch, `settled` learns how it went. Called
by the spool and its drafts, on the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.core.errors import GatewayError
from appliance.spool import record
from appliance.spool.batch import Batch, Run, as_gateway_error
from appliance.spool.disk import Buffer, Disk
from appliance.spool.meta import Extent
from appliance.spool.pool import SegmentPool
from appliance.spool.record import HEAD_BYTES, PAGE_BYTES, Kind, page_end
from appliance.spool.segment import Segment
from appliance.spool.syncer import CallSoon, Syncer

_log = logging.getLogger(__name__)

GATHER_S = 0.004
"""How long a commit waits at most for messages that are being received."""
LAZY_S = 0.05
"""How long states and removals wait for company."""
HOLD_OFF_S = 1.0
"""After trouble with the disk, how long nothing new is tried."""
_MIN_CHUNK_BYTES = 16 << 10
_ZEROS = bytes(PAGE_BYTES)
_TIMER_S = 0.0005
"""A shorter time is not worth a timer."""


class Timer(Protocol):
    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]
"""`loop.call_later`."""


class Journal:
    """The writing end of a spool."""

    def __init__(
        self,
        pool: SegmentPool,
        disk: Disk,
        syncer: Syncer,
        call_soon: CallSoon,
        later: Later | None,
        clock: Callable[[], float],
        before_cut: Callable[[Batch], None],
        settled: Callable[[Batch, GatewayError | None], None],
    ) -> None:
        self._pool = pool
        self._disk = disk
        self._syncer = syncer
        self._call_soon = call_soon
        self._later = later
        self._clock = clock
        self._before_cut = before_cut
        self._settled = settled
        self.active: Segment | None = None
        self.pending = self._new_batch()
        self.in_flight: Batch | None = None
        self.trouble: GatewayError | None = None
        self.drafts = 0
        """Messages that are being received."""
        self.ram_bytes = 0
        """Octets of bodies in RAM, of drafts and of commits that are not durable yet."""
        self.fsyncs = 0
        self.bytes_written = 0
        self._trouble_until_s = 0.0
        self._wanted_since_s = 0.0
        self._wanted = False
        self._cut_scheduled = False
        self._gathering: Timer | None = None
        self._alarm_set = False

    def _new_batch(self) -> Batch:
        return Batch(self._disk, self._pool.directory, self._settle)

    def check(self) -> None:
        """Raises the last trouble again while it is fresh, so that a broken disk is not hammered."""
        if self.trouble is not None and self._clock() < self._trouble_until_s:
            raise type(self.trouble)(str(self.trouble)) from self.trouble

    def append(self, kind: Kind, number: int, payload: Sequence[Buffer], *, draft: bool = False) -> Extent:
        """Adds a record to the pending batch; its payload's place. The pieces are the batch's until it is settled.

        Raises:
            SpoolFull, SpoolTrouble: no segment to write to; temporary.
        """
        length = sum(map(len, payload))
        segment = self.active
        if segment is None or segment.position + HEAD_BYTES + length > segment.capacity:
            segment = self._roll(HEAD_BYTES + length, draft)
        pending = self.pending
        offset = segment.position
        runs = pending.runs
        if runs and (run := runs[-1]).end == offset and run.segment is segment:
            pass
        else:
            run = Run(segment, offset)
            runs.append(run)
        run.buffers.append(record.head(segment.prefix, kind, number, length, payload))
        run.buffers += payload
        end = offset + HEAD_BYTES + length
        run.end = segment.position = pending.dirty[segment] = end
        return Extent(segment, offset + HEAD_BYTES, length)

    def write_through(self, view: memoryview, extents: list[Extent], *, draft: bool) -> None:
        """Writes `view` as chunks, now, adding to `extents` each that it made; each is acquired for the caller.

        Raises:
            SpoolFull, SpoolTrouble: a part may be written, and is in `extents`; temporary.
        """
        while view:
            segment = self.active
            wanted = min(len(view), record.MAX_CHUNK_BYTES)
            least = HEAD_BYTES + min(wanted, _MIN_CHUNK_BYTES)
            if segment is not None and wanted > _MIN_CHUNK_BYTES:
                self._finish_page(segment)
            if segment is None or segment.capacity - segment.position < least:
                segment = self._roll(least, draft)
            offset = segment.position
            piece = view[: min(wanted, segment.capacity - offset - HEAD_BYTES)]
            end = segment.position = self.pending.dirty[segment] = offset + HEAD_BYTES + len(piece)
            head = record.head(segment.prefix, Kind.CHUNK, 0, len(piece), (piece,))
            try:
                self._disk.write(segment.fd, (head, piece, _ZEROS[: page_end(end) - end]), offset)
            except OSError as error:
                self.active = None  # what is pending there may still succeed; recovery passes over the gap
                raise self.note(error) from error
            self.bytes_written += page_end(end) - offset
            segment.acquire(HEAD_BYTES + len(piece))
            extents.append(Extent(segment, offset + HEAD_BYTES, len(piece)))
            view = view[len(piece) :]

    def _finish_page(self, segment: Segment) -> None:
        """What comes next begins on a new page; what is pending fills the old one."""
        position = segment.position
        segment.position = end = page_end(position)
        runs = self.pending.runs
        if end > position and runs and (run := runs[-1]).end == position and run.segment is segment:
            run.buffers.append(_ZEROS[: end - position])
            run.end = end

    def _roll(self, needed_bytes: int, draft: bool) -> Segment:
        segment = self._pool.take(needed_bytes, draft=draft)
        self.pending.new_file |= not segment.preallocated
        self.active = segment
        return segment

    def note(self, error: Exception) -> GatewayError:
        """Remembers trouble with the disk for a while; what the client may hear of it."""
        if self.trouble is None:
            _log.error("event=spool_trouble directory=%s error=%s", self._pool.directory, error)
        self.trouble = as_gateway_error(error)
        self._trouble_until_s = self._clock() + HOLD_OFF_S
        return self.trouble

    def soon(self) -> None:
        """Has the pending batch written as soon as the one under way is done and the loop has run its callbacks."""
        if not self._wanted:
            self._wanted = True
            self._wanted_since_s = self._clock()
        if self._gathering is not None and not self.drafts:
            self._gathering.cancel()
            self._gathering = None
        elif self._cut_scheduled or self.in_flight is not None:
            return
        self._cut_scheduled = True
        self._call_soon(self._scheduled_cut)

    def lazily(self) -> None:
        """Has what waits written with the next batch, at the latest after `LAZY_S`."""
        if not self._alarm_set and not self._cut_scheduled:
            self._alarm_set = True
            self._syncer.alarm(LAZY_S, self._rung)

    def _rung(self) -> None:
        self._alarm_set = False
        if self.trouble is not None and self._clock() < self._trouble_until_s:
            self.lazily()
        else:
            self.soon()

    def _scheduled_cut(self) -> None:
        self._cut_scheduled = False
        self._gathering = None
        self._gather_or_cut()

    def _gather_or_cut(self) -> None:
        if self.drafts and self._later is not None and self.in_flight is None:
            patience_s = self._wanted_since_s + GATHER_S - self._clock()
            if patience_s > _TIMER_S:
                self._cut_scheduled = True
                self._gathering = self._later(patience_s, self._scheduled_cut)
                return
        self.cut()

    def cut(self) -> None:
        """Hands the pending batch to the sync thread, unless one is under way."""
        if self.in_flight is not None:
            return
        self._wanted = False
        batch = self.pending
        self._before_cut(batch)
        if not batch.dirty and not batch.dones:
            self._settled(batch, None)  # an idle moment: good for tidying up
            return
        active = self.active
        if active is not None:
            self._finish_page(active)
            if 2 * active.position > active.capacity:
                self._pool.prepare_ahead()
        self.in_flight = batch
        self.pending = self._new_batch()
        self._syncer.put(batch)

    def _settle(self, batch: Batch) -> None:
        self.in_flight = None
        self.fsyncs += batch.fsyncs
        self.bytes_written += batch.bytes_written
        self.ram_bytes -= batch.ram_bytes
        if batch.error is None:
            if self.trouble is not None:
                self.trouble = None
                _log.warning("event=spool_well directory=%s", self._pool.directory)
            for segment, end in batch.dirty.items():
                segment.synced_end = end
            if self._wanted and not self._cut_scheduled:
                # The disk works on while the loop tells the waiting sessions.
                self._gather_or_cut()
            self._settled(batch, None)
            return
        error = self.note(batch.error)
        after, self.pending = self.pending, self._new_batch()
        self.ram_bytes -= after.ram_bytes
        for segment in (*batch.dirty, *after.dirty):
            segment.bad = True
        self.active = None
        # What gathered meanwhile lies partly in the segments given up: it shares the fate.
        self._settled(batch, error)
        self._settled(after, error)
        self.lazily()
