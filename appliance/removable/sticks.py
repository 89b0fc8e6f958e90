"""A stick mounted for a moment: its archives listed, one written, one read. Another never sees a half-written file.

Who mounts is given: on the appliance systemd, by units of its own, so that `sysd` needs no right to do it. One mount at
a time. What lies on a stick may be made to harm: names are judged, links are not followed, and sizes are bounded.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.removable.devices import Devices, Stick

SUFFIX = ".mailweir.tar"
MAX_FILES = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+@-]{0,199}")


class Mounts(Protocol):
    """Both raise OSError with the reason. File systems are mounted without devices, setuid bits and programs."""

    async def mount(self, device: str, *, writable: bool) -> Path:
        """Where the device's file system is now."""

    async def unmount(self) -> None:
        """Ends when everything is on the stick."""


class NoStick(OSError):
    """The stick or the file is not there, or is not what it should be; `str()` says it for a person."""


@dataclass(frozen=True, slots=True)
class File:
    name: str
    size_bytes: int
    at_s: float


class Sticks:
    """See the module. One event loop's object."""

    def __init__(self, devices: Devices, mounts: Mounts) -> None:
        self._devices = devices
        self._mounts = mounts
        self._turn = asyncio.Lock()

    async def found(self) -> list[Stick]:
        """The sticks that are plugged in. Raises OSError."""
        return await asyncio.to_thread(self._devices.sticks)

    @asynccontextmanager
    async def mounted(self, device: str, *, writable: bool = False) -> AsyncIterator[Path]:
        """The folder where the stick is, until the block ends.

        Raises:
            NoStick: there is no such stick.
            OSError: it cannot be mounted, or not be unmounted, when what was written may not all be on it.
        """
        async with self._turn:
            if device not in {stick.device for stick in await self.found()}:
                raise NoStick(f"there is no stick {device[:40]!r} (any more)")
            folder = await self._mounts.mount(device, writable=writable)
            try:
                yield folder
            except BaseException:
                with suppress(OSError):  # what went wrong first is what is told
                    await self._mounts.unmount()
                raise
            await self._mounts.unmount()

    async def files(self, device: str, suffix: str = SUFFIX) -> list[File]:
        """The files in the stick's top folder, newest first. Raises as `mounted`."""
        async with self.mounted(device) as folder:
            return await asyncio.to_thread(_files, folder, suffix)

    async def read(self, device: str, name: str, most_bytes: int) -> bytes:
        """A whole file. Raises as `mounted`; NoStick, too, for one that is longer."""
        async with self.mounted(device) as folder:
            return await asyncio.to_thread(_read, folder, name, most_bytes)

    async def write(self, device: str, stem: str, octets: bytes, suffix: str = SUFFIX) -> str:
        """Writes a new file beside those that are there, and returns its name. Raises as `mounted`."""
        async with self.mounted(device, writable=True) as folder:
            return await asyncio.to_thread(_write, folder, stem, suffix, octets)


def _files(folder: Path, suffix: str) -> list[File]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                facts = entry.stat(follow_symlinks=False)
                found.append(File(entry.name, facts.st_size, facts.st_mtime))
    return sorted(found, key=lambda file: file.at_s, reverse=True)[:MAX_FILES]


def _read(folder: Path, name: str, most_bytes: int) -> bytes:
    if not _NAME.fullmatch(name):
        raise NoStick(f"{name[:40]!r} is no name of a file")
    try:
        # Not blocking: what looks like a file may be a pipe that nobody writes to.
        fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NoStick(f"there is no {name} on the stick (any more)") from error
    with open(fd, "rb") as source:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NoStick(f"{name} is no file")
        octets = source.read(most_bytes + 1)
    if len(octets) > most_bytes:
        raise NoStick(f"{name} is longer than {most_bytes >> 20} MiB; it is not what it should be")
    return octets


def _write(folder: Path, stem: str, suffix: str, octets: bytes) -> str:
    name, number = f"{stem}{suffix}", 2
    while os.path.lexists(folder / name):
        name, number = f"{stem}-{number}{suffix}", number + 1
    beside = folder / f".{name}.new"
    try:
        # The file system may know no owners; where it does, nobody else reads secrets.
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as target:
            target.write(octets)
            target.flush()
            os.fsync(fd)
        os.rename(beside, folder / name)
        _sync_folder(folder)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return name


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
