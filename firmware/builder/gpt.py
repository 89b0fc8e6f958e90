"""A disk's partition table, as octets: GPT with its protective MBR (UEFI 2.10 §5). Pure; called by `disk`.

The MBR may name one partition beside the protective entry, for boot ROMs that know no GPT (Raspberry Pi 3, Zero 2 W).
That is called a hybrid MBR; Linux, U-Boot, GRUB and sfdisk take the GPT all the same, and sfdisk leaves the MBR alone
when it adds a partition.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

SECTOR_BYTES = 512
MIB_SECTORS = 1 << 20 >> 9
_ENTRIES = 128
_ENTRY_BYTES = 128
_TABLE_SECTORS = _ENTRIES * _ENTRY_BYTES // SECTOR_BYTES

_PROTECTIVE = 0xEE
_FAT32_LBA = 0x0C
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
_NAMES = uuid.UUID("5f0b1c1a-6d1e-4c1c-8b6a-2f5b0d6a9f10")  # ours, to make the others from names


@dataclass(frozen=True, slots=True)
class Partition:
    """One line of the table."""

    name: str
    kind: uuid.UUID
    first_mib: int
    size_mib: int

    @property
    def first_sector(self) -> int:
        return self.first_mib * MIB_SECTORS

    @property
    def last_sector(self) -> int:
        return (self.first_mib + self.size_mib) * MIB_SECTORS - 1


def lay_out(esp_mib: int, boot_mib: int, root_mib: int) -> list[Partition]:
    """Where everything lies; the data partition is made behind it at the first boot, as large as the disk allows."""
    wanted = [
        ("bios", BIOS_BOOT, 1),
        ("esp", ESP, esp_mib),
        *[(f"{part}_{slot}", LINUX, size) for slot in "ab" for part, size in (("boot", boot_mib), ("root", root_mib))],
    ]
    found, at_mib = [], 1
    for name, kind, size_mib in wanted:
        found.append(Partition(name, kind, at_mib, size_mib))
        at_mib += size_mib
    return found


def disk_mib(partitions: Sequence[Partition]) -> int:
    """The smallest disk that holds them and the second copy of the table."""
    return max(it.first_mib + it.size_mib for it in partitions) + 1


def render(
    partitions: Sequence[Partition], size_mib: int, boot_code: bytes = b"", old: Partition | None = None
) -> tuple[bytes, bytes]:
    """The disk's first and last sectors; identities are made from the names, so that two builds are equal.

    `old` is the one, of FAT, that the MBR names too.

    Raises:
        ValueError: they overlap, or do not fit.
    """
    sectors = size_mib * MIB_SECTORS
    usable = range(2 + _TABLE_SECTORS, sectors - 1 - _TABLE_SECTORS)
    behind = usable.start
    for it in sorted(partitions, key=lambda it: it.first_mib):
        if it.first_sector < behind or it.last_sector not in usable:
            raise ValueError(f"no room for {it.name}")
        behind = it.last_sector + 1
    table = b"".join(_entry(it) for it in partitions).ljust(_TABLE_SECTORS * SECTOR_BYTES, b"\0")
    first = _header(1, sectors - 1, 2, usable, table)
    second = _header(sectors - 1, 1, sectors - 1 - _TABLE_SECTORS, usable, table)
    return _mbr(boot_code, sectors, old) + first + table, table + second


def _entry(it: Partition) -> bytes:
    own = uuid.uuid5(_NAMES, it.name)
    name = it.name.encode("utf-16-le").ljust(72, b"\0")
    return struct.pack("<16s16sQQQ72s", it.kind.bytes_le, own.bytes_le, it.first_sector, it.last_sector, 0, name)


def _header(own: int, other: int, table_at: int, usable: range, table: bytes) -> bytes:
    def packed(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            *(b"EFI PART", 0x10000, 92, checksum, 0, own, other, usable.start, usable.stop - 1),
            *(uuid.uuid5(_NAMES, "disk").bytes_le, table_at, _ENTRIES, _ENTRY_BYTES, zlib.crc32(table)),
        )

    return packed(zlib.crc32(packed(0))).ljust(SECTOR_BYTES, b"\0")


def _mbr(boot_code: bytes, sectors: int, old: Partition | None) -> bytes:
    if len(boot_code) > 440:
        raise ValueError("boot code is longer than 440 octets")
    entries = [_mbr_entry(0, _PROTECTIVE, 1, min(sectors - 1, 0xFFFFFFFF))]
    if old is not None:
        # The protective entry ends before the other: the two may not overlap.
        entries = [
            _mbr_entry(0x80, _FAT32_LBA, old.first_sector, old.size_mib * MIB_SECTORS),
            _mbr_entry(0, _PROTECTIVE, 1, old.first_sector - 1),
        ]
    return boot_code.ljust(446, b"\0") + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"


def _mbr_entry(active: int, kind: int, first: int, count: int) -> bytes:
    """Cylinders, heads and sectors say that they do not apply, but for the protective entry's begin: UEFI 2.10 §5.2.3.
    """
    begin = b"\0\2\0" if kind == _PROTECTIVE else b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", active, begin, kind, b"\xff\xff\xff", first, count)
