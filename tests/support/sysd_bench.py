"""`sysd` as it is wired, on a socket in a temporary directory, with a machine under it that only takes notes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from appliance.control.sysd_client import Sysd
from appliance.daemon import sysd as daemon
from tests.support.commit_bench import GOOD, HandTimer, NotingApplier

_T = TypeVar("_T")


class NotingMachine:
    """Power, service and probes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.error: OSError | None = None

    async def reboot(self) -> None:
        self._note("reboot")

    async def power_off(self) -> None:
        self._note("power off")

    async def restart(self) -> None:
        self._note("restart")

    async def stop(self) -> None:
        self._note("stop")

    async def ports(self) -> list[dict[str, Any]]:
        self._note("ports")
        return [{"name": "eth0", "link": True}]

    async def probe(self, kind: str, target: str) -> dict[str, Any]:
        self._note(f"{kind} {target}")
        return {"ok": True}

    def _note(self, what: str) -> None:
        self.notes.append(what)
        if self.error is not None:
            raise self.error


class SysdBench:
    def __init__(self, directory: Path) -> None:
        self.machine = NotingMachine()
        self.timer = HandTimer()
        self.notes: list[str] = []
        self.network = NotingApplier("network", self.notes)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.factory = directory / "factory.toml"
        self.factory.write_text(GOOD)
        self.options = daemon.Options(
            store=directory / "store",
            socket=directory / "run" / "sysd.sock",
            factory=self.factory,
            erase=[directory / "state"],
            power=self.machine,
            service=self.machine,
            probes=self.machine,
            timer=self.timer,
            more_appliers=[self.network],
        )
        self.client = Sysd(self.options.socket, author="anna")

    async def ask(self, call: Callable[..., _T], *args: Any, **named: Any) -> _T:
        """Calls the blocking client while the loop turns."""
        return await asyncio.to_thread(call, *args, **named)

    def run(self, scenario: Callable[[SysdBench], Awaitable[Any]]) -> None:
        """One life of `sysd`, as long as `scenario`."""

        async def main() -> None:
            stop, ready = asyncio.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()

            def told(name: str, fields: dict[str, object]) -> None:
                self.events.append((name, fields))
                if name == "sysd_ready":
                    loop.call_soon_threadsafe(ready.set)

            serving = asyncio.create_task(daemon.serve(self.options, stop, told))
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            try:
                if not serving.done():
                    await asyncio.wait_for(scenario(self), 60)
            finally:
                stop.set()
                await serving

        asyncio.run(main())

    def as_role(self, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the next life on whoever asks has this role; none if it is empty."""
        import os

        roles = {os.geteuid(): role} if role else {os.geteuid() + 4711: "root"}
        monkeypatch.setattr(daemon, "_roles", lambda: roles)
