"""Addresses, gateways and static routes of the appliance: each well-formed, and together without contradiction.

No I/O. Called by `networking`.
"""

from __future__ import annotations

import ipaddress

from appliance.config.lines import KeyPath
from appliance.config.network_tables import Network, NetworkInterface
from appliance.config.problem import Report

_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


def check_routing(network: Network, report: Report) -> None:
    """Reports addresses that cannot be ours, gateways that cannot be reached, and routes that exclude each other."""
    own: dict[str, list[_Interface]] = {}
    for index, it in enumerate(network.interface):
        own[it.name] = _check_addresses(it, ("network", "interface", index), report)
    _check_twice(network, own, report)
    taken: dict[tuple[str, int], str] = {}
    for index, it in enumerate(network.interface):
        path: KeyPath = ("network", "interface", index)
        for place, raw in enumerate(it.gateways):
            gateway = _check_gateway(raw, (*path, "gateways", place), it, own, report)
            if gateway is not None:
                _take(taken, _DEFAULT[gateway.version], it.metric, it.name, (*path, "gateways", place), report)
        for place, route in enumerate(it.route):
            here: KeyPath = (*path, "route", place)
            try:
                to = ipaddress.ip_network(route.to)
            except ValueError as error:
                report.error((*here, "to"), f"{route.to!r}: {error}", _network_remedy(route.to))
                continue
            if route.via:
                gateway = _check_gateway(route.via, (*here, "via"), it, own, report)
                if gateway is not None and gateway.version != to.version:
                    report.error((*here, "via"), f"{route.via} and {to} mix IPv4 and IPv6", "give one of the same kind")
            _take(taken, str(to), route.metric, it.name, here, report)
        if not it.enabled and (it.gateways or it.route):
            report.error((*path, "enabled"), "routes need an interface that is enabled", "enable it, or remove them")


def _check_addresses(it: NetworkInterface, path: KeyPath, report: Report) -> list[_Interface]:
    good = []
    for place, raw in enumerate(it.addresses):
        here: KeyPath = (*path, "addresses", place)
        try:
            address = ipaddress.ip_interface(raw)
        except ValueError as error:
            report.error(here, f"{raw!r}: {error}", 'write "192.0.2.5/24" or "2001:db8::5/64"')
            continue
        network = address.network
        if "/" not in raw:
            report.error(
                here, f"{raw!r} says nothing of its network", f'write "{raw}/{24 if network.version == 4 else 64}"'
            )
        elif not network.prefixlen or _is_nobodys(address.ip) or (network.version == 6 and address.ip.is_link_local):
            report.error(here, f"{raw} cannot be an interface's own", "write the address that this box shall have")
        elif network.version == 4 and network.prefixlen < 31 and address.ip in (network[0], network[-1]):
            what = "the network itself" if address.ip == network[0] else "its broadcast address"
            report.error(here, f"{raw} is {what}", f"write an address between {network[0]} and {network[-1]}")
        else:
            good.append(address)
    return good


def _is_nobodys(ip: _Ip) -> bool:
    return ip.is_unspecified or ip.is_multicast or ip.is_loopback


def _check_twice(network: Network, own: dict[str, list[_Interface]], report: Report) -> None:
    seen: dict[_Ip, str] = {}
    for index, it in enumerate(network.interface):
        for address in own[it.name]:
            if address.ip in seen:
                path: KeyPath = ("network", "interface", index, "addresses")
                report.error(path, f"{address.ip} is on {seen[address.ip]!r} already", "give it to one interface, once")
            seen[address.ip] = it.name


def _check_gateway(
    raw: str, path: KeyPath, it: NetworkInterface, own: dict[str, list[_Interface]], report: Report
) -> _Ip | None:
    try:
        gateway = ipaddress.ip_address(raw)
    except ValueError:
        report.error(path, f"{raw!r} is no IP address", 'write "192.0.2.1" or "2001:db8::1"')
        return None
    on = {name for name, addresses in own.items() for address in addresses if gateway in address.network}
    if _is_nobodys(gateway) or any(gateway == address.ip for addresses in own.values() for address in addresses):
        report.error(path, f"{raw} is no gateway: it is this box itself, or nobody", "name the router")
    elif on and it.name not in on:
        report.error(path, f"{raw} is in the network of {min(on)!r}, not of {it.name!r}", f"set it at {min(on)!r}")
    elif not on and not gateway.is_link_local and not (it.dhcp4 if gateway.version == 4 else it.dhcp6):
        report.warning(path, f"{raw} is in no network of {it.name!r}", "correct the address, or its prefix")
    return gateway


def _take(taken: dict[tuple[str, int], str], to: str, metric: int, name: str, path: KeyPath, report: Report) -> None:
    if (to, metric) in taken:
        text = f"{taken[to, metric]!r} has a route to {to} with metric {metric} already"
        report.error(path, text, "give one of them a higher metric: it is used when the other is away")
    taken.setdefault((to, metric), name)


def _network_remedy(raw: str) -> str:
    try:
        return f'write "{ipaddress.ip_network(raw, strict=False)}"'
    except ValueError:
        return 'write "10.0.0.0/8", "2001:db8::/32", or "0.0.0.0/0" for everywhere'
