"""The network is set up at the start and at each commit, put back at a roll-back, and its resolvers kept fresh."""

from __future__ import annotations

import asyncio
import threading

import pytest

from appliance.config.load import parse
from appliance.config.schema import Config
from appliance.daemon.network_applier import NetworkApplier
from appliance.network.bring_up import BringUpFailed, BroughtUp


def named(name: str) -> Config:
    return parse(f'hostname = "{name}"\n[[listen]]\nname = "in"\naddress = "0.0.0.0:25"\n', "/nowhere/gw.toml")


OLD, NEW = named("old.example.test"), named("new.example.test")


class Network:
    """Stands for `network.bring_up`; notes what was asked and by which thread."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.threads: set[int] = set()
        self.fails = False
        self.missing: list[str] = []
        self.refreshed = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def applier(self) -> NetworkApplier:
        return NetworkApplier(
            lambda name, fields: self.told.append(name),
            at_first=lambda config: self.set_up("at first", config),
            change=lambda config: self.set_up("change", config),
            refresh=self.refresh,
            refresh_s=0.0,
            settle=self.settle,
        )

    async def settle(self, within_s: float) -> None:
        self.asked.append(("settle", ""))

    def set_up(self, how: str, config: Config) -> BroughtUp:
        self.threads.add(threading.get_ident())
        self.asked.append((how, config.hostname))
        if self.fails:
            raise BringUpFailed("no such port")
        return BroughtUp(missing=list(self.missing))

    def refresh(self, config: Config) -> list[str]:
        self.loop.call_soon_threadsafe(self.refreshed.set)
        return ["unbound.service"]


def test_the_start_recovers_and_a_commit_changes_off_the_loops_thread() -> None:
    async def scene() -> None:
        network = Network()
        applier = network.applier()
        await applier.apply(None, OLD)
        await applier.apply(OLD, NEW)
        await applier.close()
        # A commit waits for no driver.
        assert network.asked == [("settle", ""), ("at first", OLD.hostname), ("change", NEW.hostname)]
        assert threading.get_ident() not in network.threads

    asyncio.run(scene())


def test_a_roll_back_sets_up_what_was_before() -> None:
    async def scene() -> None:
        network = Network()
        applier = network.applier()
        await applier.apply(OLD, NEW)
        await applier.undo(OLD, NEW)
        await applier.close()
        assert network.asked[-1] == ("change", OLD.hostname)

    asyncio.run(scene())


def test_a_failure_is_the_commits() -> None:
    async def scene() -> None:
        network = Network()
        network.fails = True
        with pytest.raises(BringUpFailed, match="no such port"):
            await network.applier().apply(OLD, NEW)

    asyncio.run(scene())


def test_resolvers_are_refreshed_between_commits_until_it_is_closed() -> None:
    async def scene() -> None:
        network = Network()
        applier = network.applier()
        await applier.apply(None, OLD)
        await network.refreshed.wait()
        await applier.close()
        network.refreshed.clear()
        await asyncio.sleep(0)
        assert not network.refreshed.is_set()
        assert set(network.told) <= {"network_set", "names_refreshed"}

    asyncio.run(scene())


def test_a_port_that_comes_late_is_set_up() -> None:
    async def scene() -> None:
        network = Network()
        network.missing = ["lan0"]
        applier = network.applier()
        await applier.apply(None, NEW)
        for _ in range(2):
            network.refreshed.clear()
            await network.refreshed.wait()
        assert network.asked.count(("change", NEW.hostname)) >= 1
        assert network.told.count("network_set") == 1
        network.missing = []
        while network.told.count("network_set") < 2:
            await asyncio.sleep(0)
        asked = len(network.asked)
        for _ in range(2):
            network.refreshed.clear()
            await network.refreshed.wait()
        assert len(network.asked) == asked
        await applier.close()

    asyncio.run(scene())


def test_a_late_port_that_cannot_be_set_up_is_told_and_looked_for_again() -> None:
    async def scene() -> None:
        network = Network()
        network.missing = ["lan0"]
        applier = network.applier()
        await applier.apply(None, NEW)
        network.fails = True
        while network.told.count("network_not_set") < 2:
            await asyncio.sleep(0)
        assert network.told.count("network_set") == 1
        await applier.close()

    asyncio.run(scene())
