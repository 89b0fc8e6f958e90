"""The board as /proc and /sys show it. What is not there is not shown."""

from __future__ import annotations

from pathlib import Path

from appliance.config.box_tables import Keyboard
from appliance.console.keyboard import is_screen, line_of, load


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
        if is_screen(line_of(0)):
            load(keyboard)
