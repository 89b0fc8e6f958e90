"""The one update that may lie on the data partition while it comes in: opened, filled in order, complete or dropped.

Bounded by what a bundle can be and by the room that the queue is left. Blocks. Called by `sysd`'s requests, for what is
uploaded, and by `update.fetch`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

MAX_BUNDLE_BYTES = 512 << 20
LEFT_FREE_BYTES = 64 << 20
"""For mail that waits, while an update lies there."""


class NotTaken(Exception):
    """The update, or this piece of it; `str()` is a sentence for a person."""


def check_url(url: str) -> None:
    """Raises NotTaken: this is no https URL that could be fetched."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        good = False
    if not good or len(url) > 2000:
        raise NotTaken("write the whole URL of the update, beginning with https://")
    if parts.username or parts.password:
        raise NotTaken("a URL with a password in it would stand in the log: leave it out")


@dataclass(slots=True)
class Incoming:
    """A file that grows to `size_bytes`. Not more than one at a time on one path."""

    path: Path
    size_bytes: int
    received_bytes: int = 0

    @classmethod
    def begin(cls, path: Path, size_bytes: int) -> Incoming:
        """Makes the file anew.

        Raises:
            NotTaken: it is too large, or the disk too full.
            OSError: the disk.
        """
        if not 0 < size_bytes <= MAX_BUNDLE_BYTES:
            raise NotTaken(f"an update has at most {MAX_BUNDLE_BYTES >> 20} MiB, and this is said to have {size_bytes}")
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        room = os.statvfs(path.parent)
        free_bytes = room.f_bavail * room.f_frsize
        if free_bytes < size_bytes + LEFT_FREE_BYTES:
            raise NotTaken(
                f"the data partition has {free_bytes >> 20} MiB free, and {(size_bytes + LEFT_FREE_BYTES) >> 20} "
                "are needed: use a stick"
            )
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        return cls(path, size_bytes)

    def append(self, offset: int, octets: bytes) -> None:
        """The next piece.

        Raises:
            NotTaken: it is not the next one, or more than was announced.
            OSError: the disk.
        """
        if offset != self.received_bytes:
            raise NotTaken(f"the next octet is number {self.received_bytes}, not {offset}")
        if self.received_bytes + len(octets) > self.size_bytes:
            raise NotTaken(f"this is more than the {self.size_bytes} octets that were announced")
        with self.path.open("r+b") as out:
            out.seek(offset)
            out.write(octets)
        self.received_bytes += len(octets)

    def complete(self) -> Path:
        """The file, on the disk.

        Raises:
            NotTaken: something is missing.
            OSError: the disk.
        """
        if self.received_bytes != self.size_bytes:
            raise NotTaken(f"{self.size_bytes - self.received_bytes} of {self.size_bytes} octets are missing")
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        return self.path

    @property
    def percent(self) -> int:
        return 100 * self.received_bytes // self.size_bytes

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
