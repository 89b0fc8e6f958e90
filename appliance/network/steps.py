"""What can be done to the kernel's network, one request to it each; `str()` is a line for the log.

Only what to do: `kernel` says what comes of it, `apply` does it.
"""

from __future__ import annotations

import msgspec

from appliance.network.values import Address, Link, LinkMode, Route


class Step(msgspec.Struct, frozen=True):
    """Base of all. A step fails as a whole or is done as a whole, for it is one netlink message."""


class CreateLink(Step, frozen=True):
    """Makes a virtual link, which is down afterwards. Its `up`, `mtu` and `master` are not looked at."""

    link: Link

    def __str__(self) -> str:
        shape = self.link.shape
        detail = f" {shape.vlan_id} on {shape.parent}" if shape.parent else f" {shape.bond_mode}".rstrip()
        return f"create {self.link.name}: {self.link.kind.value}{detail}"


class DeleteLink(Step, frozen=True):
    name: str

    def __str__(self) -> str:
        return f"delete {self.name}"


class SetMaster(Step, frozen=True):
    """Makes a link the port of a bond or bridge; with "" it becomes nobody's."""

    name: str
    master: str

    def __str__(self) -> str:
        return f"add {self.name} to {self.master}" if self.master else f"release {self.name}"


class SetMtu(Step, frozen=True):
    name: str
    mtu: int

    def __str__(self) -> str:
        return f"set MTU of {self.name} to {self.mtu}"


class SetMac(Step, frozen=True):
    name: str
    mac: str

    def __str__(self) -> str:
        return f"set MAC of {self.name} to {self.mac}"


class SetUp(Step, frozen=True):
    name: str
    up: bool

    def __str__(self) -> str:
        return f"set {self.name} {'up' if self.up else 'down'}"


class HoldMode(Step, frozen=True):
    """Holds a port that is up to one speed and duplex; with None it negotiates again, or is what it was before."""

    name: str
    mode: LinkMode | None

    def __str__(self) -> str:
        return f"hold {self.name} to {self.mode}" if self.mode else f"let {self.name} choose its speed"


class AddAddress(Step, frozen=True):
    """Done already, it is done again without harm."""

    address: Address

    def __str__(self) -> str:
        return f"add {self.address.ip} to {self.address.link}"


class DeleteAddress(Step, frozen=True):
    address: Address

    def __str__(self) -> str:
        return f"remove {self.address.ip} from {self.address.link}"


class AddRoute(Step, frozen=True):
    """Takes the place of the route with the same destination and metric, without a gap."""

    route: Route

    def __str__(self) -> str:
        return f"route {route_in_words(self.route)}"


class DeleteRoute(Step, frozen=True):
    route: Route

    def __str__(self) -> str:
        return f"remove route {route_in_words(self.route)}"


def route_in_words(route: Route) -> str:
    via = f" via {route.gateway}" if route.gateway else ""
    return f"to {route.destination}{via} on {route.link} (metric {route.metric})"
