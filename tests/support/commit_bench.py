"""A store with appliers that note what they are told, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from appliance.config.schema import Config
from appliance.config.store.applier import Applier
from appliance.config.store.commit import Commits
from appliance.config.store.files import Files
from appliance.config.store.revisions import Store

GOOD = """\
version = 1
hostname = "gw.example.test"  # ours
state = "/var/lib/mailweir"
[tls]
self_signed = true
[[listen]]
name = "in"
address = "127.0.0.1:2525"
[[next_hop]]
name = "inside"
servers = [{ url = "smtp://192.0.2.1:25" }]
[[domain]]
name = "example.test"
next_hop = "inside"
"""


def named(host: str) -> str:
    return GOOD.replace("gw.example.test", host)


class HandTimer:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self.calls: dict[int, tuple[float, Callable[[], None]]] = {}

    def now_s(self) -> float:
        return self.time_s

    def later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        number = len(self.calls) + 1
        self.calls[number] = (self.time_s + delay_s, call)
        return lambda: self.calls.pop(number, None) and None

    def pass_s(self, seconds: float) -> None:
        self.time_s += seconds
        for number, (due_s, call) in list(self.calls.items()):
            if due_s <= self.time_s:
                del self.calls[number]
                call()


class NotingApplier:
    at_start = True

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes
        self.apply_error: BaseException | None = None
        self.undo_error: BaseException | None = None
        self.begun = asyncio.Event()
        self.gate: asyncio.Event | None = None
        """If there is one, `apply` waits for it."""

    async def apply(self, old: Config | None, new: Config) -> None:
        self.notes.append(f"{self.name}: {_host(old)} -> {_host(new)}")
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.apply_error is not None:
            raise self.apply_error

    async def undo(self, old: Config | None, new: Config) -> None:
        self.notes.append(f"{self.name}: {_host(old)} <- {_host(new)}")
        if self.undo_error is not None:
            raise self.undo_error


def _host(config: Config | None) -> str:
    return config.hostname.partition(".")[0] if config is not None else "-"


class CommitBench:
    """One life of `sysd` on the store in `directory`; the next one begins with a new bench."""

    def __init__(self, directory: Path) -> None:
        self.notes: list[str] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self.network, self.gateway = NotingApplier("network", self.notes), NotingApplier("gateway", self.notes)
        self.gateway.at_start = False
        self.timer = HandTimer()
        self.store = Store.open(directory / "store", Files(), clock=lambda: 5000.0)
        appliers: list[Applier] = [self.network, self.gateway]
        self.commits = Commits(
            self.store, appliers, self.timer, lambda name, fields: self.events.append((name, fields))
        )

    async def confirmed(self, text: str) -> int:
        number = (await self.commits.propose(text, "anna")).number
        await self.commits.commit(number, "anna")
        await self.commits.confirm("anna")
        self.notes.clear()
        return number

    async def settled(self) -> None:
        """Until what the timer began is done."""
        while self.commits._tasks:
            await asyncio.gather(*self.commits._tasks, return_exceptions=True)

    async def end(self) -> None:
        await self.commits.close()
        self.store.close()
