"""Making a segment ready, and giving one up: work of the sync thread while it has nothing to commit.

A new name is made durable before the file is used under it, so that after a power cut no file turns up under a name
that its records do not belong to. Posted by the pool, which learns the result on the loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from appliance.spool.disk import Disk
from appliance.spool.segment import Segment

_ZEROS = bytes(1 << 20)


class Spare(NamedTuple):
    """A file that waits for its next life."""

    path: Path
    fd: int


class Prepare:
    """Makes `path` a file of `size_bytes` allocated octets, out of `spare` if there is one."""

    urgent = False

    def __init__(
        self,
        disk: Disk,
        spare: Spare | None,
        path: Path,
        generation: int,
        size_bytes: int,
        done: Callable[[Prepare], None],
    ) -> None:
        self._disk = disk
        self._spare = spare
        self._done = done
        self._size_bytes = size_bytes
        self._filled_bytes = -1
        self.zeroed_bytes = 0
        self.path = path
        self.generation = generation
        self.fd = -1 if spare is None else spare.fd
        self.error: Exception | None = None

    def step(self) -> bool:
        disk = self._disk
        if self._filled_bytes < 0:
            if self._spare is None:
                self.fd = disk.create(self.path)
            else:
                disk.rename(self._spare.path, self.path)
            self._filled_bytes = disk.size_bytes(self.fd)
            return False
        missing = self._size_bytes - self._filled_bytes
        if missing > 0:
            zeros = memoryview(_ZEROS)[:missing]
            disk.write(self.fd, [zeros], self._filled_bytes)
            self._filled_bytes += len(zeros)
            self.zeroed_bytes += len(zeros)
            return False
        disk.sync(self.fd)
        disk.sync_directory(self.path.parent)
        return True

    def finish(self) -> None:
        if isinstance(self.error, OSError):
            # Half-made it is of no use, and its octets may be the last ones.
            with contextlib.suppress(OSError):
                self._disk.unlink(self.path)
        self._done(self)


class Retire:
    """Takes a segment's name away: renamed to `new_path`, or removed if that is None."""

    urgent = False

    def __init__(self, disk: Disk, segment: Segment, new_path: Path | None, done: Callable[[Retire], None]) -> None:
        self._disk = disk
        self._done = done
        self.segment = segment
        self.new_path = new_path
        self.error: Exception | None = None

    def step(self) -> bool:
        # A second try after a failed sync of the directory finds the first one's work done.
        with contextlib.suppress(FileNotFoundError):
            if self.new_path is None:
                self._disk.unlink(self.segment.path)
            else:
                self._disk.rename(self.segment.path, self.new_path)
        self._disk.sync_directory(self.segment.path.parent)
        return True

    def finish(self) -> None:
        self._done(self)
