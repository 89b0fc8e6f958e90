"""The system calls that the store makes, in one thin place, so that a test can cut the power between any two of them.

Nothing here knows revisions. Every method raises `OSError` as the kernel gave it. What is made belongs to this process'
user, and may be read by one group besides, that of the gateway.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Files:
    """The real file system."""

    def __init__(self, group_id: int | None = None) -> None:
        """`group_id`: who may read besides the owner; None: nobody."""
        self._group_id = group_id

    def lock(self, path: Path) -> int:
        """A descriptor that holds an exclusive lock on `path` until it is closed; `BlockingIOError` if taken."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def unlock(self, fd: int) -> None:
        os.close(fd)

    def make_directory(self, path: Path) -> None:
        os.mkdir(path, 0o700)
        if self._group_id is not None:
            os.chown(path, -1, self._group_id)
            os.chmod(path, 0o750)

    def create(self, path: Path, *, shared: bool = True) -> int:
        """A new file's descriptor; `shared` lets the group read it."""
        fd = os.open(path, _NEW, 0o600)
        if shared and self._group_id is not None:
            os.fchown(fd, -1, self._group_id)
            os.fchmod(fd, 0o640)
        return fd

    def write(self, fd: int, octets: bytes) -> None:
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(fd, rest) :]

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def names(self, directory: Path) -> list[str]:
        return sorted(os.listdir(directory))

    def is_directory(self, path: Path) -> bool:
        return path.is_dir() and not path.is_symlink()

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)

    def symlink(self, target: str, path: Path) -> None:
        os.symlink(target, path)

    def readlink(self, path: Path) -> str:
        return os.readlink(path)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def remove_directory(self, path: Path) -> None:
        os.rmdir(path)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_durably(files: Files, path: Path, octets: bytes, *, shared: bool = True) -> None:
    """A new file with these octets on stable storage; its name is so only after `sync_directory`."""
    fd = files.create(path, shared=shared)
    try:
        files.write(fd, octets)
        files.sync(fd)
    finally:
        files.close(fd)


def replace_durably(files: Files, path: Path, octets: bytes, *, shared: bool = True) -> None:
    """`path` holds these octets, or what it held before: nothing between, also over a power cut."""
    fresh = path.with_name(f"{path.name}.new")
    if files.exists(fresh):
        files.unlink(fresh)
    write_durably(files, fresh, octets, shared=shared)
    files.rename(fresh, path)
    files.sync_directory(path.parent)


def remove_tree(files: Files, path: Path) -> None:
    """Removes the directory and what is in it. A symbolic link is removed, never followed."""
    for name in files.names(path):
        inner = path / name
        if files.is_directory(inner):
            remove_tree(files, inner)
        else:
            files.unlink(inner)
    files.remove_directory(path)
