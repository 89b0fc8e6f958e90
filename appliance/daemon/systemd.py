"""Power, services, sticks and shells by `systemctl`, as the appliance has them.

`sysd` itself may neither mount nor fork a shell: systemd does it, by units that are on the image and say how.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

UNITS = Path("/usr/lib/systemd/system")
STICK = Path("/run/mailweir/stick")
_SHELL = "mailweir-shell@{}.service"


class SystemdPower:
    """A `control.ports.Power`."""

    async def reboot(self) -> None:
        await _systemctl("--no-block", "reboot")

    async def power_off(self) -> None:
        await _systemctl("--no-block", "poweroff")


class SystemdService:
    """A `control.ports.Service`: one unit."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    async def restart(self) -> None:
        await _systemctl("restart", self._unit)

    async def stop(self) -> None:
        await _systemctl("stop", self._unit)

    async def begin(self) -> None:
        """Starts it, and does not wait for it. OSError: it cannot be started.

        `restart`, for a unit that is on its way out would take `start` for the run that just ends.
        """
        await _systemctl("restart", "--no-block", self._unit)


class SystemdMounts:
    """A `removable.sticks.Mounts`: a unit for reading and one for writing, each of what a link names.

    By a link, for a unit of systemd's has its device written in it; mount(8) follows the link when the unit is started.
    """

    def __init__(self, folder: Path = STICK, unit: str = "run-mailweir-stick-{}.mount") -> None:
        self._folder = folder
        self._unit = unit
        self._way = ""

    @staticmethod
    def are_there() -> bool:
        """Whether this machine has the units: whether it is an appliance."""
        return (UNITS / "run-mailweir-stick-read.mount").exists()

    async def mount(self, device: str, *, writable: bool) -> Path:
        self._way = "write" if writable else "read"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        fresh = self._folder / "device.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"/dev/{device}")
        os.rename(fresh, self._folder / "device")
        await _systemctl("start", self._unit.format(self._way))
        return self._folder / self._way

    async def unmount(self) -> None:
        await _systemctl("stop", self._unit.format(self._way))


class SystemdShells:
    """A `control.ports.Shells`: a unit that takes the line from the menu, and gives it back."""

    @staticmethod
    def are_there() -> bool:
        return (UNITS / _SHELL.format("")).exists()

    async def open(self, line: str) -> None:
        await _systemctl("--no-block", "start", _SHELL.format(line))


async def _systemctl(*arguments: str) -> None:
    """Raises OSError with what it said, if it failed."""
    process = await asyncio.create_subprocess_exec(
        "systemctl", *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise OSError(process.returncode, said.decode("utf-8", "replace").strip()[:300] or "systemctl failed")
