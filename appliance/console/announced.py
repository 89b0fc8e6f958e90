"""Whether somebody else has printed on the console's line: the announcement that the gateway is ready.

`/usr/lib/mailweir/announce` prints its line on /dev/console, over whatever stands there, and then leaves it in a file.
The menu on that line draws its question anew; a menu on another line tells it. Asked by `terminal` while it waits.
"""

from __future__ import annotations

from pathlib import Path

from appliance.console.keyboard import is_screen

LINE_FILE = Path("/run/mailweir-ready/line")
CONSOLES = Path("/sys/class/tty/console/active")
"""The last word is the terminal behind /dev/console, where tty0 is the screen."""


class Announced:
    """What has been announced since this was made; what was there before stands above the menu, or is long past."""

    def __init__(self, line: str) -> None:
        """`line`: the menu's terminal below /dev."""
        self._is_here = _is_console(line)
        self._seen_ns = _changed_ns()

    def __call__(self) -> list[str] | None:
        """Lines to tell; empty: they were printed here, over what stood here. None: nothing new."""
        now_ns = _changed_ns()
        if now_ns == self._seen_ns:
            return None
        try:
            lines = [] if self._is_here else LINE_FILE.read_text("utf-8", "replace").splitlines()[:1]
        except OSError:
            return None  # gone in this moment
        self._seen_ns = now_ns
        return lines


def _is_console(line: str) -> bool:
    try:
        last = CONSOLES.read_text().split()[-1:]
    except OSError:
        return False
    return last == [line] or (last == ["tty0"] and is_screen(line))


def _changed_ns() -> int:
    try:
        return LINE_FILE.stat().st_mtime_ns
    except OSError:
        return 0
