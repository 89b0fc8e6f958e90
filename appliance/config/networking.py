"""Can the appliance's own network be set up as written, and reached afterwards: names, ports, addresses, routes.

The kernel would refuse much of this, but only while the network is being changed. No I/O. Called by `config.check`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from appliance.config.host_port import host_name
from appliance.config.lines import KeyPath
from appliance.config.network_tables import BondMode, Network, NetworkInterface
from appliance.config.problem import Report
from appliance.config.routing import check_routing
from appliance.core.address import BadAddress, parse_domain

MIN_MTU = 1280  # RFC 8200 §5
SPEEDS_MBIT = (10, 100, 1000, 2500, 5000, 10000)
_HALF_UP_TO_MBIT = 1000  # IEEE 802.3 has no half duplex above
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # IFNAMSIZ with its NUL is 16
_TAKEN = ("lo", "all", "default")  # the last two are directories of sysctl
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def check_network(network: Network, report: Report) -> None:
    """Reports what the kernel would refuse, what contradicts itself, and what would leave the box unreachable."""
    _check_names(network, report)
    _check_macs(network, report)
    _check_ports(network, report)
    _check_vlans(network, report)
    _check_mtus(network, report)
    _check_link_modes(network, report)
    check_routing(network, report)
    _check_services(network, report)
    reachable = any(it.enabled and (it.addresses or it.dhcp4 or it.dhcp6) for it in network.interface)
    if network.interface and not reachable:
        report.warning(("network",), "no interface has an address: nobody could reach the box", "set dhcp4 = true")
    if not network.interface and (network.vlan or network.bond or network.bridge):
        report.error(("network",), "there is no [[network.interface]]: nothing would be applied", "add one")


def virtual_names(network: Network) -> set[str]:
    return {name for _, name in _tables(network)}


def _tables(network: Network) -> Iterator[tuple[KeyPath, str]]:
    for key, names in (
        ("vlan", [vlan.name for vlan in network.vlan]),
        ("bond", [bond.name for bond in network.bond]),
        ("bridge", [bridge.name for bridge in network.bridge]),
    ):
        for index, name in enumerate(names):
            yield ("network", key, index), name


def _check_names(network: Network, report: Report) -> None:
    interfaces: list[tuple[KeyPath, str]] = [
        (("network", "interface", index), it.name) for index, it in enumerate(network.interface)
    ]
    for entries in (interfaces, list(_tables(network))):
        seen: set[str] = set()
        for path, name in entries:
            if not _NAME.fullmatch(name) or name in _TAKEN:
                remedy = "use 1 to 15 letters, digits, dots, dashes and underscores; not lo, all or default"
                report.error((*path, "name"), f"{name!r} cannot be an interface's name", remedy)
            if name in seen:
                report.error((*path, "name"), f"{name!r} is there twice", "give each its own name")
            seen.add(name)


def _check_macs(network: Network, report: Report) -> None:
    seen: set[str] = set()
    for index, it in enumerate(network.interface):
        path: KeyPath = ("network", "interface", index)
        for key, mac in (("match_mac", it.match_mac), ("mac", it.mac)):
            if mac and (not _MAC.fullmatch(mac.lower()) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00"):
                report.error((*path, key), f"{mac!r} is no MAC of a port", 'write "02:00:5e:00:53:01"')
        if it.match_mac and it.name in virtual_names(network):
            report.error((*path, "match_mac"), f"{it.name!r} is no hardware", "remove match_mac")
        if it.match_mac and it.match_mac.lower() in seen:
            report.error((*path, "match_mac"), "another interface matches the same port", "name each port once")
        seen.add(it.match_mac.lower())


def _check_ports(network: Network, report: Report) -> None:
    virtual, bridges = virtual_names(network), {bridge.name for bridge in network.bridge}
    settings = {it.name: it for it in network.interface}
    owner: dict[str, str] = {}
    bonds = [(bond.name, bond.ports) for bond in network.bond]
    for key, masters in (("bond", bonds), ("bridge", [(bridge.name, bridge.ports) for bridge in network.bridge])):
        for index, (master, ports) in enumerate(masters):
            for place, port in enumerate(ports):
                path: KeyPath = ("network", key, index, "ports", place)
                if key == "bond" and port in virtual:
                    report.error(path, f"{port!r} is no hardware", "give a bond ports of hardware")
                elif port in bridges:
                    report.error(path, f"{port!r} is a bridge itself", "give the ports of both to one bridge")
                if port in owner:
                    report.error(path, f"{port!r} is a port of {owner[port]!r} already", "name it once")
                owner[port] = master
                if port in settings:
                    _check_port_settings(settings[port], path, key, report)
    for index, bond in enumerate(network.bond):
        if bond.fast_lacp and bond.mode is not BondMode.LACP:
            report.error(("network", "bond", index, "fast_lacp"), "there is no LACP in this mode", 'mode = "802.3ad"')


def _check_port_settings(it: NetworkInterface, path: KeyPath, key: str, report: Report) -> None:
    if it.addresses or it.gateways or it.route or it.dhcp4 or it.dhcp6:
        report.error(path, f"{it.name!r} is a port, and has addresses of its own", f"give them to the {key}")
    if key == "bond" and (it.mtu or it.mac or not it.enabled):
        report.error(path, f"the bond decides on MTU, MAC and state of {it.name!r}", "set them in the bond's interface")


def _check_vlans(network: Network, report: Report) -> None:
    parents = {vlan.name: vlan.on for vlan in network.vlan}
    bond_ports = {port for bond in network.bond for port in bond.ports}
    ports = {bridge.name: bridge.ports for bridge in network.bridge}
    disabled = {it.name for it in network.interface if not it.enabled}
    seen: set[tuple[str, int]] = set()

    def stands_on(name: str, base: str, depth: int = 0) -> bool:
        below = [parents[name]] if name in parents else ports.get(name, [])
        return depth > 16 or base in below or any(stands_on(other, base, depth + 1) for other in below)

    for index, vlan in enumerate(network.vlan):
        path: KeyPath = ("network", "vlan", index)
        if stands_on(vlan.name, vlan.name):
            report.error((*path, "on"), f"{vlan.name!r} would stand on itself", "name the port that carries it")
        if vlan.on in bond_ports:
            report.error((*path, "on"), f"{vlan.on!r} is a port of a bond", "name the bond")
        if vlan.on in disabled and vlan.name not in disabled:
            report.error((*path, "on"), f"{vlan.on!r} is not enabled", "enable it, or disable both")
        if (vlan.on, vlan.id) in seen:
            report.error((*path, "id"), f"{vlan.on!r} carries VLAN {vlan.id} already", "give each its own id")
        seen.add((vlan.on, vlan.id))


def _check_mtus(network: Network, report: Report) -> None:
    mtus = {it.name: it.mtu for it in network.interface}
    parents = {vlan.name: vlan.on for vlan in network.vlan}
    for index, it in enumerate(network.interface):
        path: KeyPath = ("network", "interface", index, "mtu")
        if 0 < it.mtu < MIN_MTU:
            report.error(path, "too small for IPv6 (RFC 8200 §5)", f"write at least {MIN_MTU}")
        parent = parents.get(it.name, "")
        most = mtus.get(parent, 0) or 1500
        if it.mtu > most and parent and parent not in parents:
            report.error(path, f"{parent!r}, which carries it, has an MTU of {most}", f"raise that of {parent!r}")


def _check_link_modes(network: Network, report: Report) -> None:
    virtual, speeds = virtual_names(network), ", ".join(map(str, SPEEDS_MBIT))
    for index, it in enumerate(network.interface):
        path: KeyPath = ("network", "interface", index)
        if it.speed_mbit and it.speed_mbit not in SPEEDS_MBIT:
            remedy = f"write one of {speeds}, or 0 to let it negotiate"
            report.error((*path, "speed_mbit"), f"no port has {it.speed_mbit} Mbit/s", remedy)
        elif it.speed_mbit and it.name in virtual:
            report.error((*path, "speed_mbit"), f"{it.name!r} is no hardware", "set the speed of its ports")
        if it.duplex not in ("", "full", "half"):
            report.error((*path, "duplex"), f"there is no duplex {it.duplex!r}", 'write "full" or "half"')
        elif it.duplex and not it.speed_mbit:
            text = f"without a speed {it.name!r} negotiates its duplex, too"
            report.error((*path, "duplex"), text, "set speed_mbit, or remove duplex")
        elif it.duplex == "half" and it.speed_mbit > _HALF_UP_TO_MBIT:
            report.error((*path, "duplex"), f"there is no half duplex at {it.speed_mbit} Mbit/s", 'write "full"')


def _check_services(network: Network, report: Report) -> None:
    own = {address.partition("/")[0] for it in network.interface for address in it.addresses}
    for index, server in enumerate(network.dns):
        try:
            ip = ipaddress.ip_address(server)
        except ValueError:
            report.error(("network", "dns", index), f"{server!r} is no IP address", 'write "192.0.2.53"')
            continue
        if ip.is_loopback or ip.is_unspecified or ip.is_multicast or str(ip) in own:
            report.error(("network", "dns", index), f"{server} is this box itself", "leave it out, or name another")
    for index, name in enumerate(network.ntp):
        try:
            _ = ipaddress.ip_address(name) if ":" in name else host_name(name)
        except ValueError:
            report.error(("network", "ntp", index), f"{name!r} is neither name nor address", 'write "ntp.example.com"')
    for index, domain in enumerate(network.search):
        try:
            parse_domain(domain)
        except BadAddress:
            report.error(("network", "search", index), f"{domain!r} is no domain", 'write "example.com"')
    if network.dns_from_dhcp and (network.dns or not any(it.dhcp4 or it.dhcp6 for it in network.interface)):
        why = "dns names others" if network.dns else "no interface asks DHCP"
        report.error(("network", "dns_from_dhcp"), f"it would never apply: {why}", "remove it")
