"""Plans lead where they should from any state, also from the middle of another plan, and disturb nothing twice."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.network.kernel import after
from appliance.network.plan import Unplannable, feasible, plan, way_back
from appliance.network.steps import DeleteAddress, DeleteRoute, HoldMode, SetUp, Step
from appliance.network.values import Abilities, Kind, Link, LinkMode, Origin, Route, State, Wanted
from tests.support.network_states import a_state, a_wish, is_contradictory, other_addressing, with_modes

MANY = settings(max_examples=1500, deadline=None)
SEEDS = st.integers(0, 2**64 - 1)


def carried_out(state: State, steps: list[Step]) -> State:
    for step in steps:
        state = after(state, step)
    return state


def shortcomings(state: State, wanted: Wanted) -> list[str]:
    """What in `state` is not as wanted; written apart from `plan`, which it judges."""
    goal = feasible(state, wanted)
    found = []
    for name, link in goal.links.items():
        there = state.links.get(name)
        if there is None:
            found.append(f"{name} is missing")
            continue
        for key in ("kind", "shape", "mtu", "up", "master"):
            if getattr(there, key) != getattr(link, key):
                found.append(f"{name}.{key} is {getattr(there, key)}, not {getattr(link, key)}")
        if link.mac and there.mac != link.mac:
            found.append(f"{name}.mac is {there.mac!r}")
        if link.up and there.held != link.held:
            found.append(f"{name} is held to {there.held}, not {link.held}")
    for name, link in state.links.items():
        if name not in goal.links and (link.kind is not Kind.PHYSICAL or link.up or link.master):
            found.append(f"{name} is still there")
    for entries, wishes_ in ((state.addresses, goal.addresses), (state.routes, goal.routes)):
        found += [f"{wish} is missing" for wish in wishes_ if wish not in entries]
        for entry, origin in entries.items():
            allowed = origin is not Origin.OURS and (entry.link, entry.version) in wanted.leased
            if entry not in wishes_ and not allowed:
                found.append(f"{entry} is still there")
    return found


def a_case(seed: int) -> tuple[State, Wanted, list[Step]]:
    """Now, wanted and the plan; wishes that contradict themselves are passed over."""
    dice = Random(seed)
    while True:
        now, wanted = a_state(dice), a_wish(dice)
        now = replace(now, links=with_modes(dice, now.links))
        wanted = replace(wanted, links=with_modes(dice, wanted.links))
        try:
            return now, wanted, plan(now, wanted)
        except Unplannable as error:
            if not is_contradictory(error):
                raise


@MANY
@given(SEEDS)
def test_a_plan_leads_to_what_is_wanted_and_then_there_is_nothing_to_do(seed: int) -> None:
    now, wanted, steps = a_case(seed)
    reached = carried_out(now, steps)
    assert shortcomings(reached, wanted) == []
    assert plan(reached, wanted) == []


@MANY
@given(SEEDS, st.floats(0, 1))
def test_a_plan_that_broke_off_anywhere_is_completed_by_a_new_one(seed: int, part: float) -> None:
    now, wanted, steps = a_case(seed)
    middle = carried_out(now, steps[: round(part * len(steps))])
    assert shortcomings(carried_out(middle, plan(middle, wanted)), wanted) == []


@MANY
@given(SEEDS, st.floats(0, 1))
def test_a_plan_that_broke_off_anywhere_is_undone(seed: int, part: float) -> None:
    now, wanted, steps = a_case(seed)
    middle = carried_out(now, steps[: round(part * len(steps))])
    back = way_back(now, wanted)
    restored = carried_out(middle, plan(middle, back))
    assert shortcomings(restored, back) == []
    assert (restored.addresses.keys(), restored.routes.keys()) == (now.addresses.keys(), now.routes.keys())
    for name, link in now.links.items():
        for key in ("kind", "shape", "mtu", "up", "master"):
            assert getattr(restored.links[name], key) == getattr(link, key)
        assert restored.links[name].held == link.held or not link.up


@MANY
@given(SEEDS)
def test_what_is_wanted_comes_before_what_is_not_goes(seed: int) -> None:
    """On links that stay as they are; IPv6 addresses that change their prefix cannot but go first."""
    dice = Random(seed)
    now = a_state(dice)
    wanted = other_addressing(dice, now)
    try:
        steps = plan(now, wanted)
    except Unplannable as error:
        if not is_contradictory(error):
            raise
        return
    state = now
    for step in steps:
        if isinstance(step, DeleteRoute):
            assert state.addresses.keys() >= set(wanted.addresses)
        if isinstance(step, DeleteAddress) and step.address.number not in {a.number for a in wanted.addresses}:
            assert state.addresses.keys() >= set(wanted.addresses)
            assert all(route in state.routes or is_in_the_way(now, route) for route in wanted.routes)
        state = after(state, step)


def is_in_the_way(now: State, route: Route) -> bool:
    """Whether a stale address keeps the kernel from taking the route."""
    ip = ip_address(route.gateway) if route.gateway else None
    return ip is not None and any(a.number == route.gateway or ip in a.interface.network for a in now.addresses)


def eth0(held: LinkMode | None = None, abilities: Abilities | None = None, up: bool = True) -> dict[str, Link]:
    return {"eth0": Link("eth0", Kind.PHYSICAL, mtu=1500, up=up, held=held, abilities=abilities)}


def test_a_port_is_held_once_it_is_up_and_let_go_when_nobody_wants_it_any_more() -> None:
    steps = plan(State(eth0(up=False)), Wanted(eth0(LinkMode(100))))
    assert steps == [SetUp("eth0", True), HoldMode("eth0", LinkMode(100))]
    assert plan(State(eth0(LinkMode(100))), Wanted(eth0())) == [HoldMode("eth0", None)]


def test_a_port_that_is_switched_off_is_not_told_its_speed() -> None:
    assert plan(State(eth0(LinkMode(100), up=False)), Wanted(eth0(LinkMode(1000), up=False))) == []


@pytest.mark.parametrize(
    ("abilities", "says"),
    [
        (Abilities(False), "eth0 cannot be held to 1000 Mbit/s, half duplex: nobody can set its speed; remove"),
        (
            Abilities(True, (LinkMode(100, False), LinkMode(1000))),
            "eth0 cannot be held to 1000 Mbit/s, half duplex: it can do 100 half, 1000 full; write one of these, or",
        ),
    ],
)
def test_what_a_port_cannot_is_refused_before_anything_is_done(abilities: Abilities, says: str) -> None:
    with pytest.raises(Unplannable, match=says):
        plan(State(eth0(abilities=abilities)), Wanted(eth0(LinkMode(1000, False))))


def test_a_port_that_tells_nothing_is_tried() -> None:
    for abilities in (None, Abilities(True)):
        assert plan(State(eth0(abilities=abilities)), Wanted(eth0(LinkMode(2500))))


def test_the_way_back_from_settings_that_nobody_knows_is_negotiation() -> None:
    before = State(eth0(LinkMode(0)))
    assert way_back(before, Wanted(eth0(LinkMode(100)))).links["eth0"].held is None
