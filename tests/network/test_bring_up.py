"""The whole network of a configuration, with a real DHCP client and server: set up, kept, changed, and put back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from appliance.config.load import parse
from appliance.config.schema import Config
from appliance.network import journal, names, nft
from appliance.network.bring_up import BringUpFailed, bring_up, recover_and_bring_up, refresh_names
from appliance.network.plan import way_back
from appliance.network.read import read
from appliance.network.values import Origin, State, Wanted
from tests.support.conditions import until
from tests.support.far_side import FarSide, far_side
from tests.support.namespaces import namespace, plug_in
from tests.support.networkd import Networkd

SERVER = """\
[Match]
Name=far-eth0
[Network]
Address=192.0.2.1/24
Address=2001:db8:1::1/64
DHCPServer=yes
IPv6SendRA=yes
[DHCPServer]
PoolOffset=50
PoolSize=20
EmitDNS=yes
DNS=192.0.2.53
EmitRouter=yes
[IPv6SendRA]
EmitDNS=yes
DNS=2001:db8:1::53
[IPv6Prefix]
Prefix=2001:db8:1::/64
"""
STATIC = 'addresses = ["198.51.100.7/24"]\ngateways = ["198.51.100.1"]\n'
LEASED = "dhcp4 = true\ndhcp6 = true\n" + STATIC
UNITS = ["systemd-networkd.service", "systemd-timesyncd.service", "unbound.service"]


def config(settings: str, network: str = "", extra: str = "") -> Config:
    text = f'hostname = "gw.example.test"\n[[listen]]\nname = "in"\naddress = "0.0.0.0:25"\n[network]\n{network}\n'
    return parse(f'{text}[[network.interface]]\nname = "eth0"\n{settings}\n{extra}', "/nowhere/gw.toml")


def now() -> State:
    with IPRoute() as ip:
        return read(ip)


def entries(state: State, origin: Origin) -> set[str]:
    addresses = {address.ip for address, whose in state.addresses.items() if whose is origin}
    return addresses | {
        f"{route.destination} {route.gateway}" for route, whose in state.routes.items() if whose is origin
    }


@pytest.fixture
def far() -> Iterator[FarSide]:
    with namespace(), far_side() as far:
        plug_in({"eth0": "02:00:00:00:00:01"})
        far.take("far-eth0")
        yield far


@pytest.fixture
def client(tmp_path: Path, far: FarSide) -> Iterator[Networkd]:
    """The box's, to be started by `tell`; the server on the cable runs."""
    server = Networkd(tmp_path / "server", far.enter)
    (server.run_dir / "systemd/network/10-server.network").write_text(SERVER)
    client = Networkd(tmp_path / "client")
    server.restart()
    try:
        yield client
    finally:
        client.stop()
        server.stop()


def telling(client: Networkd, told: list[str]) -> Callable[[str], None]:
    def reload(unit: str) -> None:
        told.append(unit)
        if unit == "systemd-networkd.service":
            client.restart()

    return reload


def test_leases_and_our_own_live_together_on_one_link(client: Networkd) -> None:
    told: list[str] = []
    reload = telling(client, told)
    leased = config(LEASED, "dns_from_dhcp = true")
    done = bring_up(leased, client.run_dir, reload)
    assert told == done.told == UNITS
    assert "forward-zone" not in (client.run_dir / names.UNBOUND).read_text()

    def has_leases() -> bool:
        found = " ".join(entries(now(), Origin.LEASED))
        return "0.0.0.0/0 192.0.2.1" in found and "2001:db8:1:" in found and "::/0 fe80:" in found

    until(has_leases, "leases of both kinds")
    ours = {"198.51.100.7/24", "0.0.0.0/0 198.51.100.1"}
    assert entries(now(), Origin.OURS) == ours

    again = bring_up(leased, client.run_dir, reload)
    assert again.steps == []
    assert has_leases()

    index = socket.if_nametoindex("eth0")
    until(
        lambda: "DNS=192.0.2.53" in (client.run_dir / f"systemd/netif/links/{index}").read_text(), "the client's note"
    )
    refresh_names(leased, client.run_dir, reload)
    assert "forward-addr: 192.0.2.53\n" in (client.run_dir / names.UNBOUND).read_text()
    assert refresh_names(leased, client.run_dir, reload) == []

    bring_up(config(STATIC), client.run_dir, reload)
    assert bring_up(config(STATIC), client.run_dir, reload).steps == []
    assert entries(now(), Origin.OURS) == ours
    assert entries(now(), Origin.LEASED) == set()


def test_the_second_time_nothing_is_done_and_nobody_told(far: FarSide, tmp_path: Path) -> None:
    first = bring_up(config(STATIC), tmp_path, lambda unit: None)
    assert first.steps and first.told == UNITS
    second = bring_up(config(STATIC), tmp_path, lambda unit: None)
    assert (second.steps, second.told, second.troubles) == ([], [], [])


def test_a_change_that_fails_leaves_links_firewall_and_files_as_they_were(far: FarSide, tmp_path: Path) -> None:
    bring_up(config(STATIC), tmp_path, lambda unit: None)
    state, rules = now(), nft.loaded()
    files = sorted((tmp_path / "systemd").rglob("*"))
    bad = config('dhcp4 = true\nmac = "01:00:5e:00:53:01"')  # a multicast one, which `config.check` would refuse
    told: list[str] = []
    with pytest.raises(BringUpFailed, match="cannot set MAC"):
        bring_up(bad, tmp_path, told.append)
    assert (now().addresses, now().routes) == (state.addresses, state.routes)
    assert nft.loaded() == rules
    assert told == []
    assert sorted((tmp_path / "systemd").rglob("*")) == files


def test_a_speed_that_the_port_cannot_have_is_refused_with_the_remedy_and_changes_nothing(
    far: FarSide, tmp_path: Path
) -> None:
    bring_up(config(STATIC), tmp_path, lambda unit: None)
    state, rules = now(), nft.loaded()
    bad = config('addresses = ["192.0.2.9/24"]\nspeed_mbit = 100\nduplex = "half"')
    says = "eth0 cannot be held to 100 Mbit/s, half duplex: nobody can set its speed; remove speed_mbit"
    told: list[str] = []
    with pytest.raises(BringUpFailed, match=says):
        bring_up(bad, tmp_path, told.append)
    assert (now(), nft.loaded(), told) == (state, rules, [])
    assert bring_up(config(STATIC), tmp_path, told.append).steps == []


def test_an_apply_that_broke_off_is_undone_before_the_configuration_is_set_up(far: FarSide, tmp_path: Path) -> None:
    bring_up(config(STATIC), tmp_path, lambda unit: None)
    state = now()
    journal.begin(tmp_path / "mailweir/network.journal", way_back(state, Wanted()))
    with IPRoute() as ip:
        ip.link("add", ifname="half", kind="bridge")
    done = recover_and_bring_up(config(STATIC), tmp_path, lambda unit: None)
    assert done.steps == []
    assert "half" not in now().links


def test_a_unit_that_cannot_be_told_is_a_trouble_and_the_others_are_told(far: FarSide, tmp_path: Path) -> None:
    def reload(unit: str) -> None:
        if unit.startswith("unbound"):
            raise OSError("unbound is not there")

    done = bring_up(config(STATIC), tmp_path, reload)
    assert done.troubles == ["unbound is not there"]
    assert done.told == UNITS[:2]


def test_a_port_that_is_not_plugged_in_is_missing_and_the_others_work(far: FarSide, tmp_path: Path) -> None:
    done = bring_up(
        config(STATIC, extra='[[network.interface]]\nname = "usb0"\ndhcp4 = true'), tmp_path, lambda unit: None
    )
    assert done.missing == ["usb0"]
    assert entries(now(), Origin.OURS) == {"198.51.100.7/24", "0.0.0.0/0 198.51.100.1"}


def test_without_network_tables_only_the_firewall_is_set(far: FarSide, tmp_path: Path) -> None:
    text = 'hostname = "gw.example.test"\n[[listen]]\nname = "in"\naddress = "0.0.0.0:25"\n'
    before = now()
    assert bring_up(parse(text, "/nowhere/gw.toml"), tmp_path, lambda unit: None).steps == []
    assert now() == before
    assert "tcp dport 25" in nft.loaded()
