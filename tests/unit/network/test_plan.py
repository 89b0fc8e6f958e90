"""Plans lead where they should from any state, also from the middle of another plan, and disturb nothing twice."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from appliance.network.kernel import after
from appliance.network.plan import Unplannable, feasible, plan, way_back
from appliance.network.steps import Step
from appliance.network.values import Kind, Origin, State, Wanted
from tests.support.network_states import states, wishes

MANY = settings(max_examples=1500, deadline=None)


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


def planned(now: State, wanted: Wanted) -> list[Step] | None:
    """None: the wish contradicts itself, as some that hypothesis makes up do."""
    try:
        return plan(now, wanted)
    except Unplannable as error:
        if "own address" not in str(error):
            raise
        event("contradiction")
        return None


@MANY
@given(states(), wishes())
def test_a_plan_leads_to_what_is_wanted(now: State, wanted: Wanted) -> None:
    steps = planned(now, wanted)
    if steps is not None:
        assert shortcomings(carried_out(now, steps), wanted) == []


@MANY
@given(states(), wishes())
def test_planning_again_changes_nothing(now: State, wanted: Wanted) -> None:
    steps = planned(now, wanted)
    if steps is not None:
        assert plan(carried_out(now, steps), wanted) == []


@MANY
@given(states(), wishes(), st.data())
def test_a_plan_that_broke_off_anywhere_is_completed_by_a_new_one(now: State, wanted: Wanted, data: st.DataObject) -> None:
    steps = planned(now, wanted)
    if steps is not None:
        middle = carried_out(now, steps[: data.draw(st.integers(0, len(steps)))])
        assert shortcomings(carried_out(middle, plan(middle, wanted)), wanted) == []


@MANY
@given(states(), wishes(), st.data())
def test_a_plan_that_broke_off_anywhere_is_undone(now: State, wanted: Wanted, data: st.DataObject) -> None:
    steps = planned(now, wanted)
    if steps is None:
        return
    middle = carried_out(now, steps[: data.draw(st.integers(0, len(steps)))])
    back = way_back(now, wanted)
    restored = carried_out(middle, plan(middle, back))
    assert shortcomings(restored, back) == []
    assert set(restored.addresses) == set(now.addresses)
    assert set(restored.routes) == set(now.routes)
    for name, link in now.links.items():
        for key in ("kind", "shape", "mtu", "up", "master"):
            assert getattr(restored.links[name], key) == getattr(link, key)
