"""Making a segment ready, and giving one up: work of the sync thread while it has nothing to commit.

Zeros go to the disk in small steps, each synced by itself: one large sync at the end would hold up the commits behind
it for seconds on a slow card. A file that is ready leaves the page cache. Its large folios there made the kernel count,
and some of it handle, a whole MiB for each small write into them (measured: 27 against 17 µs of CPU a sync), and the
room is better used for mail. What is written later is whole pages, so that nothing has to be read for it.

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

_STEP_BYTES = 1 << 20
_ZEROS = bytes(_STEP_BYTES)


class Spare(NamedTuple):
    """A file that waits for its next life."""

    path: Path
    fd: int
    size_bytes: int


class Prepare:
    """Makes `path` a file of at least `size_bytes` allocated octets, out of `spare` if there is one."""

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
        self._filled_bytes = -1
        self.size_bytes = size_bytes if spare is None else max(size_bytes, spare.size_bytes)
        """What the file will have."""
        self.zeroed_bytes = 0
        """Written so far."""
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
        missing = self.size_bytes - self._filled_bytes
        if missing > 0:
            zeros = memoryview(_ZEROS)[:missing]
            disk.write(self.fd, [zeros], self._filled_bytes)
            disk.sync(self.fd)
            self._filled_bytes += len(zeros)
            self.zeroed_bytes += len(zeros)
            return False
        disk.sync(self.fd)
        disk.uncache(self.fd)
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
