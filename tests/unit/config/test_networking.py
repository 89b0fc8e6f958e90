"""[network] tables that the kernel would refuse, or that would leave the box unreachable, are refused beforehand."""

from __future__ import annotations

import pytest

from appliance.config.check import problems
from appliance.config.load import BadConfig, parse

BASE = """\
hostname = "gw.example.test"
[[listen]]
name = "in"
address = "0.0.0.0:25"
[[next_hop]]
name = "inside"
servers = [{ url = "smtp://192.0.2.1:25" }]
[[domain]]
name = "example.test"
next_hop = "inside"
[tls]
self_signed = true
"""
ETH0 = '[[network.interface]]\nname = "eth0"\n'
STATIC = ETH0 + 'addresses = ["192.0.2.5/24", "2001:db8::5/64"]\n'
BOND = '[[network.bond]]\nname = "b"\nports = ["eth1"]\n'
DHCP = ETH0 + "dhcp4 = true\n"


def found(tables: str, severity: str = "error") -> list[str]:
    config = parse(BASE + tables, "/nowhere/gw.toml")
    return [problem.key for problem in problems(config, files=False) if problem.severity == severity]


@pytest.mark.parametrize(
    "tables",
    [
        "",
        DHCP,
        DHCP + "speed_mbit = 10000\n",
        DHCP + 'speed_mbit = 100\nduplex = "half"\n',
        DHCP + '[[network.interface]]\nname = "eth1"\nspeed_mbit = 1000\n' + BOND,
        STATIC + 'gateways = ["192.0.2.1", "2001:db8::1"]\n',
        STATIC + 'gateways = ["fe80::1"]\n[[network.interface.route]]\nto = "10.0.0.0/8"\nvia = "192.0.2.2"\n',
        DHCP + '[[network.interface]]\nname = "mail"\nmatch_mac = "02:00:5E:00:53:01"\nmac = "02:00:5e:00:53:02"\n',
        '[[network.vlan]]\nname = "v5"\non = "b"\nid = 5\n[[network.bond]]\nname = "b"\nports = ["eth1", "eth2"]\n'
        '[[network.bridge]]\nname = "br0"\nports = ["v5", "eth3"]\n[[network.interface]]\nname = "br0"\ndhcp6 = true\n',
        '[network]\ndns = ["192.0.2.53"]\nsearch = ["corp.example"]\nntp = ["192.0.2.1", "ntp.example", "::2"]\n'
        + DHCP,
    ],
)
def test_a_good_network_has_no_problems(tables: str) -> None:
    assert found(tables) == []
    assert found(tables, "warning") == []


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ('[[network.interface]]\nname = "eth0/../x"\ndhcp4 = true', "network.interface[0].name"),
        ('[[network.interface]]\nname = "a-name-of-16-xxx"\ndhcp4 = true', "network.interface[0].name"),
        ('[[network.interface]]\nname = "lo"\ndhcp4 = true', "network.interface[0].name"),
        (DHCP + DHCP, "network.interface[1].name"),
        (DHCP + 'mac = "01:00:5e:00:53:01"', "network.interface[0].mac"),
        (DHCP + 'match_mac = "0200.5e00.5301"', "network.interface[0].match_mac"),
        (DHCP + "mtu = 576", "network.interface[0].mtu"),
        (DHCP + "speed_mbit = 54", "network.interface[0].speed_mbit"),
        (
            DHCP + '[[network.interface]]\nname = "b"\nspeed_mbit = 100\n' + BOND,
            "network.interface[1].speed_mbit",
        ),
        (DHCP + 'duplex = "full"', "network.interface[0].duplex"),
        (DHCP + 'speed_mbit = 100\nduplex = "both"', "network.interface[0].duplex"),
        (DHCP + 'speed_mbit = 2500\nduplex = "half"', "network.interface[0].duplex"),
        (ETH0 + 'addresses = ["192.0.2.5"]', "network.interface[0].addresses[0]"),
        (ETH0 + 'addresses = ["192.0.2.0/24"]', "network.interface[0].addresses[0]"),
        (ETH0 + 'addresses = ["192.0.2.255/24"]', "network.interface[0].addresses[0]"),
        (ETH0 + 'addresses = ["127.0.0.2/8"]', "network.interface[0].addresses[0]"),
        (ETH0 + 'addresses = ["fe80::2/64"]', "network.interface[0].addresses[0]"),
        (ETH0 + 'addresses = ["192.0.2.5/24", "192.0.2.5/16"]', "network.interface[0].addresses"),
        (STATIC + 'gateways = ["192.0.2.5"]', "network.interface[0].gateways[0]"),
        (STATIC + 'gateways = ["router"]', "network.interface[0].gateways[0]"),
        (STATIC + 'gateways = ["192.0.2.1", "192.0.2.2"]', "network.interface[0].gateways[1]"),
        (STATIC + 'enabled = false\ngateways = ["192.0.2.1"]', "network.interface[0].enabled"),
        (STATIC + '[[network.interface.route]]\nto = "10.0.0.1/8"', "network.interface[0].route[0].to"),
        (STATIC + '[[network.interface.route]]\nto = "::/0"\nvia = "192.0.2.1"', "network.interface[0].route[0].via"),
        (
            STATIC + '[[network.interface]]\nname = "eth1"\ngateways = ["2001:db8::1"]',
            "network.interface[1].gateways[0]",
        ),
        (DHCP + '[[network.vlan]]\nname = "v5"\non = "v5"\nid = 5', "network.vlan[0].on"),
        (
            DHCP
            + '[[network.vlan]]\nname = "v5"\non = "br0"\nid = 5\n[[network.bridge]]\nname = "br0"\nports = ["v5"]',
            "network.vlan[0].on",
        ),
        (
            DHCP
            + '[[network.vlan]]\nname = "a"\non = "eth0"\nid = 5\n[[network.vlan]]\nname = "b"\non = "eth0"\nid = 5',
            "network.vlan[1].id",
        ),
        (DHCP + '[[network.bond]]\nname = "b"\nports = ["eth0"]', "network.bond[0].ports[0]"),
        (
            DHCP + '[[network.bond]]\nname = "b"\nports = ["eth1"]\n[[network.bridge]]\nname = "c"\nports = ["eth1"]',
            "network.bridge[0].ports[0]",
        ),
        (DHCP + '[[network.bond]]\nname = "b"\nports = ["eth1"]\nfast_lacp = true', "network.bond[0].fast_lacp"),
        (
            DHCP + '[[network.vlan]]\nname = "v5"\non = "eth0"\nid = 5\n[[network.interface]]\nname = "v5"\nmtu = 9000',
            "network.interface[1].mtu",
        ),
        ('[[network.vlan]]\nname = "v5"\non = "eth0"\nid = 5', "network"),
        ('[network]\ndns = ["127.0.0.1"]\n' + DHCP, "network.dns[0]"),
        ('[network]\ndns = ["192.0.2.5"]\n' + STATIC, "network.dns[0]"),
        ('[network]\nsearch = ["a b"]\n' + DHCP, "network.search[0]"),
        ('[network]\nntp = ["-"]\n' + DHCP, "network.ntp[0]"),
        ("[network]\ndns_from_dhcp = true\n" + STATIC, "network.dns_from_dhcp"),
    ],
)
def test_what_cannot_be_is_an_error_at_its_key(tables: str, key: str) -> None:
    assert found(tables) == [key]


def test_a_box_that_nobody_could_reach_is_warned_of() -> None:
    assert found(ETH0, "warning") == ["network"]
    assert found(STATIC + 'gateways = ["198.51.100.1"]', "warning") == ["network.interface[0].gateways[0]"]


@pytest.mark.parametrize(
    "tables",
    [
        '[[network.vlan]]\nname = "v"\non = "eth0"\nid = 4095',
        '[[network.vlan]]\nname = "v"\non = "eth0"\nid = 0',
        '[[network.bond]]\nname = "b"\nports = []',
        '[[network.bond]]\nname = "b"\nports = ["eth0"]\nmode = "lacp"',
        ETH0 + "metric = 0",
        ETH0 + "dhcp = true",
    ],
)
def test_what_is_out_of_range_is_told_with_its_line(tables: str) -> None:
    with pytest.raises(BadConfig) as error:
        parse(BASE + tables, "/nowhere/gw.toml")
    assert error.value.faults[0].line > BASE.count("\n")
