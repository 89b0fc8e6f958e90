"""Power and services by `systemctl`, as the appliance has them."""

from __future__ import annotations

import asyncio
import subprocess


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
