"""The model of the kernel that plans are made on is the kernel: after every step of many plans both show the same."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace
from pyroute2 import IPRoute

from appliance.network.kernel import after
from appliance.network.plan import Unplannable, plan
from appliance.network.read import read
from appliance.network.requests import perform
from appliance.network.values import Kind, Link, State
from tests.network.kinds import KINDS
from tests.support.namespaces import ours
from tests.support.network_states import PERMANENT, a_wish, is_contradictory


def known(model: State, kernel: State) -> State:
    """`kernel`, with a blank wherever the model says that it cannot know."""

    def blanked(link: Link) -> Link:
        guess = model.links.get(link.name, link)
        return replace(
            link,
            mac=guess.mac and link.mac,
            mtu=guess.mtu and link.mtu,
            permanent_mac=guess.permanent_mac,
            mac_is_set=guess.mac_is_set,
            carrier=guess.carrier,
        )

    return replace(kernel, links={name: blanked(link) for name, link in kernel.links.items()})


@pytest.mark.usefixtures("hardware")
@pytest.mark.parametrize("seed", range(12))
def test_the_kernel_does_what_the_model_says(seed: int) -> None:
    dice = Random(seed)
    with IPRoute() as ip:
        for _ in range(3):
            state = ours(read(ip))
            try:
                steps = plan(state, a_wish(dice, KINDS))
            except Unplannable as error:
                if not is_contradictory(error):
                    raise
                continue
            for step in steps:
                state = after(state, step)
                perform(ip, step)
                there = ours(read(ip))
                kernel = known(state, there)
                assert kernel.links == state.links, step
                assert kernel.addresses == state.addresses, step
                assert kernel.routes == state.routes, step
                # What the model could not know is known from here on, as it is to a plan that reads anew.
                state = replace(state, links=there.links)


@pytest.mark.usefixtures("hardware")
def test_hardware_is_read_as_it_is() -> None:
    with IPRoute() as ip:
        links = read(ip).links
    assert {name: links[name].mac for name in PERMANENT} == PERMANENT
    assert {links[name].kind for name in PERMANENT} == {Kind.PHYSICAL}
    assert {(links[name].mtu, links[name].up, links[name].carrier) for name in PERMANENT} == {(1500, False, False)}
    assert "lo" not in links
