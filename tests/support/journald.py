"""systemd-journald without systemd, with the image's settings, on a `/run` of its own. Only root may have one.

Beside it the image's unit that has it on the disk, by the very commands that are in the unit.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.support.conditions import until
from tests.support.package import ROOT

_SCRIPT = """\
mount --make-rprivate /
mount --bind "$2" /run
mount --bind "$1/log" /var/log
mount --bind "$1/etc" /etc/systemd
mount --bind "$1/machine-id" /etc/machine-id
exec /lib/systemd/systemd-journald
"""
MACHINE_ID = "0123456789abcdef0123456789abcdef"


class Journald:
    """A `control.ports.Service`. Its memory is `run_dir`, and `disk` what `/var/log/journal` leads to."""

    def __init__(self, folder: Path) -> None:
        # It empties what it has in memory only where that is memory.
        self.run_dir = Path(tempfile.mkdtemp(prefix="journald-", dir="/dev/shm"))
        self.disk, self._folder = folder / "disk", folder
        for path in (self.run_dir / "systemd", folder / "log", folder / "etc", self.disk):
            path.mkdir(parents=True)
        self.place = folder / "log/journal"
        self.place.symlink_to(self.disk)
        (folder / "machine-id").write_text(f"{MACHINE_ID}\n")
        image = ROOT / "buildroot-overlay/etc/systemd/journald.conf.d/mailweir.conf"
        # Neither this kernel's messages nor its audit are ours.
        (folder / "etc/journald.conf").write_text("[Journal]\nReadKMsg=no\nAudit=no\n")
        (folder / "etc/journald.conf.d").mkdir()
        (folder / "etc/journald.conf.d/mailweir.conf").write_text(image.read_text())
        self._process: subprocess.Popen[bytes] | None = None

    async def restart(self) -> None:
        await self.stop()
        command = ["unshare", "--mount", "sh", "-ec", _SCRIPT, "sh", str(self._folder), str(self.run_dir)]
        with open(self._folder / "output", "ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        until(self._listens, "journald's socket")

    def run(self, command: str) -> None:
        """A program that sees what journald sees."""
        assert self._process is not None
        enter = ["nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt", "--"]
        subprocess.run([*enter, *command.split()], check=True, capture_output=True, timeout=30)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def forget(self) -> None:
        """`/run` as a restart of the box leaves it."""
        shutil.rmtree(self.run_dir / "systemd")
        shutil.rmtree(self.memory, ignore_errors=True)
        (self.run_dir / "systemd").mkdir()

    def open_files(self, folder: Path) -> list[str]:
        """What journald has open below `folder`."""
        assert self._process is not None
        files = [os.readlink(path) for path in Path(f"/proc/{self._process.pid}/fd").iterdir()]
        return [name for name in files if name.startswith(str(folder))]

    def close(self) -> None:
        asyncio.run(self.stop())
        shutil.rmtree(self.run_dir)

    def say(self, message: str) -> None:
        """An entry, by the native protocol."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(f"MESSAGE={message}\n".encode(), str(self._socket))

    def read(self, folder: Path) -> list[str]:
        """The messages of the files in `folder`."""
        command = ["journalctl", "--directory", str(folder), "--output", "cat", "--no-pager", "--quiet"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()

    @property
    def memory(self) -> Path:
        return self.run_dir / "log/journal"

    @property
    def _socket(self) -> Path:
        return self.run_dir / "systemd/journal/socket"

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            return not sock.connect_ex(str(self._socket))


class OnDisk:
    """`mailweir-journal.service`, a oneshot that remains."""

    def __init__(self, journald: Journald) -> None:
        self._journald = journald
        unit = (ROOT / "buildroot-overlay/usr/lib/systemd/system/mailweir-journal.service").read_text()
        (self._start,) = re.findall("^ExecStart=(.*)", unit, re.MULTILINE)
        (self._stop,) = re.findall("^ExecStop=(.*)", unit, re.MULTILINE)
        self._is_active = False

    async def restart(self) -> None:
        await self.stop()
        self._journald.run(self._start)
        self._is_active = True

    async def stop(self) -> None:
        if self._is_active:
            self._journald.run(self._stop)
        self._is_active = False
