"""Ports are held to a speed and let go by a real kernel, whose TAP devices take any; a cable's end refuses clearly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from appliance.network import ethtool, link_modes, read
from appliance.network.apply import ApplyFailed, apply, recover
from appliance.network.ethtool import Settings
from appliance.network.plan import Unplannable
from appliance.network.steps import AddAddress, HoldMode, SetUp, Step
from appliance.network.values import Address, Kind, Link, LinkMode, Wanted
from tests.support.namespaces import namespace, plug_in
from tests.support.taps import COPPER, tap

FULL100, HALF100, FULL1000 = LinkMode(100), LinkMode(100, False), LinkMode(1000)


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """copper0, which negotiates, and virtual0, which says nothing."""
    monkeypatch.setitem(read._KINDS, "tun", Kind.PHYSICAL)
    with namespace(), tap("copper0", supported=COPPER, negotiates=True), tap("virtual0"):
        yield


def wish(copper: LinkMode | None = None, virtual: LinkMode | None = None, ip: str = "192.0.2.5/24") -> Wanted:
    held = {"copper0": copper, "virtual0": virtual}
    links = {name: Link(name, Kind.PHYSICAL, mtu=1500, up=True, held=mode) for name, mode in held.items()}
    return Wanted(links, (Address("copper0", ip),))


def shown() -> tuple[Settings, Settings]:
    return ethtool.settings("copper0"), ethtool.settings("virtual0")


def fail_at(kind: type[Step]) -> object:
    def watch(step: Step) -> None:
        if isinstance(step, kind):
            raise RuntimeError("the power supply smells")

    return watch


@pytest.mark.usefixtures("ports")
def test_a_port_is_held_to_its_mode_and_applying_twice_changes_nothing(journal_file: Path) -> None:
    for mode in (FULL1000, FULL100, HALF100):
        wanted = wish(mode, mode)
        assert HoldMode("copper0", mode) in apply(wanted, journal_file)
        copper, virtual = shown()
        assert (copper.mode, virtual.mode) == (mode, mode)
        # Twisted pair cannot do without negotiation at 1000: nothing else is offered.
        assert copper.negotiates == (mode == FULL1000)
        assert mode != FULL1000 or set(copper.offered.values()) == {FULL1000}
        assert apply(wanted, journal_file) == []


@pytest.mark.usefixtures("ports")
def test_without_a_speed_a_port_negotiates_again_or_is_as_it_was(journal_file: Path) -> None:
    apply(wish(), journal_file)
    before = shown()
    apply(wish(HALF100, FULL1000), journal_file)
    assert shown() != before
    assert apply(wish(), journal_file) == [HoldMode("copper0", None), HoldMode("virtual0", None)]
    copper, virtual = shown()
    assert (copper.negotiates, copper.offered) == (True, before[0].offered)
    assert virtual == before[1]
    assert apply(wish(), journal_file) == []
    assert not journal_file.with_name(link_modes.NOTE).exists()


@pytest.mark.usefixtures("ports")
def test_an_error_later_on_brings_the_old_modes_back(journal_file: Path) -> None:
    for old in (wish(), wish(HALF100, FULL1000)):
        apply(old, journal_file)
        before = shown()
        with pytest.raises(ApplyFailed, match="smells; the old state is back"):
            apply(wish(FULL100, FULL100, "198.51.100.5/24"), journal_file, fail_at(AddAddress))
        copper, virtual = shown()
        assert (copper.negotiates, virtual) == (before[0].negotiates, before[1])
        assert copper.negotiates or copper == before[0]
        assert apply(old, journal_file) == []


@pytest.mark.usefixtures("ports")
def test_modes_of_an_apply_that_was_killed_are_undone_at_the_next_start(journal_file: Path) -> None:
    class Killed(BaseException):
        """Nothing cleans up after it."""

    def watch(step: Step) -> None:
        if isinstance(step, AddAddress):
            raise Killed

    apply(wish(), journal_file)
    before = shown()
    with pytest.raises(Killed):
        apply(wish(HALF100, FULL1000, "198.51.100.5/24"), journal_file, watch)
    assert shown()[1].mode == FULL1000
    assert recover(journal_file)
    copper, virtual = shown()
    assert copper.negotiates and virtual == before[1]


@pytest.mark.usefixtures("ports")
def test_what_copper_cannot_is_refused_with_what_it_can_before_anything_is_done(journal_file: Path) -> None:
    can = "it can do 10 half, 10 full, 100 half, 100 full, 1000 full; write one of these, or remove speed_mbit"
    with pytest.raises(Unplannable, match=f"copper0 cannot be held to 2500 Mbit/s, full duplex: {can}"):
        apply(wish(LinkMode(2500)), journal_file)
    with IPRoute() as ip:
        assert not read.read(ip).links["copper0"].up


def test_the_end_of_a_cable_cannot_be_told_its_speed_and_says_so(journal_file: Path) -> None:
    with namespace():
        plug_in({"eth0": "02:00:00:00:00:01"})
        far = Link("far-eth0", Kind.PHYSICAL, mtu=1500, up=True)
        wanted = Wanted({"eth0": Link("eth0", Kind.PHYSICAL, mtu=1500, up=True, held=FULL1000), "far-eth0": far})
        says = "eth0 cannot be held to 1000 Mbit/s, full duplex: nobody can set its speed; remove speed_mbit"
        with pytest.raises(Unplannable, match=says):
            apply(wanted, journal_file, fail_at(SetUp))  # type: ignore[arg-type]


@pytest.mark.usefixtures("ports")
def test_a_driver_that_refuses_is_named_with_the_remedy(journal_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(wish(), journal_file)
    before = shown()
    # This driver takes all, so the kernel stands in for it: it knows no mode of this number.
    monkeypatch.setattr(ethtool, "hold", lambda name, *_, **__: ethtool.change(name, OURS=ethtool.bits_set([9999])))
    says = (
        r"cannot hold virtual0 to 500 Mbit/s, full duplex: its driver refuses \(.*\); it does not say what it can do; "
        "write another speed_mbit or duplex, or remove both; the old state is back"
    )
    with pytest.raises(ApplyFailed, match=says):
        apply(wish(virtual=LinkMode(500)), journal_file)
    assert shown() == before
    assert not journal_file.with_name(link_modes.NOTE).exists()


@pytest.mark.usefixtures("ports")
def test_a_driver_that_takes_a_mode_and_keeps_its_own_is_told(
    journal_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ethtool, "hold", lambda *_, **__: None)
    with pytest.raises(ApplyFailed, match="does not keep what was set: hold copper0 to 100 Mbit/s, full duplex; the"):
        apply(wish(FULL100), journal_file)
