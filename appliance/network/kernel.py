"""What Linux makes of each step: the state that follows, with all the side effects that a plan must reckon with.

A pure model. Where the kernel's answer depends on what cannot be seen from outside, the model takes the worse case for
addresses and routes (gone) and "cannot know" for a MAC or an MTU; a plan then says what it wants once more. The
network tests hold the model against a real kernel. Called by `plan`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec.structs import replace

from appliance.network import steps
from appliance.network.steps import Step
from appliance.network.values import MASTERS, VIRTUAL, Address, Kind, Link, LinkMode, Origin, Route, State

FIRST_MTU = 1500


class Refused(Exception):
    """The kernel would not do this step in this state; a plan that holds one is wrong."""


def after(state: State, step: Step) -> State:
    """The state that the step leads to.

    Raises:
        Refused: the kernel would answer with an error.
    """
    world = _World(state)
    match step:
        case steps.CreateLink(link):
            world.create(link)
        case steps.DeleteLink(name):
            world.delete(name)
        case steps.SetMaster(name, master):
            world.set_master(name, master)
        case steps.SetMtu(name, mtu):
            world.set_mtu(name, mtu)
        case steps.SetMac(name, mac):
            world.set_mac(name, mac)
        case steps.SetUp(name, up):
            world.set_up(name, up)
        case steps.HoldMode(name, mode):
            world.hold(name, mode)
        case steps.AddAddress(address):
            world.add_address(address)
        case steps.DeleteAddress(address):
            world.delete_address(address)
        case steps.AddRoute(route):
            world.add_route(route)
        case steps.DeleteRoute(route):
            world.delete_route(route)
    return State(world.links, world.addresses, world.routes)


class _World:
    """A state in change."""

    def __init__(self, state: State) -> None:
        self.links = dict(state.links)
        self.addresses = dict(state.addresses)
        self.routes = dict(state.routes)

    def create(self, link: Link) -> None:
        shape = link.shape
        if link.name in self.links or link.kind not in VIRTUAL:
            raise Refused(f"{link.name} is there already, or is hardware")
        mtu = FIRST_MTU
        if link.kind is Kind.VLAN:
            mtu = self._link(shape.parent).mtu
            if any(self.links[name].shape.vlan_id == shape.vlan_id for name in self._vlans_on(shape.parent)):
                raise Refused(f"VLAN {shape.vlan_id} on {shape.parent} has another name already")
        self.links[link.name] = Link(link.name, link.kind, shape, mac=link.mac, mtu=mtu, mac_is_set=bool(link.mac))

    def delete(self, name: str) -> None:
        link = self._link(name)
        if link.kind not in VIRTUAL:
            raise Refused(f"{name} is hardware")
        for vlan in self._vlans_on(name):
            self.delete(vlan)
        for port in self._ports_of(name):
            self._release(port)
        if link.master:
            self._ports_changed(link.master)
        del self.links[name]
        self._forget(name)

    def set_master(self, name: str, master: str) -> None:
        port = self._link(name)
        if port.master:
            self._release(name)
            port = self.links[name]
        if not master:
            return
        of = self._link(master)
        if of.kind not in MASTERS or port.kind is Kind.BRIDGE:
            raise Refused(f"{name} cannot be a port of {master}")
        if self._stands_on(name, master):
            raise Refused(f"{name} stands on {master}")
        if of.kind is Kind.BOND:
            if port.up or port.kind is not Kind.PHYSICAL:
                raise Refused(f"{name} must be down to join a bond, and hardware")
            # The bond sets it up, gives it its own MTU and MAC, and an empty one takes its first port's MAC.
            if not self._ports_of(master):
                self._ports_changed(master)
            self._cannot_know_mac(name)
            self.links[name] = replace(self.links[name], mtu=of.mtu, mac="", master=master)
            self.set_up(name, True)
            self._cannot_know_mtu(self._vlans_on(name))
        else:
            self.links[name] = replace(port, master=master)
            self._ports_changed(master)

    def _release(self, name: str) -> None:
        port = self.links[name]
        master = self.links[port.master]
        self.links[name] = replace(port, master="")
        if master.kind is Kind.BOND:
            # It is closed, and gets back the MTU and MAC from before it joined.
            self.set_up(name, False)
            self._cannot_know_mac(name)
            self._cannot_know_mtu([name])
        self._ports_changed(master.name)

    def set_mtu(self, name: str, mtu: int) -> None:
        link = self._link(name)
        if link.kind is Kind.VLAN:
            most = self._link(link.shape.parent).mtu
            if not most or mtu > most:
                raise Refused(f"an MTU of {mtu} is more than {link.shape.parent} can carry")
        self.links[name] = replace(link, mtu=mtu)
        for vlan in self._vlans_on(name):
            if not self.links[vlan].mtu or self.links[vlan].mtu > mtu:
                self.set_mtu(vlan, mtu)
        if link.kind is Kind.BOND:
            for port in self._ports_of(name):
                self.set_mtu(port, mtu)
        if link.master and self.links[link.master].kind is Kind.BRIDGE:
            self._cannot_know_mtu([link.master])

    def set_mac(self, name: str, mac: str) -> None:
        link = self._link(name)
        if link.kind is Kind.PHYSICAL and link.up:
            raise Refused(f"not every card changes its MAC while it is up; {name} must be down")
        self.links[name] = replace(link, mac=mac, mac_is_set=True)
        if link.kind is Kind.BOND:
            for port in self._ports_of(name):
                self.links[port] = replace(self.links[port], mac="")
        for other in (*self._vlans_on(name), *([link.master] if link.master else ())):
            self._cannot_know_mac(other)

    def set_up(self, name: str, up: bool) -> None:
        link = self._link(name)
        if up and link.kind is Kind.VLAN and not self._link(link.shape.parent).up:
            raise Refused(f"{link.shape.parent} is down, and {name} stands on it")
        self.links[name] = replace(link, up=up)
        if up and link.kind is Kind.VLAN:
            self._cannot_know_mac(name)  # while it was down it may have missed that its parent's changed
        if not up:
            self.routes = {route: origin for route, origin in self.routes.items() if route.link != name}
            self.addresses = {
                address: origin
                for address, origin in self.addresses.items()
                if address.link != name or address.version == 4
            }
        for vlan in self._vlans_on(name):  # VLANs follow, both ways
            if self.links[vlan].up != up:
                self.set_up(vlan, up)

    def hold(self, name: str, mode: LinkMode | None) -> None:
        link = self._link(name)
        if link.kind is not Kind.PHYSICAL or not link.up:
            raise Refused(f"not every card can be told its speed while it is down; {name} must be up, and hardware")
        self.links[name] = replace(link, held=mode)

    def add_address(self, address: Address) -> None:
        self._link(address.link)
        others = [other for other in self._addresses_of(address.link, 6) if other != address]
        # The kernel knows an IPv6 address of a link by its number alone, without the prefix.
        if any(other.number == address.number for other in others):
            raise Refused(f"{address.link} has {address.ip} with another prefix")
        self.addresses[address] = Origin.OURS

    def delete_address(self, address: Address) -> None:
        if address not in self.addresses:
            raise Refused(f"{address.ip} is not on {address.link}")
        if address.version == 4:
            kin = [a for a in self._addresses_of(address.link, 4) if a.interface.network == address.interface.network]
            if kin[0] == address:
                # The first of a network takes the others with it, unless net.ipv4.conf.*.promote_secondaries is set.
                for other in kin[1:]:
                    del self.addresses[other]
        del self.addresses[address]
        if address.version == 4 and not self._addresses_of(address.link, 4):
            self._forget_routes(route for route in self.routes if route.link == address.link and route.version == 4)

    def add_route(self, route: Route) -> None:
        if not self._link(route.link).up:
            raise Refused(f"{route.link} is down")
        if any(route.gateway == address.number for address in self.addresses):
            raise Refused(f"{route.gateway} is our own address")
        if route.gateway and route.version == 6 and self._is_elsewhere(route.gateway, route.link):
            raise Refused(f"{route.gateway} is on another link than {route.link}")
        self._forget_routes(other for other in self.routes if other.place == route.place)
        self.routes[route] = Origin.OURS

    def delete_route(self, route: Route) -> None:
        if route not in self.routes:
            raise Refused(f"no route {steps.route_in_words(route)}")
        del self.routes[route]

    def _link(self, name: str) -> Link:
        link = self.links.get(name)
        if link is None:
            raise Refused(f"there is no {name}")
        return link

    def _vlans_on(self, name: str) -> list[str]:
        return [link.name for link in self.links.values() if link.kind is Kind.VLAN and link.shape.parent == name]

    def _ports_of(self, name: str) -> list[str]:
        return [link.name for link in self.links.values() if link.master == name]

    def _stands_on(self, name: str, base: str) -> bool:
        """Whether `name` is a VLAN on `base`, or has such a one among its ports, through any number of storeys."""
        link = self.links[name]
        below = [link.shape.parent] if link.kind is Kind.VLAN else self._ports_of(name)
        return any(link_below == base or self._stands_on(link_below, base) for link_below in below)

    def _addresses_of(self, name: str, version: int) -> list[Address]:
        return [address for address in self.addresses if address.link == name and address.version == version]

    def _is_elsewhere(self, gateway: str, name: str) -> bool:
        """Whether an IPv6 gateway is in the network of other links that are up, and in none of link `name`'s."""
        ip = ipaddress.ip_address(gateway)
        on = {a.link for a in self.addresses if a.version == 6 and self.links[a.link].up and ip in a.interface.network}
        return bool(on) and name not in on

    def _ports_changed(self, master: str) -> None:
        self._cannot_know_mac(master)
        if self.links[master].kind is Kind.BRIDGE:
            self._cannot_know_mtu([master])

    def _cannot_know_mac(self, name: str) -> None:
        """Bridges and bonds without a MAC of their own take a port's, VLANs take their parent's, and so on upwards."""
        link = self.links[name]
        if link.kind in VIRTUAL and link.mac_is_set:
            return
        self.links[name] = replace(link, mac="")
        for other in (*self._vlans_on(name), *([link.master] if link.master else ())):
            self._cannot_know_mac(other)

    def _cannot_know_mtu(self, names: Iterable[str]) -> None:
        for name in names:
            self.links[name] = replace(self.links[name], mtu=0)
            self._cannot_know_mtu(self._vlans_on(name))

    def _forget(self, name: str) -> None:
        self.addresses = {address: origin for address, origin in self.addresses.items() if address.link != name}
        self._forget_routes(route for route in self.routes if route.link == name)

    def _forget_routes(self, routes: Iterable[Route]) -> None:
        for route in list(routes):
            del self.routes[route]
