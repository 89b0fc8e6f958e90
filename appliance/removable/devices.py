"""Which removable file systems there are, as /sys and udev's notes tell. Changes nothing, opens no device.

A disk that anything of this box lies on is none of them, whatever it is made of: a box may well run from a stick.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

KINDS = frozenset({"vfat", "exfat", "ext4"})
_NAME = re.compile(r"[A-Za-z0-9!_-]{1,32}")
_VIRTUAL = ("loop", "ram", "zram", "dm-", "md")
_SECTOR_OCTETS = 512  # in /sys, whatever the disk's own are


@dataclass(frozen=True, slots=True)
class Stick:
    """One file system that can be mounted."""

    device: str
    """The kernel's name, as "sda1"."""
    kind: str
    label: str
    size_bytes: int
    model: str


class Devices:
    """See the module."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root`: where /sys, /proc and /run are."""
        self._class = root / "sys/class/block"
        self._notes = root / "run/udev/data"
        self._mounts = root / "proc/self/mountinfo"

    def sticks(self) -> list[Stick]:
        """By name. Raises OSError: /sys or /proc is not to be read."""
        in_use = self._in_use()
        found = []
        for entry in sorted(self._class.iterdir()):
            disk = self._disk_of(entry)
            if disk.name in in_use or not self._is_removable(disk):
                continue
            stick = self._stick(entry, disk)
            if stick is not None:
                found.append(stick)
        whole = {stick.device for stick in found}
        # A file system on the whole disk may begin with what looks like partitions, and has none.
        disks = {stick.device: self._disk_of(self._class / stick.device).name for stick in found}
        return [stick for stick in found if disks[stick.device] == stick.device or disks[stick.device] not in whole]

    def _stick(self, entry: Path, disk: Path) -> Stick | None:
        properties = self._properties(_line(entry / "dev"))
        kind = properties.get("ID_FS_TYPE", "")
        size = _line(entry / "size")
        if kind not in KINDS or not _NAME.fullmatch(entry.name) or not size.isdecimal() or not int(size):
            return None
        model = " ".join(filter(None, (_line(disk / "device/vendor"), _line(disk / "device/model"))))
        return Stick(entry.name, kind, properties.get("ID_FS_LABEL", ""), int(size) * _SECTOR_OCTETS, model)

    def _in_use(self) -> set[str]:
        """Disks of which a part is mounted, or carries something else."""
        mounted = {line.split(" ", 3)[2] for line in self._mounts.read_text(errors="replace").splitlines() if line}
        found = set()
        for entry in self._class.iterdir():
            holders = entry / "holders"
            if _line(entry / "dev") in mounted or (holders.is_dir() and any(holders.iterdir())):
                found.add(self._disk_of(entry).name)
        return found

    @staticmethod
    def _disk_of(entry: Path) -> Path:
        place = entry.resolve()
        return place.parent if (place / "partition").exists() else place

    @staticmethod
    def _is_removable(disk: Path) -> bool:
        if disk.name.startswith(_VIRTUAL):
            return False
        return _line(disk / "removable") == "1" or any(part.startswith("usb") for part in disk.parts)

    def _properties(self, number: str) -> dict[str, str]:
        try:
            lines = (self._notes / f"b{number}").read_text(errors="replace").splitlines()
        except OSError:
            return {}  # udev has not looked yet
        pairs = (line[2:].partition("=") for line in lines if line.startswith("E:"))
        return {key: value for key, _, value in pairs}


def _line(path: Path) -> str:
    """Its first line; empty where there is none."""
    try:
        return path.read_text(errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""
