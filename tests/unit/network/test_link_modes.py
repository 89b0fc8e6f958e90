"""Speed and duplex as the kernel's ethtool has them: the requests octet by octet, replies by pyroute2's own classes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from pyroute2.netlink.generic.ethtool import ethtool_linkmode_msg

from appliance.network.ethtool import Settings, bits_set, request, settings_of
from appliance.network.link_modes import Held, held_to
from appliance.network.values import LinkMode

HALF100, FULL100, FULL1000 = LinkMode(100, False), LinkMode(100), LinkMode(1000)
COPPER = {2: HALF100, 3: FULL100, 5: FULL1000}
NAMES = {2: "100baseT/Half", 3: "100baseT/Full", 5: "1000baseT/Full", 6: "Autoneg", 7: "TP", 13: "Pause"}
HEADER = "05 01 0000" "1000 0180 0900 0200 65746830 00 000000"
"""LINKMODES_SET, version 1; in it ETHTOOL_A_LINKMODES_HEADER with ETHTOOL_A_HEADER_DEV_NAME "eth0"."""


def encoded(**attributes: object) -> bytes:
    message = request("eth0", **attributes)
    message.encode()
    return bytes(message.data[16:])  # behind nlmsghdr, which the socket fills in


def reply(speed: int, duplex: int, *, negotiates: bool, offered: Iterable[int], supported: Iterable[int]) -> Settings:
    """What is read from a message that went over the wire, so to say."""
    sent = ethtool_linkmode_msg()
    bits = []
    for number in supported:
        bit = [["ETHTOOL_A_BITSET_BIT_INDEX", number], ["ETHTOOL_A_BITSET_BIT_NAME", NAMES[number]]]
        bit += [["ETHTOOL_A_BITSET_BIT_VALUE", True]] if number in offered else []
        bits.append(["ETHTOOL_A_BITSET_BITS_BIT", {"attrs": bit}])
    sent["attrs"] = [
        ["ETHTOOL_A_LINKMODES_HEADER", {"attrs": [["ETHTOOL_A_HEADER_DEV_INDEX", 7]]}],
        ["ETHTOOL_A_LINKMODES_AUTONEG", int(negotiates)],
        ["ETHTOOL_A_LINKMODES_OURS", {"attrs": [["ETHTOOL_A_BITSET_BITS", {"attrs": bits}]]}],
        ["ETHTOOL_A_LINKMODES_SPEED", speed],
        ["ETHTOOL_A_LINKMODES_DUPLEX", duplex],
    ]
    sent.encode()
    received = ethtool_linkmode_msg(sent.data)
    received.decode()
    return settings_of(received)


def test_a_port_is_told_speed_and_duplex_by_their_attributes() -> None:
    said = bytes.fromhex(HEADER + "0500 0200 00 000000" "0800 0500 64000000" "0500 0600 01 000000")
    assert encoded(AUTONEG=0, SPEED=100, DUPLEX=1) == said


def test_a_request_to_change_nothing_names_the_port_alone() -> None:
    assert encoded() == bytes.fromhex(HEADER)


def test_modes_to_offer_are_set_bit_by_bit() -> None:
    bits = "".join(f"1000 0180 0800 0100 {number:02x}000000 0400 0300" for number in (3, 5))
    said = bytes.fromhex(HEADER + "0500 0200 01 000000" + "2800 0380" + "2400 0380" + bits)
    assert encoded(AUTONEG=1, OURS=bits_set([3, 5])) == said


def test_a_reply_tells_what_is_offered_and_what_could_be() -> None:
    found = reply(1000, 1, negotiates=True, offered=[3, 6], supported=NAMES)
    assert found == Settings(7, True, 1000, 1, {3: FULL100}, COPPER, can_negotiate=True)
    assert found.mode == FULL1000
    unknown = reply(0xFFFFFFFF, 255, negotiates=False, offered=[], supported=[])
    assert unknown == Settings(7) and unknown.mode is None


def settings(mode: LinkMode | None, **more: object) -> Settings:
    speed, duplex = (mode.speed_mbit, int(mode.full_duplex)) if mode else (0xFFFFFFFF, 255)
    return Settings(7, speed_mbit=speed, duplex=duplex, **more)  # type: ignore[arg-type]


COPPER_PORT = {"supported": COPPER, "can_negotiate": True}


@pytest.mark.parametrize(
    ("found", "ours", "held"),
    [
        (settings(FULL1000, negotiates=True, offered=COPPER, **COPPER_PORT), None, None),
        (settings(FULL1000, negotiates=True, offered={5: FULL1000}, **COPPER_PORT), None, FULL1000),
        (settings(FULL100, negotiates=True, offered={2: HALF100, 3: FULL100}, **COPPER_PORT), None, None),
        (settings(HALF100, **COPPER_PORT), None, HALF100),
        (settings(None, **COPPER_PORT), HALF100, HALF100),
        (settings(None, **COPPER_PORT), None, LinkMode(0)),
        (settings(FULL1000), None, None),
        (settings(FULL1000), FULL1000, FULL1000),
        (settings(FULL1000), FULL100, FULL1000),
        (settings(None), FULL100, FULL100),
    ],
    ids=[
        *("negotiates", "offers one of many", "offers some of many", "is forced, by whomever"),
        *("forced by us, without a cable", "forced by somebody, without a cable", "virtual, as it was made"),
        *("virtual, set by us", "virtual, changed since", "virtual, unknown"),
    ],
)
def test_to_what_a_port_is_held(found: Settings, ours: LinkMode | None, held: LinkMode | None) -> None:
    assert held_to(found, Held(ours, 0, 0) if ours else None) == held


def test_a_port_that_can_do_one_thing_only_is_held_to_it_where_we_said_so() -> None:
    found = settings(
        FULL1000, negotiates=True, offered={5: FULL1000}, supported={5: FULL1000, 41: FULL1000}, can_negotiate=True
    )
    assert held_to(found, None) is None
    assert held_to(found, Held(FULL1000, 0, 0)) == FULL1000


def test_a_change_that_broke_off_leaves_a_port_that_nobody_knows() -> None:
    assert held_to(settings(FULL1000), Held(None, 0, 0)) == LinkMode(0)
