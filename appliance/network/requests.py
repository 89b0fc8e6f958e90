"""One netlink request a step. Says how, never when; called by `apply`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from appliance.network import steps
from appliance.network.netlink import IPRoute, NetlinkError
from appliance.network.read import BOND_MODES, OUR_ADDRESSES, OUR_ROUTES
from appliance.network.steps import Step
from appliance.network.values import Address, Kind, Link, Route

_ONLINK = 4  # RTNH_F_ONLINK


def perform(ip: IPRoute, step: Step) -> None:
    """Does the step, and waits for the kernel's acknowledgement.

    Raises:
        NetlinkError: the kernel's refusal.
        OSError: a link is not there.
    """
    match step:
        case steps.CreateLink(link):
            ip.link("add", **_creation(ip, link))
        case steps.DeleteLink(name):
            ip.link("del", index=_index(ip, name))
        case steps.SetMaster(name, master):
            ip.link("set", index=_index(ip, name), master=_index(ip, master) if master else 0)
        case steps.SetMtu(name, mtu):
            ip.link("set", index=_index(ip, name), mtu=mtu)
        case steps.SetMac(name, mac):
            ip.link("set", index=_index(ip, name), address=mac)
        case steps.SetUp(name, up):
            ip.link("set", index=_index(ip, name), state="up" if up else "down")
        case steps.AddAddress(address):
            ip.addr("replace", **_address(ip, address), proto=OUR_ADDRESSES)
        case steps.DeleteAddress(address):
            with _gone_is_done():
                ip.addr("del", **_address(ip, address))
        case steps.AddRoute(route):
            _add_route(ip, route)
        case steps.DeleteRoute(route):
            with _gone_is_done():
                ip.route("del", **_route(ip, route))


@contextmanager
def _gone_is_done() -> Iterator[None]:
    """The DHCP client may have been quicker: it takes its routes away when it sees its address go."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in (errno.ESRCH, errno.EADDRNOTAVAIL):
            raise


def _index(ip: IPRoute, name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise OSError(f"there is no {name}")
    return int(found[0])


def _creation(ip: IPRoute, link: Link) -> dict[str, Any]:
    shape = link.shape
    request: dict[str, Any] = {"ifname": link.name, "kind": link.kind.value}
    if link.mac:
        request["address"] = link.mac
    if link.kind is Kind.VLAN:
        request |= {"link": _index(ip, shape.parent), "vlan_id": shape.vlan_id}
    elif link.kind is Kind.BOND:
        request |= {"bond_mode": BOND_MODES.index(shape.bond_mode), "bond_miimon": shape.miimon_ms}
        if shape.fast_lacp:
            request["bond_ad_lacp_rate"] = 1
    else:
        request["br_stp_state"] = int(shape.stp)
    return request


def _address(ip: IPRoute, address: Address) -> dict[str, Any]:
    interface = address.interface
    return {"index": _index(ip, address.link), "address": str(interface.ip), "prefixlen": interface.network.prefixlen}


def _add_route(ip: IPRoute, route: Route) -> None:
    """A gateway outside the link's own networks is legal, too, but the kernel wants to be told that it is meant."""
    request = {**_route(ip, route), "proto": OUR_ROUTES}
    try:
        ip.route("replace", **request)
    except NetlinkError as error:
        if not route.gateway or error.code not in (errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH):
            raise
        ip.route("replace", **request, flags=_ONLINK)


def _route(ip: IPRoute, route: Route) -> dict[str, Any]:
    """Without `proto` a deletion matches whoever's route it is."""
    request: dict[str, Any] = {
        "family": 10 if route.version == 6 else 2,
        "dst": route.destination,
        "oif": _index(ip, route.link),
        "priority": route.metric,
        "table": 254,
    }
    if route.gateway:
        request["gateway"] = route.gateway
    return request
