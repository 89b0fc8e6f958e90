"""The system calls that the spool makes, in one thin place, so that a test can record, replay and break them.

Nothing here knows records or segments. Every method raises `OSError` as the kernel gave it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

Buffer = bytes | bytearray | memoryview

_IOV_MAX = 1024
_READ_WRITE = os.O_RDWR | os.O_CLOEXEC


class Disk:
    """The real disk."""

    def make_directory(self, directory: Path) -> None:
        """Makes `directory` and its parents, durably, unless it is there."""
        if not directory.exists():
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self.sync_directory(directory.parent)

    def names(self, directory: Path) -> list[str]:
        return os.listdir(directory)

    def lock(self, path: Path) -> int:
        """A descriptor that holds an exclusive lock on `path` until it is closed; `BlockingIOError` if taken."""
        fd = os.open(path, _READ_WRITE | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def create(self, path: Path) -> int:
        return os.open(path, _READ_WRITE | os.O_CREAT | os.O_EXCL, 0o600)

    def open(self, path: Path) -> int:
        return os.open(path, _READ_WRITE)

    def close(self, fd: int) -> None:
        os.close(fd)

    def size_bytes(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read(self, fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, length, offset)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        """Writes all of `buffers` at `offset`; they must not change until it returns."""
        for start in range(0, len(buffers), _IOV_MAX):
            some = buffers[start : start + _IOV_MAX]
            wanted = sum(map(len, some))
            written = os.pwritev(fd, some, offset)
            if written < wanted:
                self._write_rest(fd, b"".join(some), written, offset)
            offset += wanted

    def _write_rest(self, fd: int, octets: bytes, done: int, offset: int) -> None:
        rest = memoryview(octets)
        while done < len(octets):
            written = os.pwrite(fd, rest[done:], offset + done)
            if written == 0:
                raise OSError(5, "the disk took no octets")
            done += written

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def uncache(self, fd: int) -> None:
        """Drops the clean pages of a file from the page cache; a hint, never an error."""
        with contextlib.suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync_directory(self, directory: Path) -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, directory: Path) -> int:
        """What an unprivileged process may still write to the file system of `directory`."""
        state = os.statvfs(directory)
        return state.f_bavail * state.f_frsize
