"""The [network] tables become a state to plan for, on the hardware that is there."""

from __future__ import annotations

import msgspec
import pytest

from appliance.config.network_tables import Network
from appliance.network.plan import plan
from appliance.network.values import Address, Kind, Link, LinkMode, Route, Shape, State
from appliance.network.wanted import wanted_of


def hardware(*names: str) -> State:
    macs = {name: f"02:00:00:00:00:0{index}" for index, name in enumerate(names)}
    return State(
        {name: Link(name, Kind.PHYSICAL, mac=mac, mtu=1500, permanent_mac=mac) for name, mac in macs.items()},
    )


def tables(**network: object) -> Network:
    return msgspec.convert(network, Network)


def test_addresses_gateways_and_routes_are_written_as_the_kernel_shows_them() -> None:
    interface = {
        "name": "eth0",
        "addresses": ["192.0.2.5/24", "2001:DB8:0::5/64"],
        "gateways": ["192.0.2.1", "2001:db8:0::1"],
        "route": [{"to": "10.0.0.0/8", "via": "192.0.2.2", "metric": 7}],
    }
    wanted, missing = wanted_of(tables(interface=[interface]), hardware("eth0"))
    assert wanted.addresses == (Address("eth0", "192.0.2.5/24"), Address("eth0", "2001:db8::5/64"))
    assert wanted.routes == (
        Route("0.0.0.0/0", "eth0", "192.0.2.1", 100),
        Route("::/0", "eth0", "2001:db8::1", 100),
        Route("10.0.0.0/8", "eth0", "192.0.2.2", 7),
    )
    assert missing == []


def test_a_port_is_found_by_the_mac_of_its_hardware_whatever_it_is_called() -> None:
    interface = {"name": "office", "match_mac": "02:00:00:00:00:01", "dhcp4": True}
    network = tables(interface=[interface], vlan=[{"name": "v5", "on": "office", "id": 5}])
    wanted, missing = wanted_of(network, hardware("eth0", "enp3s0"))
    assert set(wanted.links) == {"enp3s0", "v5"}
    assert wanted.links["v5"].shape == Shape(parent="enp3s0", vlan_id=5)
    assert wanted.leased == {("enp3s0", 4)}
    assert missing == []


def test_missing_hardware_is_told_and_the_rest_is_planned_for() -> None:
    network = tables(
        interface=[{"name": "eth0", "addresses": ["192.0.2.5/24"]}, {"name": "usb0", "addresses": ["10.0.0.1/24"]}],
        vlan=[{"name": "v5", "on": "usb0", "id": 5}, {"name": "v6", "on": "v5", "id": 6}],
        bridge=[{"name": "br0", "ports": ["v6", "eth1"]}],
    )
    now = hardware("eth0", "eth1")
    wanted, missing = wanted_of(network, now)
    assert set(missing) == {"usb0", "v5", "v6"}
    assert set(wanted.links) == {"eth0", "eth1", "br0"}
    assert wanted.addresses == (Address("eth0", "192.0.2.5/24"),)
    assert plan(now, wanted)


def test_a_bond_gives_its_ports_its_own_mtu_and_vlans_and_bridges_follow() -> None:
    network = tables(
        interface=[{"name": "up", "mtu": 9000}, {"name": "eth2", "mtu": 4000}],
        bond=[{"name": "up", "ports": ["eth0", "eth1"], "mode": "802.3ad", "fast_lacp": True}],
        vlan=[{"name": "v5", "on": "up", "id": 5}, {"name": "v6", "on": "br0", "id": 6}],
        bridge=[{"name": "br0", "ports": ["v5", "eth2"]}],
    )
    wanted, _ = wanted_of(network, hardware("eth0", "eth1", "eth2"))
    mtus = {name: link.mtu for name, link in wanted.links.items()}
    assert mtus == {"eth0": 9000, "eth1": 9000, "eth2": 4000, "up": 9000, "v5": 9000, "br0": 4000, "v6": 4000}
    masters = {name: link.master for name, link in wanted.links.items() if link.master}
    assert masters == {"eth0": "up", "eth1": "up", "eth2": "br0", "v5": "br0"}
    assert wanted.links["up"].shape == Shape(bond_mode="802.3ad", miimon_ms=100, fast_lacp=True)
    assert wanted.links["eth0"].mac == ""


def test_a_mac_that_is_no_longer_configured_gives_way_to_the_hardwares() -> None:
    now = hardware("eth0")
    now.links["eth0"] = msgspec.structs.replace(now.links["eth0"], mac="02:aa:00:00:00:01")
    wanted, _ = wanted_of(tables(interface=[{"name": "eth0", "dhcp4": True}]), now)
    assert wanted.links["eth0"].mac == "02:00:00:00:00:00"


def test_a_port_with_a_speed_is_held_to_it_a_bonds_port_as_well() -> None:
    interfaces = [{"name": "eth0", "speed_mbit": 100, "duplex": "half"}, {"name": "eth1", "speed_mbit": 1000}]
    network = tables(interface=[*interfaces, {"name": "up"}], bond=[{"name": "up", "ports": ["eth1", "eth2"]}])
    wanted, _ = wanted_of(network, hardware("eth0", "eth1", "eth2"))
    held = {name: link.held for name, link in wanted.links.items()}
    assert held == {"eth0": LinkMode(100, False), "eth1": LinkMode(1000), "eth2": None, "up": None}


def test_ports_that_no_table_names_are_switched_off() -> None:
    now = hardware("eth0", "eth1")
    now.links["eth1"] = msgspec.structs.replace(now.links["eth1"], up=True)
    wanted, _ = wanted_of(tables(interface=[{"name": "eth0", "dhcp4": True}]), now)
    assert [str(step) for step in plan(now, wanted)] == ["set eth0 up", "set eth1 down"]


def test_no_circle_of_links_goes_on_for_ever() -> None:
    network = tables(vlan=[{"name": "a", "on": "b", "id": 5}, {"name": "b", "on": "a", "id": 5}])
    with pytest.raises(ValueError, match="circle"):
        wanted_of(network, hardware("eth0"))
