"""Moving the few live entries out of a segment that is mostly dead, so that one stuck message does not pin it.

Goes in small steps, one after each batch or in an idle moment, so that neither loop nor disk is held up. The old place
is given up when the new one is on stable storage. Called by the spool, on the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from appliance.core.errors import GatewayError
from appliance.spool import codec
from appliance.spool.batch import Hold, Move
from appliance.spool.disk import Disk
from appliance.spool.journal import Journal
from appliance.spool.meta import Entry, Extent
from appliance.spool.pool import SegmentPool
from appliance.spool.record import HEAD_BYTES, MAX_CHUNK_BYTES, Kind
from appliance.spool.segment import Segment

_log = logging.getLogger(__name__)

_STEP_BYTES = MAX_CHUNK_BYTES
_WORTH_IT = 8
"""A segment is moved out of when no more than one part in so many is live ..."""
_WORTH_IT_CROWDED = 2
"""... or in so many, when more than half of the quota is taken."""


class Compaction:
    """Works on one segment at a time."""

    def __init__(
        self,
        pool: SegmentPool,
        journal: Journal,
        disk: Disk,
        entries: Callable[[], Iterable[Entry]],
        is_alive: Callable[[Entry], bool],
        mark_states: Callable[[Entry], None],
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._disk = disk
        self._entries = entries
        self._is_alive = is_alive
        self._mark_states = mark_states
        self._steps: Iterator[None] | None = None
        self._copied_bytes = 0
        """In this step."""

    def step(self) -> None:
        """Moves a little, if there is something worth moving."""
        if self._journal.trouble is not None:
            return
        if self._steps is None:
            victim = self._choose()
            if victim is None:
                return
            victim.compacted = True
            self._steps = self._empty(victim)
        self._copied_bytes = 0
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None

    def _choose(self) -> Segment | None:
        share = _WORTH_IT_CROWDED if self._pool.crowded else _WORTH_IT
        active = self._journal.active
        for segment in self._pool.segments.values():
            if segment is active or segment.compacted or segment.retiring:
                continue
            if segment.refs and segment.live_bytes * share <= max(segment.capacity, self._pool.first_bytes):
                return segment
        return None

    def _empty(self, victim: Segment) -> Iterator[None]:
        living = [entry for entry in self._entries() if entry.durable]
        for entry in living:
            if not self._is_alive(entry):
                continue
            if entry.states_hold is not None and entry.states_hold[0] is victim:
                self._mark_states(entry)
            if any(segment is victim for segment, _ in entry.holds):
                yield from self._move(entry, victim)
                if self._copied_bytes >= _STEP_BYTES:
                    yield

    def _move(self, entry: Entry, victim: Segment) -> Iterator[None]:
        # Everything in `holds` is acquired here, and by the batch's settlement becomes the entry's or is released.
        extents: list[Extent] = []
        holds: list[Hold] = []
        moved = False
        try:
            for extent in entry.extents:
                if extent.segment is victim:
                    for piece in self._pieces(extent):
                        copied: list[Extent] = []
                        try:
                            self._journal.write_through(memoryview(piece), copied, draft=False)
                        finally:
                            extents += copied
                            holds += [(c.segment, HEAD_BYTES + c.length) for c in copied]
                        self._copied_bytes += len(piece)
                        if self._copied_bytes >= _STEP_BYTES:
                            self._journal.lazily()
                            yield
                        if not self._is_alive(entry):
                            return
                else:
                    # Octets that came with a commit elsewhere are kept as if they were a chunk of their own.
                    extent.segment.acquire(HEAD_BYTES + extent.length)
                    extents.append(extent)
                    holds.append((extent.segment, HEAD_BYTES + extent.length))
            moved = self._commit(entry, extents, holds)
        except (OSError, GatewayError) as error:
            victim.compacted = isinstance(error, OSError)  # what cannot be read is not tried again
            _log.warning("event=spool_move_failed id=%s path=%s error=%s", entry.id, victim.path, error)
        finally:
            if not moved:
                for segment, size_bytes in holds:
                    segment.release(size_bytes)

    def _pieces(self, extent: Extent) -> Iterator[bytes]:
        end = extent.offset + extent.length
        for offset in range(extent.offset, end, MAX_CHUNK_BYTES):
            wanted = min(MAX_CHUNK_BYTES, end - offset)
            piece = self._disk.read(extent.segment.fd, wanted, offset)
            if len(piece) < wanted:
                raise OSError(f"{extent.segment.path} ends early")
            yield piece

    def _commit(self, entry: Entry, extents: list[Extent], holds: list[Hold]) -> bool:
        body = codec.encode_commit(entry.meta, extents)
        self._copied_bytes += HEAD_BYTES + len(body)
        segment, _, length = self._journal.append(Kind.COMMIT, entry.number, (body,))
        segment.acquire(HEAD_BYTES + length)
        holds.append((segment, HEAD_BYTES + length))
        # The record may reach the disk even if the batch fails, so a removal must name it from now on.
        entry.commit_generations = (*entry.commit_generations, segment.generation)
        self._journal.pending.moves.append(Move(entry, extents, holds, segment.generation))
        self._journal.lazily()
        return True
