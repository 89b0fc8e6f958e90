"""The segment files of a spool: opened, made ahead of need, used again, and no more of them than the quota allows.

A preallocated file (zeros written, synced) takes a commit several times faster than a growing one, for then only data
goes to the disk. So a segment is made ready in the sync thread before it is needed; retired ones are renamed rather
than zeroed again. The first is small and each is twice the one before, up to the configured size, so that a few
messages do not cost a card 128 MiB of zeros. Knows nothing of records. Called by the journal and the spool, on the
loop.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from appliance.config import schema
from appliance.core.errors import GatewayError, SpoolFull
from appliance.spool import segment as names
from appliance.spool.batch import as_gateway_error
from appliance.spool.disk import Disk
from appliance.spool.prepare import Prepare, Retire, Spare
from appliance.spool.record import page_end
from appliance.spool.segment import Segment
from appliance.spool.syncer import Job

_log = logging.getLogger(__name__)

FREE_CACHED_S = 1.0
FIRST_BYTES = 4 << 20
"""Of the first segment, where the configured size is larger."""
SPARE_SHARE = 16
"""One part of the quota in so many, at least a segment, stays on the disk for the next burst of mail."""
MARGIN_BYTES = 64 << 10
"""Room beside a body for its meta."""


class SegmentPool:
    """Segments by generation. `post` hands a job to the sync thread."""

    def __init__(
        self,
        directory: Path,
        config: schema.Spool,
        disk: Disk,
        clock: Callable[[], float],
        post: Callable[[Job], None],
    ) -> None:
        self.directory = directory
        self.segments: dict[int, Segment] = {}
        self.ready: Segment | None = None
        self.next_generation = 1
        self.zeroed_bytes = 0
        """Written to make segments."""
        self.segment_bytes = page_end(int(config.segment))
        """What a segment has at most, one that was made for a larger record apart."""
        self.first_bytes = min(FIRST_BYTES, self.segment_bytes)
        self._next_bytes = self.first_bytes
        # At least one to write, one to move live entries into, one for removals when drafts may no more.
        self._max_bytes = max(3 * self.segment_bytes, int(config.quota))
        self._most_spare_bytes = max(self.segment_bytes, int(config.quota) // SPARE_SHARE)
        self._keep_free_bytes = int(config.keep_free)
        self._disk = disk
        self._clock = clock
        self._post = post
        self._spares: list[Spare] = []
        self._preparing_bytes = 0
        self._retiring_spare_bytes = 0
        self._free_bytes = 0
        self._free_known_until = float("-inf")

    @property
    def taken_bytes(self) -> int:
        """Of the quota: files in use, ready, spare or being made, a growing one with all that it may grow to."""
        in_use = sum(segment.capacity for segment in self.segments.values()) + self._spare_bytes
        return in_use + self._preparing_bytes + (self.ready.capacity if self.ready is not None else 0)

    @property
    def crowded(self) -> bool:
        """More than half of the quota is taken: worth moving more to free a segment."""
        return self.taken_bytes * 2 > self._max_bytes

    @property
    def _spare_bytes(self) -> int:
        return sum(spare.size_bytes for spare in self._spares)

    @property
    def _room_bytes(self) -> int:
        """What drafts may still take of the quota; the last segment is for what makes room later."""
        return self._max_bytes - self.segment_bytes - self.taken_bytes

    def adopt_files(self) -> None:
        """Opens what lies in the directory. Leftovers of interrupted work are put to use or removed."""
        present = self._disk.names(self.directory)
        for generation, name in sorted((g, n) for n in present if (g := names.generation_of(n)) is not None):
            path = self.directory / name
            fd = self._disk.open(path)
            size = self._disk.size_bytes(fd)
            if path.suffix != ".spare":
                opened = Segment(path, fd, size, preallocated=True)
                opened.position = opened.synced_end = size
                self.segments[generation] = opened
            elif self._spare_bytes + size <= self._most_spare_bytes:
                self._spares.append(Spare(path, fd, size))
            else:
                self._disk.unlink(path)
                self._disk.close(fd)
            self.next_generation = generation + 1

    def admit(self, needed_bytes: int, active: Segment | None) -> None:
        """Returns if a body of `needed_bytes` has room, as far as one can know.

        Raises:
            SpoolFull: quota, or the file system is not to be filled further; temporary.
        """
        needed_bytes += MARGIN_BYTES
        room = active.capacity - active.position if active is not None else 0
        if active is not None and active.preallocated and room >= needed_bytes:
            return
        spare_bytes = self.free_bytes() - self._keep_free_bytes
        if active is not None and min(room, spare_bytes) >= needed_bytes:
            return
        if active is not None and not active.preallocated:
            room = max(0, min(room, spare_bytes))
        if self.ready is not None:
            room += self.ready.capacity
        room += max(0, min(self._room_bytes, spare_bytes)) + self._spare_bytes
        if room < needed_bytes:
            raise SpoolFull(f"{room} bytes free of {needed_bytes} needed in {self.directory}")

    def free_bytes(self) -> int:
        """Free octets of the file system, asked once a second."""
        now_s = self._clock()
        if now_s >= self._free_known_until:
            try:
                self._free_bytes = self._disk.free_bytes(self.directory)
            except OSError as error:
                raise as_gateway_error(error) from error
            self._free_known_until = now_s + FREE_CACHED_S
        return self._free_bytes

    def take(self, needed_bytes: int, *, draft: bool) -> Segment:
        """A segment to write, for a record of `needed_bytes`: the ready one, else a growing one.

        What makes room later (states, removals, moves: `draft` False) may pass the quota.

        Raises:
            SpoolFull, SpoolTrouble: no file could be made; temporary.
        """
        taken = self.ready
        if taken is not None and needed_bytes <= taken.capacity:
            self.ready = None
        else:
            taken = self._grow(needed_bytes, draft)
        self.segments[taken.generation] = taken
        self._next_bytes = min(2 * taken.capacity, self.segment_bytes)
        return taken

    def _grow(self, needed_bytes: int, draft: bool) -> Segment:
        capacity = max(self._next_bytes, page_end(needed_bytes))
        if draft and self._room_bytes < capacity:
            raise SpoolFull(f"quota: {self.taken_bytes} bytes in {self.directory}")
        if draft and self.free_bytes() - self._keep_free_bytes < needed_bytes:
            raise SpoolFull(f"{self._free_bytes} bytes free, {self._keep_free_bytes} to be kept")
        path = self.directory / names.new_name(self._new_generation())
        try:
            fd = self._disk.create(path)
        except OSError as error:
            raise as_gateway_error(error) from error
        return Segment(path, fd, capacity, preallocated=False)

    def _new_generation(self) -> int:
        generation = self.next_generation
        self.next_generation += 1
        return generation

    def prepare_ahead(self) -> None:
        """Has the next segment made, unless it is there, or there is no room for it."""
        if self.ready is not None or self._preparing_bytes:
            return
        spare = max(self._spares, key=lambda spare: spare.size_bytes, default=None)
        if spare is None:
            size_bytes = self._next_bytes
            try:
                room_bytes = self.free_bytes() - self._keep_free_bytes
            except GatewayError:
                return  # whoever needs a segment will meet the same trouble, and tell it
            if min(room_bytes, self._room_bytes) < size_bytes:
                return
        else:
            self._spares.remove(spare)
            size_bytes = self.first_bytes
        generation = self._new_generation()
        path = self.directory / names.new_name(generation)
        job = Prepare(self._disk, spare, path, generation, size_bytes, self._prepared)
        self._preparing_bytes = job.size_bytes
        self._post(job)

    def _prepared(self, job: Prepare) -> None:
        self._preparing_bytes = 0
        self.zeroed_bytes += job.zeroed_bytes
        self._free_known_until = float("-inf")
        if job.error is not None:
            if isinstance(job.error, OSError):
                _log.warning("event=spool_prepare_failed path=%s error=%s", job.path, job.error)
            if job.fd >= 0:
                self._disk.close(job.fd)
            return
        if any(generation > job.generation for generation in self.segments):
            # Generations must rise in the order of use: it gets a younger one.
            self._spares.append(Spare(job.path, job.fd, job.size_bytes))
            self.prepare_ahead()
            return
        self.ready = Segment(job.path, job.fd, job.size_bytes, preallocated=True)

    def retire(self, segment: Segment) -> None:
        """Gives up a segment that nobody needs: kept for its next life, or removed. It counts until that is durable."""
        segment.retiring = True
        spare_bytes = self._spare_bytes + self._retiring_spare_bytes + segment.capacity
        spare = not segment.bad and spare_bytes <= self._most_spare_bytes
        self._retiring_spare_bytes += spare * segment.capacity
        new_path = self.directory / names.spare_name(segment.generation) if spare else None
        self._post(Retire(self._disk, segment, new_path, self._retired))

    def _retired(self, job: Retire) -> None:
        segment = job.segment
        self._retiring_spare_bytes -= segment.capacity if job.new_path is not None else 0
        if job.error is not None:
            if isinstance(job.error, OSError):
                _log.warning("event=spool_retire_failed path=%s error=%s", segment.path, job.error)
            segment.retiring = False
            return
        del self.segments[segment.generation]
        self._free_known_until = float("-inf")
        for other in self.segments.values():
            other.tombs.pop(segment.generation, None)
        if job.new_path is None:
            self._disk.close(segment.fd)
        else:
            self._spares.append(Spare(job.new_path, segment.fd, self._disk.size_bytes(segment.fd)))

    def close(self) -> None:
        """Closes all files."""
        opened = [segment.fd for segment in self.segments.values()] + [spare.fd for spare in self._spares]
        if self.ready is not None:
            opened.append(self.ready.fd)
        for fd in opened:
            with contextlib.suppress(OSError):
                self._disk.close(fd)
        self.segments.clear()
        self._spares.clear()
        self.ready = None
