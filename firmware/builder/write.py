"""`image write BOARD DEVICE`: the image on a card or disk, after a question, with what was written read back.

Refuses what is in use, and what does not look like a card or stick unless it is forced. A plain file serves as a disk
of its own, for a virtual machine. Called by `__main__`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 4 << 20
_BLKRRPART = 0x125F  # linux/fs.h: the kernel reads the partition table again
_SYS = Path("/sys/class/block")
_MOUNTS = Path("/proc/self/mountinfo")
_SWAPS = Path("/proc/swaps")


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be written to."""

    path: Path
    model: str
    size_bytes: int
    is_removable: bool
    partitions: tuple[str, ...]
    uses: tuple[str, ...]
    """Why it must not be written: where it is mounted, what stands on it."""

    def in_words(self) -> str:
        """For the question."""
        size = f"{self.size_bytes / 1e9:.1f} GB"
        parts = f"partitions {', '.join(self.partitions)}" if self.partitions else "no partitions"
        kind = "removable" if self.is_removable else "NOT removable"
        return f"{self.path}: {self.model or 'no model named'}, {size}, {kind}, {parts}"


def write(image: Path, path: Path, *, force: bool, ask: Callable[[str], str] = input) -> None:
    """Writes `image` to `path` and compares.

    Raises:
        SystemExit: there is no image, it must not or cannot be written, the answer was no, or it reads back otherwise.
    """
    if not image.exists():
        raise SystemExit(f"{image} is not there: scripts/image build")
    try:
        target = look(path)
        refuse(target, image.stat().st_size, force=force)
        print(target.in_words())
        if ask(f"All that is on it will be lost. Type {path.name} to write the image: ").strip() != path.name:
            raise SystemExit("nothing was written")
        written = _copy(image, path)
        if _digest(path, image.stat().st_size) != written:
            raise SystemExit(f"{path} reads back otherwise than it was written: do not use it")
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror or error}") from error
    print(f"written and read back: SHA-256 {written}. It can be pulled out.")


def look(path: Path) -> Target:
    """What `path` is. Raises SystemExit: neither disk nor file, or a partition; OSError: not there."""
    found = path.stat()
    if stat.S_ISREG(found.st_mode):
        return Target(path, "a file", found.st_size, True, (), ())
    if not stat.S_ISBLK(found.st_mode):
        raise SystemExit(f"{path} is neither a disk nor a file")
    entry = (_SYS / path.resolve().name).resolve()
    if (entry / "partition").exists():
        raise SystemExit(f"{path} is a partition; name the whole disk, /dev/{entry.parent.name}")
    parts = sorted(it.parent.name for it in entry.glob("*/partition"))
    return Target(
        path,
        _text(entry / "device/model") or _text(entry / "device/name") or _text(entry / "loop/backing_file"),
        int(_text(entry / "size")) * 512,
        # A card reader of the machine's own is no removable disk for the kernel, but what is in it is.
        _text(entry / "removable") == "1" or entry.name.startswith("mmcblk") or "/usb" in str(entry),
        tuple(parts),
        tuple(_uses(entry, parts)),
    )


def refuse(target: Target, image_bytes: int, *, force: bool) -> None:
    """Raises SystemExit with the reason not to write."""
    if target.uses:
        raise SystemExit(f"{target.path} is in use: {'; '.join(target.uses)}. Unmount it first")
    if target.model != "a file" and target.size_bytes < image_bytes:
        raise SystemExit(f"{target.path} has {target.size_bytes >> 20} MiB, the image needs {image_bytes >> 20}")
    if not target.is_removable and not force:
        raise SystemExit(f"{target.in_words()}: is this the disk that you mean? Then say --force")


def _uses(entry: Path, parts: list[str]) -> Iterator[str]:
    for name in (entry.name, *parts):
        number = _text(_SYS / name / "dev")
        for line in _MOUNTS.read_text().splitlines():
            fields = line.split()
            if fields[2] == number or fields[fields.index("-") + 2] == f"/dev/{name}":
                yield f"{name} is mounted at {fields[4]}"
        holders = _SYS / name / "holders"
        yield from (f"{name} is part of {it.name}" for it in (sorted(holders.iterdir()) if holders.exists() else []))
        if any(line.split()[0] == f"/dev/{name}" for line in _SWAPS.read_text().splitlines()[1:]):
            yield f"{name} is swap space"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _copy(image: Path, path: Path) -> str:
    """The SHA-256 of what was written."""
    # Exclusive: the kernel refuses it if somebody mounts it now.
    is_disk = stat.S_ISBLK(path.stat().st_mode)
    target = os.open(path, os.O_WRONLY | (os.O_EXCL if is_disk else os.O_TRUNC))
    hashed = hashlib.sha256()
    try:
        with image.open("rb") as source:
            total = os.fstat(source.fileno()).st_size
            while octets := source.read(_CHUNK_BYTES):
                hashed.update(octets)
                view = memoryview(octets)
                while view:
                    view = view[os.write(target, view) :]
                _progress("writing", source.tell(), total)
        os.fsync(target)
        # What is read back must come from the disk, not from memory.
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(target)
    return hashed.hexdigest()


def _digest(path: Path, size_bytes: int) -> str:
    hashed, left = hashlib.sha256(), size_bytes
    with path.open("rb", buffering=0) as source:
        while left and (octets := source.read(min(_CHUNK_BYTES, left))):
            hashed.update(octets)
            left -= len(octets)
            _progress("reading back", size_bytes - left, size_bytes)
        if stat.S_ISBLK(os.fstat(source.fileno()).st_mode):
            _read_table_again(source.fileno())
    return hashed.hexdigest()


def _read_table_again(descriptor: int) -> None:
    try:
        fcntl.ioctl(descriptor, _BLKRRPART)
    except OSError as error:  # a loop device without partitions cannot; nothing depends on it
        print(f"the kernel goes on with the old partition table: {error.strerror}", file=sys.stderr)


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r{what}: {done >> 20} of {total >> 20} MiB", end=end, flush=True, file=sys.stderr)
