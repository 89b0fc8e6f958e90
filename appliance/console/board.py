"""The board as /proc and /sys show it. What is not there is not shown."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.config.box_tables import Keyboard
from appliance.console.keyboard import load, screen_of

_MOUNT_ROOTS = ("/media/", "/mnt/", "/run/media/")


class Board:
    """A `desk.Machine`."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root`: where /proc and /sys are."""
        self._root = root

    def memory_mib(self) -> tuple[int, int] | None:
        try:
            rows = (self._root / "proc/meminfo").read_text().splitlines()
            kib = {name: int(value.split()[0]) for name, _, value in (row.partition(":") for row in rows)}
            return (kib["MemTotal"] - kib["MemAvailable"]) >> 10, kib["MemTotal"] >> 10
        except (OSError, ValueError, KeyError, IndexError):
            return None

    def temperature_c(self) -> float | None:
        """The hottest zone's."""
        found = []
        for path in self._root.glob("sys/class/thermal/thermal_zone*/temp"):
            try:
                found.append(int(path.read_text()) / 1000)
            except (OSError, ValueError):
                continue  # a zone that is switched off says EAGAIN or the like
        return max(found, default=None)

    def load_keyboard(self, keyboard: Keyboard) -> None:
        if screen_of(0):
            load(keyboard)

    def folders(self) -> list[Path]:
        try:
            mounts = (self._root / "proc/mounts").read_text().splitlines()
        except OSError:
            return []
        places = [mount.split(" ")[1].replace("\\040", " ") for mount in mounts if mount.count(" ") > 1]
        return [Path(place) for place in places if place.startswith(_MOUNT_ROOTS) and os.access(place, os.W_OK)]
