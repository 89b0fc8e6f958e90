"""Looks into a disk image, or a card: its partitions, and the files on those of FAT. For trials; nothing is mounted."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from firmware.builder.gpt import SECTOR_BYTES
from firmware.builder.run import run

_ENTRIES_AT = 2 * SECTOR_BYTES
_ENTRIES, _ENTRY_BYTES = 128, 128


def partitions(disk: Path) -> dict[str, tuple[int, int, int]]:
    """Number, first sector and count of sectors of each partition, by its name.

    Raises:
        SystemExit: no GPT.
    """
    with disk.open("rb") as stream:
        octets = stream.read(_ENTRIES_AT + _ENTRIES * _ENTRY_BYTES)
    if octets[SECTOR_BYTES : SECTOR_BYTES + 8] != b"EFI PART":
        raise SystemExit(f"{disk} has no GPT")
    found = {}
    for number in range(_ENTRIES):
        entry = octets[_ENTRIES_AT + number * _ENTRY_BYTES :][:_ENTRY_BYTES]
        _, _, first, last, _, name = struct.unpack("<16s16sQQQ72s", entry)
        if last:
            found[name.decode("utf-16-le").rstrip("\0")] = (number + 1, first, last - first + 1)
    return found


def old_table(disk: Path) -> list[tuple[int, int, int, int]]:
    """The MBR's entries: active, kind, first sector, count of sectors."""
    with disk.open("rb") as stream:
        octets = stream.read(SECTOR_BYTES)
    entries = [struct.unpack("<B3xB3xII", octets[at : at + 16]) for at in range(446, 510, 16)]
    return [(active, kind, first, count) for active, kind, first, count in entries if kind]


def read(disk: Path, partition: str, path: str) -> bytes:
    """A file's octets.

    Raises:
        SystemExit: it is not there.
    """
    return run("mtype", "-i", _place(disk, partition), f"::{path}")


def files(disk: Path, partition: str) -> set[str]:
    """Paths of all files on a partition of FAT."""
    printed = run("mdir", "-i", _place(disk, partition), "-/", "-b", "-a", "::").decode()
    paths = (line.removeprefix("::/") for line in printed.splitlines())
    return {path for path in paths if path and not path.endswith("/")}


def write(disk: Path, partition: str, path: str, octets: bytes) -> None:
    """Replaces a file."""
    with tempfile.NamedTemporaryFile() as beside:
        beside.write(octets)
        beside.flush()
        run("mcopy", "-o", "-i", _place(disk, partition), beside.name, f"::{path}")


def _place(disk: Path, partition: str) -> str:
    """As mtools name a file system in the midst of a file."""
    return f"{disk}@@{partitions(disk)[partition][1] * SECTOR_BYTES}"


def add_kernel_arguments(disk: Path, arguments: str) -> None:
    """For the kernel in slot A, behind those that open its root."""
    text = read(disk, "boot_a", "slot.cfg").decode()
    begin, mark, rest = text.partition('set slot_arguments="')
    if not mark:
        raise SystemExit("slot.cfg sets no slot_arguments")
    now, _, end = rest.partition('"')
    if arguments not in now:
        write(disk, "boot_a", "slot.cfg", f'{begin}{mark}{now} {arguments}"{end}'.encode())
