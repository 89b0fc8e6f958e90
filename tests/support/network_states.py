"""Networks made up by hypothesis: states that a kernel could be in, and such as somebody could want."""

from __future__ import annotations

from hypothesis import strategies as st

from appliance.network.values import Address, Kind, Link, Origin, Route, Shape, State, Wanted

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


@st.composite
def links(draw: st.DrawFn, kinds: frozenset[Kind], mtus: tuple[int, ...]) -> dict[str, Link]:
    found: dict[str, Link] = {}
    names = {Kind.BOND: ("bond0", "bond1"), Kind.BRIDGE: ("br0", "br1")}
    for kind in (Kind.BOND, Kind.BRIDGE):
        for name in names[kind] if kind in kinds else ():
            if draw(st.booleans()):
                shape = Shape(stp=draw(st.booleans()))
                if kind is Kind.BOND:
                    shape = Shape(bond_mode=draw(st.sampled_from(BOND_MODES)), miimon_ms=100)
                mtu = draw(st.sampled_from(mtus))
                found[name] = Link(name, kind, shape, mac=MACS[0], mtu=mtu, up=draw(st.booleans()))
    bridges = [name for name, link in found.items() if link.kind is Kind.BRIDGE]
    for name in [name for name, link in found.items() if link.kind is Kind.BOND and bridges]:
        found[name] = replaced(found[name], master=draw(st.sampled_from(["", *bridges])))
    masters = [name for name in found]
    for name in PHYSICAL:
        if not draw(st.booleans()):
            continue
        master = draw(st.sampled_from(["", *masters]))
        bond = found[master] if master and found[master].kind is Kind.BOND else None
        mac = bond.mac if bond else draw(st.sampled_from([PERMANENT[name], *MACS]))
        mtu = bond.mtu if bond else draw(st.sampled_from(mtus))
        up = draw(st.booleans()) or bond is not None
        found[name] = Link(name, Kind.PHYSICAL, Shape(), mac, mtu, up, master, PERMANENT[name])
    if Kind.VLAN in kinds:
        draw(vlans(found, mtus))
    return found


@st.composite
def vlans(draw: st.DrawFn, found: dict[str, Link], mtus: tuple[int, ...]) -> None:
    bridges = [name for name, link in found.items() if link.kind is Kind.BRIDGE]
    numbers = set()
    for name in ("va", "vb", "vc"):
        if not found or draw(st.booleans()):
            continue
        parent = found[draw(st.sampled_from(list(found)))]
        number = (parent.name, draw(st.sampled_from((5, 6))))
        if number in numbers:
            continue
        numbers.add(number)
        allowed = ["", *(b for b in bridges if not stands_on(found, parent.name, b))]
        mtu = min(parent.mtu, draw(st.sampled_from(mtus)))
        up = parent.up and draw(st.booleans())
        found[name] = Link(
            name, Kind.VLAN, Shape(parent=number[0], vlan_id=number[1]), MACS[1], mtu, up, draw(st.sampled_from(allowed))
        )


def stands_on(found: dict[str, Link], name: str, base: str) -> bool:
    link = found[name]
    below = [link.shape.parent] if link.kind is Kind.VLAN else [o.name for o in found.values() if o.master == name]
    return name == base or any(stands_on(found, other, base) for other in below)


def replaced(link: Link, master: str) -> Link:
    return Link(link.name, link.kind, link.shape, link.mac, link.mtu, link.up, master)


ALL_KINDS = frozenset((Kind.VLAN, Kind.BOND, Kind.BRIDGE))


@st.composite
def states(
    draw: st.DrawFn, kinds: frozenset[Kind] = ALL_KINDS, mtus: tuple[int, ...] = MTUS, origins: tuple[Origin, ...] = ()
) -> State:
    """A state as `read` could have read it."""
    found = draw(links(kinds, mtus))
    origin = st.sampled_from(origins or tuple(Origin))
    addresses: dict[Address, Origin] = {}
    routes: dict[Route, Origin] = {}
    for name in found:
        numbers = set()
        for ip in draw(st.lists(st.sampled_from(IPS), max_size=3, unique=True)):
            number = ip.partition("/")[0]
            if number not in numbers:
                numbers.add(number)
                addresses[Address(name, ip)] = draw(origin)
    ours = {str(address.interface.ip) for address in addresses}
    up = [name for name, link in found.items() if link.up]
    for destination in DESTINATIONS:
        for metric in (50, 100):
            version = 6 if ":" in destination else 4
            gateway = draw(st.sampled_from(GATEWAYS[version]))
            if up and gateway not in ours and draw(st.booleans()):
                routes[Route(destination, draw(st.sampled_from(up)), gateway, metric)] = draw(origin)
    return State(found, addresses, routes)


@st.composite
def wishes(draw: st.DrawFn, kinds: frozenset[Kind] = ALL_KINDS, mtus: tuple[int, ...] = MTUS) -> Wanted:
    """Something to want; hardware in it need not be there."""
    state = draw(states(kinds, mtus))
    found = {}
    for name, link in state.links.items():
        keeps = link.kind is Kind.PHYSICAL or draw(st.booleans())
        found[name] = Link(name, link.kind, link.shape, link.mac if keeps else "", link.mtu, link.up, link.master)
    leases = st.tuples(st.sampled_from(list(found) or ["eth0"]), st.sampled_from((4, 6)))
    return Wanted(found, tuple(state.addresses), tuple(state.routes), draw(st.frozensets(leases, max_size=2)))
