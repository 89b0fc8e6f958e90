"""Applying makes the kernel's network as wanted, or leaves it as it was: refused, broken off by an error, or killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace
from pyroute2 import IPRoute

from appliance.network.apply import ApplyFailed, apply, recover
from appliance.network.plan import Unplannable, plan
from appliance.network.read import read
from appliance.network.steps import Step
from appliance.network.values import Address, Kind, Link, Route, Shape, State, Wanted
from tests.network.kinds import KINDS
from tests.support.namespaces import ours
from tests.support.network_states import PERMANENT, a_wish, is_contradictory

pytestmark = pytest.mark.usefixtures("hardware")


def now() -> State:
    with IPRoute() as ip:
        return ours(read(ip))


def with_cables(wanted: Wanted) -> Wanted:
    """The far ends of the cables are hardware of this namespace, too: they stay as they are."""
    with IPRoute() as ip:
        far = {name: link for name, link in read(ip).links.items() if name.startswith("far-")}
    return replace(wanted, links=wanted.links | far)


def port(name: str, **settings: object) -> Link:
    return replace(Link(name, Kind.PHYSICAL, mac=PERMANENT[name], mtu=1500, up=True), **settings)


def one_address(ip: str, link: str = "eth0", gateway: str = "") -> Wanted:
    links = {"eth0": port("eth0")}
    if link == "br0":
        links = {"eth0": port("eth0", master="br0"), "br0": Link("br0", Kind.BRIDGE, mtu=1500, up=True)}
    routes = (Route("0.0.0.0/0", link, gateway),) if gateway else ()
    return with_cables(Wanted(links, (Address(link, ip),), routes))


def stop_at(number: int, how: Callable[[], None]) -> Callable[[Step], None]:
    """Lets steps pass until `number` of them are done."""
    passed = 0

    def watch(step: Step) -> None:
        nonlocal passed
        if passed == number:
            how()
        passed += 1

    return watch


def fail() -> None:
    raise RuntimeError("the power supply smells")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(number: int, wanted: Wanted, journal_file: Path) -> bool:
    """Applies in a child that kills itself after so many steps; False: it was done before that."""
    pid = os.fork()
    if not pid:
        apply(wanted, journal_file, stop_at(number, die))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) != 0


def unchanged(state: State) -> tuple[object, ...]:
    """What must be as before after an undo: the kernel may choose MACs of virtual links anew, and carriers settle."""
    links = {
        name: replace(link, carrier=False, mac=link.mac if link.kind is Kind.PHYSICAL and not link.master else "")
        for name, link in state.links.items()
    }
    return links, set(state.addresses), set(state.routes)


@pytest.mark.parametrize("seed", range(8))
def test_applying_twice_changes_nothing(seed: int, journal_file: Path) -> None:
    dice = Random(seed)
    for _ in range(3):
        wanted = with_cables(a_wish(dice, KINDS))
        try:
            apply(wanted, journal_file)
        except Unplannable as error:
            if not is_contradictory(error):
                raise
            continue
        assert apply(wanted, journal_file) == []
        assert not journal_file.exists()


@pytest.mark.parametrize("seed", range(4))
def test_an_error_at_any_step_brings_the_old_state_back(seed: int, journal_file: Path) -> None:
    dice = Random(100 + seed)
    apply(with_cables(a_wish(dice, KINDS)), journal_file)
    before = now()
    wanted = with_cables(a_wish(dice, KINDS))
    for number in range(0, len(plan_from_here(wanted)), 3):
        with pytest.raises(ApplyFailed, match="smells; the old state is back") as failure:
            apply(wanted, journal_file, stop_at(number, fail))
        assert failure.value.undone
        assert unchanged(now()) == unchanged(before)
        assert not journal_file.exists()


@pytest.mark.parametrize("seed", range(4))
def test_an_apply_that_was_killed_is_undone_at_the_next_start(seed: int, journal_file: Path) -> None:
    dice = Random(200 + seed)
    apply(with_cables(a_wish(dice, KINDS)), journal_file)
    before = now()
    wanted = with_cables(a_wish(dice, KINDS))
    for number in range(0, len(plan_from_here(wanted)), 4):
        assert killed_at(number, wanted, journal_file)
        assert recover(journal_file)
        assert unchanged(now()) == unchanged(before)
        assert not recover(journal_file)
    apply(wanted, journal_file)
    assert apply(wanted, journal_file) == []


def plan_from_here(wanted: Wanted) -> list[Step]:
    with IPRoute() as ip:
        return plan(read(ip), wanted)


def test_what_was_killed_can_also_be_completed_at_once(journal_file: Path) -> None:
    apply(one_address("192.0.2.5/24"), journal_file)
    wanted = one_address("192.0.2.5/24", "br0", "192.0.2.1")
    assert killed_at(3, wanted, journal_file)
    apply(wanted, journal_file)
    assert apply(wanted, journal_file) == []
    assert not recover(journal_file)


def test_what_the_kernel_refuses_is_undone_and_said(journal_file: Path) -> None:
    apply(one_address("192.0.2.5/24", gateway="192.0.2.1"), journal_file)
    before = now()
    wanted = one_address("198.51.100.5/24")
    wanted.links["eth1"] = port("eth1", mtu=1 << 20)
    with pytest.raises(ApplyFailed, match="cannot set MTU of eth1 to 1048576: .*; the old state is back"):
        apply(wanted, journal_file)
    assert unchanged(now()) == unchanged(before)


def test_a_kind_of_link_that_the_kernel_does_not_know_is_undone_and_said(journal_file: Path) -> None:
    apply(one_address("192.0.2.5/24", gateway="192.0.2.1"), journal_file)
    before = now()
    wanted = one_address("198.51.100.5/24")
    # A VLAN number that no frame can carry stands for whatever a kernel was built without.
    wanted.links["far-off"] = Link("far-off", Kind.VLAN, Shape(parent="eth0", vlan_id=4095), mtu=1500, up=True)
    with pytest.raises(ApplyFailed, match="cannot create far-off"):
        apply(wanted, journal_file)
    assert unchanged(now()) == unchanged(before)


def test_the_box_can_be_reached_all_the_time_while_its_address_changes(journal_file: Path) -> None:
    old, new = one_address("192.0.2.5/24", gateway="192.0.2.1"), one_address("198.51.100.5/24", gateway="198.51.100.1")
    apply(old, journal_file)

    def watch(step: Step) -> None:
        state = now()
        ways = {(address, route.link) for address in state.addresses for route in state.routes}
        assert {(wanted.addresses[0], "eth0") for wanted in (old, new)} & ways, step
        assert state.links["eth0"].up, step

    assert apply(new, journal_file, watch)


def test_the_old_address_stays_until_the_bridge_has_it(journal_file: Path) -> None:
    old, new = one_address("192.0.2.5/24", gateway="192.0.2.1"), one_address("192.0.2.5/24", "br0", "192.0.2.1")
    apply(old, journal_file)
    apply(new, journal_file, lambda step: check(any(a.ip == "192.0.2.5/24" for a in now().addresses), step))
    assert now().addresses.keys() == {Address("br0", "192.0.2.5/24")}
    apply(old, journal_file, lambda step: check(any(a.ip == "192.0.2.5/24" for a in now().addresses), step))
    assert "br0" not in now().links


def check(holds: bool, step: Step) -> None:
    assert holds, step


def test_what_a_lease_brought_is_left_to_the_client_as_long_as_one_is_wanted(journal_file: Path) -> None:
    wanted = replace(one_address("192.0.2.5/24"), leased=frozenset({("eth0", 4)}))
    apply(wanted, journal_file)
    with IPRoute() as ip:
        index = ip.link_lookup(ifname="eth0")[0]
        ip.addr("add", index=index, address="198.51.100.9", prefixlen=24, preferred_lft=600, valid_lft=600)
        ip.route("add", dst="0.0.0.0/0", gateway="198.51.100.1", oif=index, priority=1024, proto=16)
    assert apply(wanted, journal_file) == []
    apply(one_address("192.0.2.5/24"), journal_file)
    assert now().addresses.keys() == {Address("eth0", "192.0.2.5/24")}
    assert not now().routes


def test_a_journal_that_cannot_be_written_stops_the_apply_before_its_first_step(tmp_path: Path) -> None:
    before = now()
    with pytest.raises(OSError):
        apply(one_address("192.0.2.5/24"), tmp_path / "missing" / "network.journal")
    assert unchanged(now()) == unchanged(before)


def test_half_a_journal_counts_as_none(journal_file: Path) -> None:
    journal_file.write_text('{"links": {"eth')
    assert not recover(journal_file)
    assert not journal_file.exists()
