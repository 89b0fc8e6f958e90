"""From the `[network]` tables to the state that is wanted, for the hardware that is there. Pure.

Finds ports by MAC, gives every link what its tables leave open, and tells which hardware is missing instead of failing:
a box with a pulled USB port must still get its other ports. Called by `bring_up`.
"""

from __future__ import annotations

import ipaddress

from msgspec.structs import replace

from appliance.config.network_tables import Bond, BondMode, Network, NetworkInterface
from appliance.network.kernel import FIRST_MTU
from appliance.network.values import Address, Kind, Link, LinkMode, Route, Shape, State, Wanted

MIIMON_MS = 100
"""How often a bond looks at its ports' carriers."""

_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


def wanted_of(network: Network, now: State) -> tuple[Wanted, list[str]]:
    """What the tables ask for, by the kernel's names; and the names in them for which there is no port."""
    names = _kernel_names(network, now)
    links = _Links(network, names, now).links
    addresses: list[Address] = []
    routes: list[Route] = []
    leased = set()
    for it in network.interface:
        name = names[it.name]
        if name not in links:
            continue
        addresses += [Address(name, str(ipaddress.ip_interface(ip))) for ip in it.addresses]
        routes += _routes(it, name)
        if it.enabled:
            leased |= {(name, version) for version, asked in ((4, it.dhcp4), (6, it.dhcp6)) if asked}
    missing = [name for name, kernel_name in names.items() if kernel_name not in links]
    return Wanted(links, tuple(addresses), tuple(routes), frozenset(leased)), missing


def _kernel_names(network: Network, now: State) -> dict[str, str]:
    """Every name in the tables with the kernel's; "" where no port fits."""
    hardware = {link.name: link for link in now.links.values() if link.kind is Kind.PHYSICAL}
    by_mac = {link.permanent_mac or link.mac: link.name for link in hardware.values()}
    used = [it.name for it in network.interface] + [vlan.on for vlan in network.vlan]
    used += [port for bond in network.bond for port in bond.ports]
    used += [port for bridge in network.bridge for port in bridge.ports]
    names = {name: name if name in hardware else "" for name in used}
    names |= {it.name: by_mac.get(it.match_mac.lower(), "") for it in network.interface if it.match_mac}
    names |= {vlan.name: vlan.name for vlan in network.vlan}
    names |= {bond.name: bond.name for bond in network.bond}
    return names | {bridge.name: bridge.name for bridge in network.bridge}


class _Links:
    """The links by the kernel's names. Those that others stand on come first, for they decide on MTUs."""

    def __init__(self, network: Network, names: dict[str, str], now: State) -> None:
        self.links: dict[str, Link] = {}
        self._names = names
        self._now = now
        self._settings = {it.name: it for it in network.interface}
        self._masters = {port: bond.name for bond in network.bond for port in bond.ports}
        self._masters |= {port: bridge.name for bridge in network.bridge for port in bridge.ports}
        self._vlans = {vlan.name: vlan for vlan in network.vlan}
        self._bridges = {bridge.name: bridge for bridge in network.bridge}
        for name, kernel_name in names.items():
            if kernel_name in now.links and now.links[kernel_name].kind is Kind.PHYSICAL:
                self._add(name, Kind.PHYSICAL, Shape(), FIRST_MTU)
        for bond in network.bond:
            self._add_bond(bond)
        while self._vlans or self._bridges:
            if not self._add_vlans() + self._add_bridges():
                raise ValueError("links stand on each other in a circle")  # `config.check` refuses that first

    def _add(self, name: str, kind: Kind, shape: Shape, usual_mtu: int) -> None:
        kernel_name = self._names[name]
        it = self._settings.get(name, NetworkInterface(name=name))
        there = self._now.links.get(kernel_name)
        # Without a MAC of its own a port gets back what its hardware says, should it have been given another.
        hardware_mac = there.permanent_mac if there is not None and kind is Kind.PHYSICAL else ""
        mac, master = it.mac.lower() or hardware_mac, self._masters.get(name, "")
        mtu, held = it.mtu or usual_mtu, LinkMode(it.speed_mbit, it.duplex != "half") if it.speed_mbit else None
        self.links[kernel_name] = Link(kernel_name, kind, shape, mac, mtu, it.enabled, master, held=held)

    def _add_bond(self, bond: Bond) -> None:
        fast = bond.fast_lacp and bond.mode is BondMode.LACP
        shape = Shape(bond_mode=bond.mode.value, miimon_ms=MIIMON_MS, fast_lacp=fast)
        self._add(bond.name, Kind.BOND, shape, FIRST_MTU)
        for port in bond.ports:
            if link := self.links.get(self._names[port]):
                self.links[link.name] = replace(link, mtu=self.links[bond.name].mtu, mac="", up=True)

    def _add_vlans(self) -> int:
        """Those whose parent is there; the number of those that wait no longer, also because there will be none."""
        settled = 0
        for vlan in list(self._vlans.values()):
            parent = self.links.get(self._names[vlan.on])
            if parent is None and (vlan.on in self._vlans or vlan.on in self._bridges):
                continue
            if parent is not None:
                self._add(vlan.name, Kind.VLAN, Shape(parent=parent.name, vlan_id=vlan.id), parent.mtu)
            del self._vlans[vlan.name]
            settled += 1
        return settled

    def _add_bridges(self) -> int:
        """Those whose ports are all there, or will never be."""
        settled = 0
        for bridge in list(self._bridges.values()):
            if any(port in self._vlans for port in bridge.ports):
                continue
            mtus = [link.mtu for port in bridge.ports if (link := self.links.get(self._names[port]))]
            self._add(bridge.name, Kind.BRIDGE, Shape(stp=bridge.stp), min(mtus, default=FIRST_MTU))
            del self._bridges[bridge.name]
            settled += 1
        return settled


def _routes(it: NetworkInterface, name: str) -> list[Route]:
    gateways = [ipaddress.ip_address(gateway) for gateway in it.gateways]
    routes = [Route(_DEFAULT[gateway.version], name, str(gateway), it.metric) for gateway in gateways]
    for route in it.route:
        via = str(ipaddress.ip_address(route.via)) if route.via else ""
        routes.append(Route(str(ipaddress.ip_network(route.to)), name, via, route.metric))
    return routes
