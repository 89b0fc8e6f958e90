"""Networks made up by a dice: states that a kernel could be in, and such as somebody could want.

A seed makes a network, so that thousands cost little and each can be had again.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec.structs import replace

from appliance.network.plan import Unplannable
from appliance.network.values import MASTERS, Address, Kind, Link, LinkMode, Origin, Route, Shape, State, Wanted

PHYSICAL = ("eth0", "eth1", "eth2", "eth3")
MTUS = (1280, 1500, 9000)
PERMANENT = {name: f"02:00:00:00:00:{index:02x}" for index, name in enumerate(PHYSICAL)}
MACS = [f"02:aa:00:00:00:{index:02x}" for index in range(3)]
IPS = [
    *("10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24", "10.0.0.2/16", "10.1.0.1/24"),
    *("2001:db8::1/64", "2001:db8::2/64", "2001:db8::1/48"),
]
DESTINATIONS = ("0.0.0.0/0", "198.51.100.0/24", "::/0", "2001:db8:ff::/48")
GATEWAYS = {4: ("", "10.0.0.1", "10.0.0.9"), 6: ("", "2001:db8::1", "2001:db8::9")}
BOND_MODES = ("active-backup", "802.3ad")
MODES = (None, None, LinkMode(100), LinkMode(100, False), LinkMode(1000))
ALL_KINDS = (Kind.BOND, Kind.BRIDGE, Kind.VLAN)


def a_state(
    dice: Random, kinds: Sequence[Kind] = ALL_KINDS, hardware: Sequence[str] = PHYSICAL, origins: Sequence[Origin] = ()
) -> State:
    """A state as `read` could have read it."""
    links = _links(dice, kinds, [name for name in hardware if dice.random() < 0.7])
    return State(links, *_entries(dice, links, origins or tuple(Origin)))


def a_wish(dice: Random, kinds: Sequence[Kind] = ALL_KINDS, hardware: Sequence[str] = PHYSICAL) -> Wanted:
    """Something to want; hardware in it need not be there."""
    state = a_state(dice, kinds, hardware)
    links = {
        name: link if link.kind is Kind.PHYSICAL or dice.random() < 0.5 else replace(link, mac="")
        for name, link in state.links.items()
    }
    leased = frozenset((name, version) for name in links for version in (4, 6) if dice.random() < 0.2)
    return Wanted(links, tuple(state.addresses), tuple(state.routes), leased)


def with_modes(dice: Random, links: dict[str, Link]) -> dict[str, Link]:
    """Some of the hardware is held to a mode."""
    return {
        name: replace(link, held=dice.choice(MODES)) if link.kind is Kind.PHYSICAL else link
        for name, link in links.items()
    }


def other_addressing(dice: Random, state: State) -> Wanted:
    """The links as they are, with other addresses and routes."""
    return Wanted(state.links, *map(tuple, _entries(dice, state.links, (Origin.OURS,))))


def _entries(
    dice: Random, links: dict[str, Link], origins: Sequence[Origin]
) -> tuple[dict[Address, Origin], dict[Route, Origin]]:
    addresses: dict[Address, Origin] = {}
    for name in links:
        numbers = set()
        for ip in dice.sample(IPS, dice.choice((0, 1, 1, 2, 3))):
            number = ip.partition("/")[0]
            if number not in numbers:
                numbers.add(number)
                addresses[Address(name, ip)] = dice.choice(origins)
    own = {address.number for address in addresses}
    up = [name for name, link in links.items() if link.up]
    routes: dict[Route, Origin] = {}
    for destination in DESTINATIONS:
        for metric in (50, 100):
            version = 6 if ":" in destination else 4
            gateway = dice.choice(GATEWAYS[version])
            # The kernel refuses an IPv6 gateway that it sees on another link.
            near = {a.link for a in addresses if version == 6 and gateway and a.version == 6} & set(up)
            if up and gateway not in own and dice.random() < 0.5:
                routes[Route(destination, dice.choice(sorted(near) or up), gateway, metric)] = dice.choice(origins)
    return addresses, routes


def is_contradictory(error: Unplannable) -> bool:
    """Whether the wish is to blame, which the dice do not look at as closely as `config.check` does."""
    return "own address" in str(error) or "on another link" in str(error)


def _links(dice: Random, kinds: Sequence[Kind], hardware: Sequence[str]) -> dict[str, Link]:
    links: dict[str, Link] = {}
    for kind, name in ((Kind.BRIDGE, "br0"), (Kind.BRIDGE, "br1"), (Kind.BOND, "bond0"), (Kind.BOND, "bond1")):
        if kind not in kinds or dice.random() < 0.6:
            continue
        bridge = kind is Kind.BRIDGE
        shape = Shape(stp=dice.random() < 0.5) if bridge else Shape(bond_mode=dice.choice(BOND_MODES), miimon_ms=100)
        master = "" if bridge else dice.choice(["", *links])
        master = master if master in links and links[master].kind is Kind.BRIDGE else ""
        links[name] = Link(name, kind, shape, MACS[0], dice.choice(MTUS), dice.random() < 0.6, master)
    masters = ["", *(name for name, link in links.items() if link.kind in MASTERS)]
    for name in hardware:
        master = dice.choice(masters)
        bond = links[master] if master and links[master].kind is Kind.BOND else None
        mac = bond.mac if bond else dice.choice((PERMANENT[name], PERMANENT[name], *MACS))
        mtu = bond.mtu if bond else dice.choice(MTUS)
        up = bond is not None or dice.random() < 0.6
        links[name] = Link(name, Kind.PHYSICAL, Shape(), mac, mtu, up, master, permanent_mac=PERMANENT[name])
    for name in ("va", "vb", "vc") if Kind.VLAN in kinds and links else ():
        parent, vlan_id = links[dice.choice(list(links))], dice.choice((5, 6))
        taken = any((link.shape.parent, link.shape.vlan_id) == (parent.name, vlan_id) for link in links.values())
        if taken or dice.random() < 0.4 or (parent.master and links[parent.master].kind is Kind.BOND):
            continue
        bridges = [n for n, link in links.items() if link.kind is Kind.BRIDGE and not _stands_on(links, parent.name, n)]
        mtu, up = min(parent.mtu, dice.choice(MTUS)), parent.up and dice.random() < 0.6
        shape = Shape(parent=parent.name, vlan_id=vlan_id)
        links[name] = Link(name, Kind.VLAN, shape, MACS[1], mtu, up, dice.choice(["", "", *bridges]))
    return links


def _stands_on(links: dict[str, Link], name: str, base: str) -> bool:
    link = links[name]
    below = [link.shape.parent] if link.kind is Kind.VLAN else [o.name for o in links.values() if o.master == name]
    return name == base or any(_stands_on(links, other, base) for other in below)
