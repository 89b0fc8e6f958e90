"""The kernel's network as values, by netlink: links, and the addresses and routes that a plan may have to do with.

Looks only. Link-local addresses that the kernel makes itself, its own routes to connected networks, other routing
tables and the loopback's addresses are left out. Called by `apply`, and by whoever shows ports to a person.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from appliance.network.netlink import IPRoute
from appliance.network.values import Address, Kind, Link, Origin, Route, Shape, State

OUR_ADDRESSES = 0x4D
"""IFA_PROTO of addresses that we set; Linux 5.18 and later keep it, and systemd-networkd sets none."""
OUR_ROUTES = 4
"""RTPROT_STATIC."""
BOND_MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")

_UP = 1
_PERMANENT = 0x80
_ETHERNET = 1  # ARPHRD_ETHER
_LINK_SCOPE = 253
_MAIN_TABLE = 254
_UNICAST = 1
_KERNEL = 2  # RTPROT_KERNEL
_LEASED = frozenset((9, 16))  # RTPROT_RA, RTPROT_DHCP
# The end of a veth pair is a cable's end as well: what a container or a test has for hardware.
_KINDS = {"vlan": Kind.VLAN, "bond": Kind.BOND, "bridge": Kind.BRIDGE, "veth": Kind.PHYSICAL}


def read(ip: IPRoute) -> State:
    """The network namespace that `ip` was opened in, at this moment."""
    messages = list(ip.get_links())
    names: dict[int, str] = {message["index"]: message.get_attr("IFLA_IFNAME") for message in messages}
    links = {link.name: link for link in (_link(message, names) for message in messages)}
    there = {name for name, link in links.items() if link.kind is not Kind.LOOPBACK}
    addresses = {a: origin for a, origin in _addresses(ip, names) if a.link in there}
    routes = {route: origin for route, origin in _routes(ip, names) if route.link in there}
    return State({name: link for name, link in links.items() if name in there}, addresses, routes)


def _link(message: Any, names: dict[int, str]) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    raw_kind = (info and info.get_attr("IFLA_INFO_KIND")) or ""
    kind = _KINDS.get(raw_kind, Kind.OTHER)
    if not raw_kind and message["ifi_type"] == _ETHERNET:
        kind = Kind.PHYSICAL
    elif message["flags"] & 8:  # IFF_LOOPBACK
        kind = Kind.LOOPBACK
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    mac = message.get_attr("IFLA_ADDRESS") or ""
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        kind=kind,
        shape=_shape(kind, data, names.get(message.get_attr("IFLA_LINK") or 0, "")),
        mac=mac,
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(message["flags"] & _UP),
        master=names.get(message.get_attr("IFLA_MASTER") or 0, ""),
        permanent_mac=message.get_attr("IFLA_PERM_ADDRESS") or "",
        carrier=bool(message.get_attr("IFLA_CARRIER")),
    )


def _shape(kind: Kind, data: Any, parent: str) -> Shape:
    if data is None:
        return Shape()
    if kind is Kind.VLAN:
        return Shape(parent=parent, vlan_id=data.get_attr("IFLA_VLAN_ID"))
    if kind is Kind.BOND:
        return Shape(
            bond_mode=BOND_MODES[data.get_attr("IFLA_BOND_MODE")],
            miimon_ms=data.get_attr("IFLA_BOND_MIIMON"),
            fast_lacp=bool(data.get_attr("IFLA_BOND_AD_LACP_RATE")),
        )
    if kind is Kind.BRIDGE:
        return Shape(stp=bool(data.get_attr("IFLA_BR_STP_STATE")))
    return Shape()


def _addresses(ip: IPRoute, names: dict[int, str]) -> Iterator[tuple[Address, Origin]]:
    for message in ip.get_addr():
        number = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        origin = Origin.FOREIGN
        if not (message.get_attr("IFA_FLAGS") or message["flags"]) & _PERMANENT:
            origin = Origin.LEASED
        elif message.get_attr("IFA_PROTO") == OUR_ADDRESSES:
            origin = Origin.OURS
        elif message["scope"] == _LINK_SCOPE and ":" in number:
            continue
        if message["index"] in names:
            yield Address(names[message["index"]], f"{number}/{message['prefixlen']}"), origin


def _routes(ip: IPRoute, names: dict[int, str]) -> Iterator[tuple[Route, Origin]]:
    for message in ip.get_routes(table=_MAIN_TABLE, type=_UNICAST):
        protocol = message["proto"]
        if message["table"] != _MAIN_TABLE or message["type"] != _UNICAST or protocol == _KERNEL:
            continue
        number = message.get_attr("RTA_DST") or ("::" if message["family"] == 10 else "0.0.0.0")
        destination = str(ipaddress.ip_network((number, message["dst_len"])))
        metric = message.get_attr("RTA_PRIORITY") or 0
        origin = Origin.OURS if protocol == OUR_ROUTES else Origin.LEASED if protocol in _LEASED else Origin.FOREIGN
        hops = message.get_attr("RTA_MULTIPATH") or [message]
        for hop in hops:
            index = hop["oif"] if hop is not message else message.get_attr("RTA_OIF")
            gateway = hop.get_attr("RTA_GATEWAY") or ""
            if index in names:
                yield Route(destination, names[index], gateway, metric), origin
