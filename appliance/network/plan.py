"""From how the network is to how it is wanted: the ordered steps. A pure function, (now, wanted) -> steps.

New things come before old ones go: addresses and routes are added first, stale ones and unwanted links are removed
last, so that whoever configures the box over the network is cut off only where a port itself must change hands, and
no longer than it takes. Each step is tried on `kernel`'s model, so that side effects (a link that goes down loses its
routes) are repaired by later steps. Planning back to a snapshot (`way_back`) is the undo. Called by `apply`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from appliance.network import steps
from appliance.network.kernel import Refused, after
from appliance.network.steps import Step
from appliance.network.values import VIRTUAL, Abilities, Address, Kind, Link, LinkMode, Origin, Route, State, Wanted

_MANAGED = VIRTUAL | {Kind.PHYSICAL}
_MAX_ROUNDS = 8
"""More than any state has been seen to need; a plan that does not settle is a defect."""


class Unplannable(ValueError):
    """What is wanted cannot be had here; `str()` says why."""


def plan(now: State, wanted: Wanted) -> list[Step]:
    """Steps that lead from `now` to `wanted`; none if nothing is to do. What hardware is missing for is left out.

    Raises:
        Unplannable: `wanted` contradicts itself or the hardware.
    """
    goal = feasible(now, wanted)
    _refuse_contradictions(now, goal)
    planner = _Planner(now, goal)
    for _ in range(_MAX_ROUNDS):
        done = len(planner.steps)
        planner.round()
        if len(planner.steps) == done:
            if planner.postponed is not None:
                raise planner.postponed
            return planner.steps
    raise Unplannable("the plan does not settle: " + "; ".join(map(str, planner.steps[-3:])))


def way_back(before: State, wanted: Wanted) -> Wanted:
    """`before` as something to plan for, after steps towards `wanted`, whole or in part.

    Leases come back as plain addresses: the box stays reachable until the client has asked again.
    """
    links = {}
    for link in before.links.values():
        if link.kind not in _MANAGED:
            continue
        set_by_us = link.name in wanted.links and wanted.links[link.name].mac
        keeps_mac = link.kind is Kind.PHYSICAL or bool(set_by_us)
        held = link.held if link.held and link.held.speed_mbit else None
        links[link.name] = replace(link, mac=link.mac if keeps_mac else "", held=held)
    entries: list[tuple[Address | Route, Origin]] = [*before.addresses.items(), *before.routes.items()]
    return Wanted(
        links,
        tuple(address for address in before.addresses if address.link in links),
        tuple(route for route in before.routes if route.link in links),
        frozenset((entry.link, entry.version) for entry, origin in entries if origin is Origin.LEASED),
    )


def feasible(now: State, wanted: Wanted) -> Wanted:
    """`wanted` without what stands on hardware that is not there, and with what follows from the rest made plain."""
    links = {
        name: link
        for name, link in wanted.links.items()
        if link.kind in VIRTUAL or (name in now.links and now.links[name].kind is Kind.PHYSICAL)
    }
    while orphans := [name for name, link in links.items() if link.shape.parent and link.shape.parent not in links]:
        for name in orphans:
            del links[name]
    for name in _parents_first(links):
        link = links[name]
        master = links.get(link.master)
        if master is None:
            link = replace(link, master="")
        elif master.kind is Kind.BOND:
            link = replace(link, up=True, mtu=master.mtu, mac="")
        if link.shape.parent:
            parent = links[link.shape.parent]
            link = replace(link, up=link.up and parent.up, mtu=min(link.mtu, parent.mtu))
        links[name] = link
    up = {name for name, link in links.items() if link.up}
    return Wanted(
        links,
        tuple(dict.fromkeys(address for address in wanted.addresses if address.link in links)),
        tuple(dict.fromkeys(route for route in wanted.routes if route.link in up)),
        wanted.leased,
    )


def _refuse_contradictions(now: State, goal: Wanted) -> None:
    for name, link in goal.links.items():
        there = now.links.get(name)
        if link.kind in VIRTUAL and there is not None and there.kind not in VIRTUAL:
            raise Unplannable(f"{name} is wanted as a {link.kind.value}, but it is {there.kind.value}")
        if not link.mtu:
            raise Unplannable(f"{name} is wanted without an MTU")
        if link.up and link.held and there is not None:
            _refuse_what_the_port_cannot(name, link.held, there.abilities)
    if any(address.number == route.gateway for address in goal.addresses for route in goal.routes):
        raise Unplannable("a gateway is one of our own addresses")
    if len({route.place for route in goal.routes}) < len(goal.routes):
        raise Unplannable("two routes are wanted to one destination with the same metric")
    if len({(a.link, a.number) for a in goal.addresses}) < len(goal.addresses):
        raise Unplannable("an address is wanted twice on one link")


class _Planner:
    """The steps so far, and the state that they lead to."""

    def __init__(self, now: State, goal: Wanted) -> None:
        self.state = now
        self.goal = goal
        self.steps: list[Step] = []
        self.postponed: Unplannable | None = None
        self.order = _parents_first(goal.links)

    def round(self) -> None:
        """All passes once.

        Each looks at what the ones before have led to, and does nothing where nothing is to do.
        """
        self.postponed = None
        self._clear_the_way()
        self._create()
        self._set_mtu(self.order, only_up=True)
        self._set_macs()
        self._change_ports()
        self._set_mtu(self.order, only_up=True)
        self._set_up()
        self._hold_modes()
        self._set_mtu(reversed(self.order), only_up=False)
        self._add_addresses()
        self._add_routes()
        self._remove_stale()
        self._set_down()
        self._delete_links()

    def _do(self, step: Step) -> None:
        try:
            self.state = after(self.state, step)
        except Refused as error:
            raise Unplannable(f"cannot {step}: {error}") from error
        self.steps.append(step)

    def _link(self, name: str) -> Link:
        return self.state.links[name]

    def _managed(self) -> list[Link]:
        return [link for link in self.state.links.values() if link.kind in _MANAGED]

    def _clear_the_way(self) -> None:
        """Deletes links that must be made anew, and VLANs that have the number of one that is wanted."""
        numbers = {(link.shape.parent, link.shape.vlan_id): name for name, link in self.goal.links.items()}
        for link in self._managed():
            if link.kind not in VIRTUAL or link.name not in self.state.links:
                continue
            wanted = self.goal.links.get(link.name)
            number = (link.shape.parent, link.shape.vlan_id)
            other = wanted is not None and (wanted.kind, wanted.shape) != (link.kind, link.shape)
            if other or (link.kind is Kind.VLAN and numbers.get(number, link.name) != link.name):
                self._do(steps.DeleteLink(link.name))

    def _create(self) -> None:
        for name in self.order:
            if name not in self.state.links:
                self._do(steps.CreateLink(_bare(self.goal.links[name])))

    def _set_mtu(self, names: Iterable[str], *, only_up: bool) -> None:
        """Upwards from the parents first, downwards from their VLANs first: a VLAN never exceeds its parent."""
        for name in names:
            wanted, link = self.goal.links[name], self._link(name)
            master = self.goal.links.get(wanted.master)
            if master is not None and master.kind is Kind.BOND and link.master != wanted.master:
                continue  # it gets the bond's as it joins
            parent = self.state.links.get(link.shape.parent)
            if parent is not None and parent.mtu < wanted.mtu:
                continue  # the next round's
            if link.mtu < wanted.mtu or (not only_up and link.mtu != wanted.mtu):
                self._do(steps.SetMtu(name, wanted.mtu))

    def _set_macs(self) -> None:
        for name in self.order:
            wanted, link = self.goal.links[name], self._link(name)
            if not wanted.mac or wanted.mac == link.mac or self._is_bond_port(link):
                continue
            if link.kind is Kind.PHYSICAL and link.up:
                self._do(steps.SetUp(name, False))
            self._do(steps.SetMac(name, wanted.mac))

    def _is_bond_port(self, link: Link) -> bool:
        return bool(link.master) and self._link(link.master).kind is Kind.BOND

    def _change_ports(self) -> None:
        for link in self._managed():
            wanted = self.goal.links.get(link.name)
            if link.master and (wanted.master if wanted else "") != link.master:
                self._do(steps.SetMaster(link.name, ""))
        for name in self.order:
            master = self.goal.links[name].master
            if not master or self._link(name).master == master:
                continue
            if self._link(master).kind is Kind.BOND and self._link(name).up:
                self._do(steps.SetUp(name, False))
            self._do(steps.SetMaster(name, master))

    def _set_up(self) -> None:
        for name in self.order:
            if self.goal.links[name].up and not self._link(name).up:
                self._do(steps.SetUp(name, True))

    def _hold_modes(self) -> None:
        for name in self.order:
            wanted, link = self.goal.links[name], self._link(name)
            if link.kind is Kind.PHYSICAL and wanted.up and link.held != wanted.held:
                self._do(steps.HoldMode(name, wanted.held))

    def _add_addresses(self) -> None:
        for address in self.goal.addresses:
            if address in self.state.addresses:
                continue
            for other in list(self.state.addresses):
                # The kernel would refuse the same IPv6 address with another prefix.
                if (other.link, other.number, other.version) == (address.link, address.number, 6):
                    self._do(steps.DeleteAddress(other))
            self._do(steps.AddAddress(address))

    def _add_routes(self) -> None:
        for route in sorted(self.goal.routes, key=lambda route: bool(route.gateway)):
            if route in self.state.routes:
                continue
            try:
                self._do(steps.AddRoute(route))
            except Unplannable as error:
                # A stale address may be in the way; it is gone in the next round.
                self.postponed = error

    def _remove_stale(self) -> None:
        """Youngest first, so that a network's first address, which takes the others with it, goes last."""
        for route, origin in list(self.state.routes.items()):
            if route not in self.goal.routes and self._is_stale(route, origin):
                self._do(steps.DeleteRoute(route))
        for address, origin in reversed(list(self.state.addresses.items())):
            if address not in self.goal.addresses and self._is_stale(address, origin):
                self._do(steps.DeleteAddress(address))
                self._add_addresses()  # at once, what the kernel took away with it
                self._add_routes()

    def _is_stale(self, entry: Address | Route, origin: Origin) -> bool:
        link = self._link(entry.link)
        if link.kind not in _MANAGED or self.goal.spares(entry, origin):
            return False
        there = entry in self.state.addresses if isinstance(entry, Address) else entry in self.state.routes
        # What is on a link that will be deleted goes with it.
        return there and (entry.link in self.goal.links or link.kind is Kind.PHYSICAL)

    def _set_down(self) -> None:
        for link in self._managed():
            wanted = self.goal.links.get(link.name)
            unwanted = link.kind is Kind.PHYSICAL if wanted is None else not wanted.up
            if unwanted and self._link(link.name).up:
                self._do(steps.SetUp(link.name, False))

    def _delete_links(self) -> None:
        for name in reversed(_parents_first(self.state.links)):
            if name not in self.goal.links and self._link(name).kind in VIRTUAL:
                self._do(steps.DeleteLink(name))


def _refuse_what_the_port_cannot(name: str, mode: LinkMode, abilities: Abilities | None) -> None:
    if abilities is None or (abilities.settable and (not abilities.modes or mode in abilities.modes)):
        return
    remedy = "write one of these, or remove speed_mbit" if abilities.settable else "remove speed_mbit"
    raise Unplannable(f"{name} cannot be held to {mode}: {abilities.in_words()}; {remedy}")


def _bare(link: Link) -> Link:
    """`link` as `CreateLink` takes it."""
    return Link(link.name, link.kind, link.shape, mac=link.mac)


def _parents_first(links: dict[str, Link]) -> list[str]:
    """Names in an order in which VLANs come after what they stand on, and ports before their bridges.

    Raises:
        Unplannable: they stand on each other.
    """
    order: dict[str, None] = {}

    def bases(link: Link) -> Iterator[str]:
        if link.shape.parent in links:
            yield link.shape.parent
        master = links.get(link.master)
        if link.kind is Kind.PHYSICAL and master is not None and master.kind is Kind.BOND:
            yield link.master  # the bond decides the MTU

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise Unplannable(f"{name} stands on itself")
        if name not in order:
            for base in bases(links[name]):
                visit(base, (*above, name))
            if links[name].kind is Kind.BRIDGE:
                for port in [link.name for link in links.values() if link.master == name]:
                    visit(port, (*above, name))
            order[name] = None

    for name in links:
        visit(name, ())
    return list(order)
