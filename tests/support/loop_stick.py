"""A stick that is a file on a loop device, mounted for real, with the options of the appliance's own units.

`unshare --mount --propagation private python -m tests.support.loop_stick IMAGE FOLDER` writes to it, fills it, and
prints as JSON what it saw. A process of its own, for a mount namespace belongs to one.
"""

from __future__ import annotations

import asyncio
import configparser
import json
import subprocess
import sys
from pathlib import Path

from appliance.removable.devices import Devices, Stick
from appliance.removable.sticks import Sticks
from tests.support.package import ROOT

UNIT = ROOT / "buildroot-overlay/usr/lib/systemd/system/run-mailweir-stick-{}.mount"
ARCHIVE = b"archive" * 1000


def unit(way: str) -> configparser.ConfigParser:
    """The unit that mounts to read, or to write."""
    found = configparser.ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[method-assign,assignment]
    found.read_string(Path(str(UNIT).format(way)).read_text())
    return found


class LoopStick(Devices):
    """Finds the one device, and mounts it."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.device = run("losetup", "--find", "--show", str(image)).removeprefix("/dev/")
        self._folder = folder
        self.options: list[str] = []

    def sticks(self) -> list[Stick]:
        return [Stick(self.device, "ext4", "KEYS", 1 << 20, "loop")]

    async def mount(self, device: str, *, writable: bool) -> Path:
        options = unit("write" if writable else "read")["Mount"]["Options"]
        run("mount", "-o", options, f"/dev/{device}", str(self._folder))
        self.options.append(run("findmnt", "-n", "-o", "OPTIONS", str(self._folder)))
        return self._folder

    async def unmount(self) -> None:
        run("umount", str(self._folder))

    def pull_out(self) -> None:
        run("losetup", "--detach", f"/dev/{self.device}")


def run(*command: str) -> str:
    """What it printed. Raises OSError, as whoever mounts must."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.returncode, done.stderr.strip())
    return done.stdout.strip()


async def scenario(image: Path, folder: Path) -> dict[str, object]:
    seen: dict[str, object] = {}
    plugged = LoopStick(image, folder)
    try:
        sticks = Sticks(plugged, plugged)
        seen["name"] = await sticks.write(plugged.device, "gw-2", ARCHIVE)
        try:
            await sticks.write(plugged.device, "gw-3", b"x" * (8 << 20))
        except OSError as error:
            seen["full"] = error.strerror
        try:
            async with sticks.mounted(plugged.device) as place:
                (place / "written").write_text("x")
        except OSError as error:
            seen["read_only"] = error.strerror
    finally:
        plugged.pull_out()
    plugged = LoopStick(image, folder)
    try:
        sticks = Sticks(plugged, plugged)
        seen["files"] = [file.name for file in await sticks.files(plugged.device)]
        seen["same"] = await sticks.read(plugged.device, "gw-2.mailweir.tar", 1 << 20) == ARCHIVE
        async with sticks.mounted(plugged.device) as place:
            seen["all"] = sorted(path.name for path in place.iterdir())
    finally:
        plugged.pull_out()
    return {**seen, "options": plugged.options, "left": len(list(folder.iterdir()))}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(scenario(Path(sys.argv[1]), Path(sys.argv[2])))))
