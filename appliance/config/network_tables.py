"""`[network]` of the configuration file as values: the appliance's own interfaces, names and clock.

A workstation's `mailweir run` does not apply these tables. `schema` includes them; form and sense are judged as for all
others. Reads nothing.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class StaticRoute(_Table, frozen=True, kw_only=True):
    """`[[network.interface.route]]`"""

    to: str  # CIDR
    via: str = ""  # gateway; empty: the destination is on the link itself
    metric: int = 100  # lowest first; DHCP's routes have 1024


class NetworkInterface(_Table, frozen=True, kw_only=True):
    """`[[network.interface]]`: how a port, VLAN, bond or bridge is set. Ports that no table names are switched off."""

    name: str  # the kernel's name, as "eth0"; or the name of a [[network.vlan]], bond or bridge
    match_mac: str = ""  # the port with this MAC in its hardware, whatever the kernel calls it; `name` is then free
    enabled: bool = True
    dhcp4: bool = False
    dhcp6: bool = False  # routers' advertisements, and DHCPv6 where they say so
    addresses: list[str] = []  # "192.0.2.5/24", "2001:db8::5/64"
    gateways: list[str] = []  # default routes
    metric: int = 100  # of these
    mtu: int = 0  # octets; 0: 1500, a VLAN's as its parent's, a bridge's as its smallest port's
    mac: str = ""  # instead of the hardware's
    speed_mbit: int = 0  # the port is held to it; 0: it chooses with the other end
    duplex: str = ""  # "full" or "half", with a speed; empty: full
    route: list[StaticRoute] = []


class Vlan(_Table, frozen=True, kw_only=True):
    """`[[network.vlan]]`: IEEE 802.1Q."""

    name: str
    on: str  # the interface that carries it
    id: int


class BondMode(Enum):
    ACTIVE_BACKUP = "active-backup"
    LACP = "802.3ad"
    BALANCE_XOR = "balance-xor"
    BALANCE_TLB = "balance-tlb"
    BALANCE_ALB = "balance-alb"


class Bond(_Table, frozen=True, kw_only=True):
    """`[[network.bond]]`: several ports as one."""

    name: str
    ports: list[str]
    mode: BondMode = BondMode.ACTIVE_BACKUP
    fast_lacp: bool = False  # with 802.3ad: LACP frames every second, not every 30


class Bridge(_Table, frozen=True, kw_only=True):
    """`[[network.bridge]]`"""

    name: str
    ports: list[str]
    stp: bool = False  # spanning tree


class Network(_Table, frozen=True, kw_only=True):
    """`[network]`: without any `interface` the network is left as it is."""

    interface: list[NetworkInterface] = []
    vlan: list[Vlan] = []
    bond: list[Bond] = []
    bridge: list[Bridge] = []
    dns: list[str] = []  # resolvers to ask; empty: the box asks the root servers and those below them itself
    dns_from_dhcp: bool = False  # ask those that DHCP names, if `dns` is empty
    search: list[str] = []  # domains to complete short names with
    ntp: list[str] = []  # names or addresses; empty: DHCP's, else Debian's pool
