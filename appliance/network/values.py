"""What the kernel's network is made of, as values: links, addresses, routes; how it is, and how it is wanted.

Frozen and comparable, so that two states can be told apart and a snapshot can be kept; they encode to JSON for the
journal of an interrupted apply. Knows neither netlink nor configuration. Used by every page of this room.
"""

from __future__ import annotations

import ipaddress
from enum import Enum
from functools import lru_cache

import msgspec

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPV6_MIN_MTU = 1280
"""RFC 8200 §5; below it the kernel takes IPv6 off the link."""


_interface = lru_cache(maxsize=1024)(ipaddress.ip_interface)


class Kind(Enum):
    """What a link is. `OTHER` is none of our business (tunnels, containers' ends): never planned for."""

    PHYSICAL = "physical"
    VLAN = "vlan"
    BOND = "bond"
    BRIDGE = "bridge"
    LOOPBACK = "loopback"
    OTHER = "other"


VIRTUAL = frozenset((Kind.VLAN, Kind.BOND, Kind.BRIDGE))
MASTERS = frozenset((Kind.BOND, Kind.BRIDGE))


class Origin(Enum):
    """Who put an address or a route there."""

    OURS = "ours"
    LEASED = "leased"  # by DHCP or a router's advertisement
    FOREIGN = "foreign"  # by anybody else: a kernel's command line, a person


class Shape(msgspec.Struct, frozen=True):
    """What makes a virtual link the one it is. None of it can be changed: such a link is made anew."""

    parent: str = ""  # a VLAN's
    vlan_id: int = 0
    bond_mode: str = ""
    miimon_ms: int = 0
    fast_lacp: bool = False
    stp: bool = False


class LinkMode(msgspec.Struct, frozen=True, order=True):
    """Speed and duplex of a port. Without a speed nobody knows how the port is set, only that it is by somebody."""

    speed_mbit: int
    full_duplex: bool = True

    def __str__(self) -> str:
        return f"{self.speed_mbit} Mbit/s, {'full' if self.full_duplex else 'half'} duplex"


class Abilities(msgspec.Struct, frozen=True):
    """What a port tells of the modes that it can be held to."""

    settable: bool
    modes: tuple[LinkMode, ...] = ()
    """None: it does not tell, as cards of virtual machines do not."""

    def in_words(self) -> str:
        if not self.settable:
            return "nobody can set its speed"
        known = ", ".join(f"{mode.speed_mbit} {'full' if mode.full_duplex else 'half'}" for mode in self.modes)
        return f"it can do {known}" if known else "it does not say what it can do"


class Link(msgspec.Struct, frozen=True):
    """One link. In a simulated state "" and 0 mean: the kernel will have chosen, and we cannot know what."""

    name: str
    kind: Kind
    shape: Shape = Shape()
    mac: str = ""  # lower case, with colons
    mtu: int = 0  # octets
    up: bool = False
    master: str = ""  # the bond or bridge that it is a port of
    held: LinkMode | None = None  # None: it negotiates, or is as it was made; counts while it is up
    permanent_mac: str = ""  # the hardware's own; not compared
    mac_is_set: bool = False  # known not to follow the ports'; not compared
    carrier: bool = False  # not compared
    abilities: Abilities | None = None  # None: nobody asked; not compared


class Address(msgspec.Struct, frozen=True, order=True):
    """An address with its prefix on a link; link-local ones that the kernel made itself are left out everywhere."""

    link: str
    ip: str  # "192.0.2.1/24", as `ipaddress` writes it

    @property
    def version(self) -> int:
        return 6 if ":" in self.ip else 4

    @property
    def number(self) -> str:
        """Without the prefix."""
        return self.ip.partition("/")[0]

    @property
    def interface(self) -> Interface:
        return _interface(self.ip)


class Route(msgspec.Struct, frozen=True, order=True):
    """A route in the main table. Without gateway the destination is on the link itself."""

    destination: str  # "0.0.0.0/0", "2001:db8::/32"
    link: str
    gateway: str = ""
    metric: int = 100

    @property
    def version(self) -> int:
        return 6 if ":" in self.destination else 4

    @property
    def place(self) -> tuple[str, int]:
        """The kernel keeps one route of ours for each."""
        return self.destination, self.metric


class State(msgspec.Struct, frozen=True):
    """How the network is: everything but the loopback's own."""

    links: dict[str, Link] = {}
    addresses: dict[Address, Origin] = {}
    routes: dict[Route, Origin] = {}


class Wanted(msgspec.Struct, frozen=True):
    """How it shall be. Virtual links that are not here go; physical ones go down and lose their addresses.

    In a link "" as `mac` means that any will do. All other fields are meant as they stand.
    """

    links: dict[str, Link] = {}
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    leased: frozenset[tuple[str, int]] = frozenset()
    """Link and IP version: what DHCP and advertisements put there is the client's own affair."""

    def spares(self, entry: Address | Route, origin: Origin) -> bool:
        """Whether `entry`, which nobody asked for, may stay all the same."""
        return origin is not Origin.OURS and (entry.link, entry.version) in self.leased
