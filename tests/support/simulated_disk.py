"""A disk in memory that forgets: what was written but not synced may be lost at a power cut, wholly or in part.

Stands in for `appliance.spool.disk.Disk`. Sectors of unsynced writes survive at random, directory changes up to a
random one of them (as a journaling file system has it). Errors can be ordered, and a cut at the n-th operation.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.spool.disk import Buffer, Disk
from appliance.spool.syncer import Job, work

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The disk stopped at the ordered operation."""


class _File:
    def __init__(self) -> None:
        self.octets = bytearray()
        self.durable = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []

    def write(self, octets: bytes, offset: int) -> None:
        self.unsynced.append((offset, octets))
        _place(self.octets, octets, offset)

    def sync(self) -> None:
        self.durable = bytearray(self.octets)
        self.unsynced.clear()

    def after_cut(self, chance: random.Random) -> _File:
        survivor = _File()
        survivor.octets = bytearray(self.durable)
        for offset, octets in self.unsynced:
            share = chance.choice((0.0, 0.5, 0.9, 1.0))
            for start in range(0, len(octets), SECTOR_BYTES):
                if chance.random() < share:
                    _place(survivor.octets, octets[start : start + SECTOR_BYTES], offset + start)
        survivor.durable = bytearray(survivor.octets)
        return survivor


def _place(target: bytearray, octets: bytes, offset: int) -> None:
    if len(target) < offset:
        target.extend(bytes(offset - len(target)))
    target[offset : offset + len(octets)] = octets


class SimulatedDisk(Disk):
    def __init__(self) -> None:
        self.files: dict[str, _File] = {}
        self.space_bytes = 1 << 30
        self.faults: dict[str, int] = {}
        """By operation: the errno that it fails with, until taken out."""
        self.operations_left = -1
        """So many more, then the power is cut; negative: never."""
        self._durable_names: dict[str, _File] = {}
        self._changes: list[Callable[[dict[str, _File]], None]] = []
        self._open: dict[int, _File] = {}
        self._next_fd = 1000

    def after_cut(self, chance: random.Random) -> SimulatedDisk:
        """What the next process finds."""
        survivor = SimulatedDisk()
        names = dict(self._durable_names)
        for change in self._changes[: chance.randint(0, len(self._changes))]:
            change(names)
        survivor.files = {name: file.after_cut(chance) for name, file in names.items()}
        survivor._durable_names = dict(survivor.files)
        return survivor

    def _operation(self, name: str) -> None:
        if self.operations_left == 0:
            raise PowerCut
        self.operations_left -= 1
        if name in self.faults:
            raise OSError(self.faults[name], os.strerror(self.faults[name]))

    def _change(self, change: Callable[[dict[str, _File]], None]) -> None:
        change(self.files)
        self._changes.append(change)

    def _descriptor(self, file: _File) -> int:
        self._next_fd += 1
        self._open[self._next_fd] = file
        return self._next_fd

    def make_directory(self, directory: Path) -> None:
        pass

    def names(self, directory: Path) -> list[str]:
        return list(self.files)

    def lock(self, path: Path) -> int:
        return self._descriptor(_File())

    def create(self, path: Path) -> int:
        self._operation("create")
        assert path.name not in self.files
        file = _File()
        self._change(lambda names: names.__setitem__(path.name, file))
        return self._descriptor(file)

    def open(self, path: Path) -> int:
        return self._descriptor(self.files[path.name])

    def close(self, fd: int) -> None:
        del self._open[fd]

    def size_bytes(self, fd: int) -> int:
        return len(self._open[fd].octets)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        self._operation("read")
        return bytes(self._open[fd].octets[offset : offset + length])

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        self._operation("write")
        octets = b"".join(buffers)
        file = self._open[fd]
        growth = max(0, offset + len(octets) - len(file.octets))
        if growth > self.free_bytes(Path()):
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(octets, offset)

    def sync(self, fd: int) -> None:
        self._operation("sync")
        self._open[fd].sync()

    def rename(self, old: Path, new: Path) -> None:
        self._operation("rename")
        if old.name not in self.files:
            raise FileNotFoundError(old)
        self._change(lambda names: names.__setitem__(new.name, names.pop(old.name)))

    def unlink(self, path: Path) -> None:
        self._operation("unlink")
        if path.name not in self.files:
            raise FileNotFoundError(path)
        self._change(lambda names: names.__delitem__(path.name) if path.name in names else None)

    def sync_directory(self, directory: Path) -> None:
        self._operation("sync_directory")
        self._durable_names = dict(self.files)
        self._changes.clear()

    def free_bytes(self, directory: Path) -> int:
        return self.space_bytes - sum(len(file.octets) for file in self.files.values())


class HandSyncer:
    """A syncer without a thread: jobs lie there until the test has them done."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.ring: Callable[[], None] | None = None
        self._closed = False

    def put(self, job: Job) -> None:
        self.jobs.append(job)

    def alarm(self, delay_s: float, ring: Callable[[], None]) -> None:
        self.ring = ring

    def close(self) -> None:
        self._closed = True

    def reap(self) -> None:
        self.work_off()

    def work_off(self, *, background: bool = True) -> None:
        """Does and finishes all jobs, the commits first, or the commits alone."""
        while jobs := [job for job in self.jobs if background or job.urgent]:
            job = next((job for job in jobs if job.urgent), jobs[0])
            self.jobs.remove(job)
            while not work(job):
                pass
            job.finish()
