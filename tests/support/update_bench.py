"""The requests `update.*` on a machine made of files: slots, an installer that only starts, one stick, a socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.control.access import Asker, admit
from appliance.control.protocol import RequestRefused
from appliance.control.server import ControlServer
from appliance.control.update_client import Updates
from appliance.control.update_requests import UpdateRequests
from appliance.update import activity, grubenv, install
from appliance.update.activity import Activity
from appliance.update.keeper import Keeper

BOTH = {"ORDER": "A B", "A_OK": "1", "B_OK": "1"}
ROOT, WEB = Asker(0, "root"), Asker(33, "web")


@dataclass
class File:
    name: str
    size_bytes: int
    device: str = ""


class PlainSticks:
    """One stick; notes when it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounts = 0

    async def found(self) -> list[File]:
        return [] if self.mounts else [File("", 0, "sdb1")]

    async def files(self, device: str, suffix: str) -> list[File]:
        return [File(it.name, it.stat().st_size) for it in self.folder.iterdir() if it.name.endswith(suffix)]

    @asynccontextmanager
    async def mounted(self, device: str) -> AsyncIterator[Path]:
        self.mounts += 1
        yield self.folder
        self.mounts -= 1


class UpdateBench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.run, self.socket = folder, folder / "run", folder / "socket" / "sysd.sock"
        (folder / "cmdline").write_text("rauc.slot=A mailweir.version=1.0")
        self.keeper = Keeper(folder / "grubenv", folder / "cmdline", folder / "record.json", folder / "health.json")
        self.boot(**BOTH)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.started: list[install.Request] = []
        self.error: OSError | None = None
        self.sticks = PlainSticks(folder / "stick")
        self.sticks.folder.mkdir()
        (self.sticks.folder / "mailweir-2.0.raucb").write_bytes(b"bundle")
        self.fetched: Callable[[str, Path, Callable[[int], None]], Path] = self._fetch
        self.requests = self.new()

    def new(self) -> UpdateRequests:
        return UpdateRequests(
            self.keeper, self.run, self.folder / "incoming", self._start,
            tell=lambda name, fields: self.events.append((name, fields)), sticks=self.sticks,
            download=lambda url, path, told: self.fetched(url, path, told),
        )  # fmt: skip

    def boot(self, **values: str) -> None:
        (self.folder / "grubenv").write_bytes(grubenv.render(values))

    async def _start(self) -> None:
        if self.error is not None:
            raise self.error
        self.started.append(install.asked(self.run))

    def _fetch(self, url: str, path: Path, told: Callable[[int], None]) -> Path:
        told(100)
        path.write_bytes(b"bundle")
        return path

    def ask(self, request: str, asker: Asker = ROOT, **args: Any) -> Any:
        async def main() -> Any:
            return await self.requests.handlers()[request](asker, args)

        return asyncio.run(main())

    def refusal(self, request: str, asker: Asker = ROOT, **args: Any) -> str:
        with pytest.raises(RequestRefused) as caught:
            self.ask(request, asker, **args)
        return str(caught.value)

    def now(self) -> Activity:
        return activity.read(self.run)

    def end(self) -> None:
        """As the installer does."""
        activity.write(self.run, Activity(activity.INSTALLED, 100, "done"))

    def talk(self, scenario: Callable[[Updates], Awaitable[None]]) -> None:
        """Over a socket, with the client of the command line."""

        async def main() -> None:
            admitted = admit(self.requests.handlers(), {os.geteuid(): "root"})
            server = ControlServer(self.socket, admitted)
            await server.open()
            try:
                await scenario(Updates(self.socket, author="anna"))
            finally:
                await server.close()

        asyncio.run(main())
