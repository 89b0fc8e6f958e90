"""What the other programmes of the box are told: the DHCP client, the resolver, the clock, the firewall."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.network_tables import Network
from appliance.config.schema import Config
from appliance.network import clock, dhcp, firewall, lease, names
from appliance.network.files import install
from appliance.network.values import Kind, Link, Wanted


def network(**tables: object) -> Network:
    return msgspec.convert(tables, Network)


def config(*addresses: str, **tables: object) -> Config:
    listen = [{"name": f"in{index}", "address": address} for index, address in enumerate(addresses)]
    return msgspec.convert({"hostname": "gw.example.test", "listen": listen, **tables}, Config)


# --- DHCP


def test_only_links_that_want_leases_are_given_to_the_client() -> None:
    files = dhcp.render(Wanted(leased=frozenset({("eth0", 4), ("eth0", 6), ("eth1", 6)})))
    assert set(files) == {dhcp.GENERAL, f"{dhcp.PREFIX}eth0.network", f"{dhcp.PREFIX}eth1.network"}
    both, advertised = files[f"{dhcp.PREFIX}eth0.network"], files[f"{dhcp.PREFIX}eth1.network"]
    assert "Name=eth0\n" in both and "DHCP=ipv4\n" in both and "IPv6AcceptRA=yes\n" in both
    assert "Name=eth1\n" in advertised and "DHCP=no\n" in advertised and "IPv6AcceptRA=yes\n" in advertised


def test_links_without_leases_are_nobodys_but_ours_once_there_is_a_configuration() -> None:
    eth = Link("eth0", Kind.PHYSICAL)
    files = dhcp.render(Wanted(links={"eth0": eth, "eth1": eth}, leased=frozenset({("eth0", 4)})))
    (rest,) = files.keys() - {dhcp.GENERAL, f"{dhcp.PREFIX}eth0.network"}
    assert "Name=*\n" in files[rest] and "Unmanaged=yes\n" in files[rest]
    assert max(name for name in files if name != dhcp.GENERAL) == rest, "networkd takes the first file that matches"
    assert dhcp.render(Wanted()).keys() == {dhcp.GENERAL}, "a box that nobody has configured takes leases everywhere"


def test_the_client_keeps_what_is_ours() -> None:
    files = dhcp.render(Wanted(leased=frozenset({("eth0", 4)})))
    assert "ManageForeignRoutes=no\n" in files[dhcp.GENERAL]
    assert "KeepConfiguration=static\n" in files[f"{dhcp.PREFIX}eth0.network"]
    assert "ActivationPolicy=manual\n" in files[f"{dhcp.PREFIX}eth0.network"]
    assert "IPv6AcceptRA=no\n" in files[f"{dhcp.PREFIX}eth0.network"]


def test_resolvers_are_found_in_the_clients_note() -> None:
    note = "# This is private data.\nOPER_STATE=routable\nDNS=192.0.2.53 2001:db8::53 192.0.2.54#dns.example\n"
    assert lease.resolvers(note) == ["192.0.2.53", "2001:db8::53", "192.0.2.54"]


def test_a_resolver_that_is_this_box_or_cannot_be_asked_is_left_out() -> None:
    assert lease.resolvers("DNS=127.0.0.1 fe80::1 ::1 0.0.0.0 224.0.0.1 192.0.2.53:5353 junk\n") == []


@given(st.text())
def test_a_note_of_another_form_names_nobody_and_harms_nobody(note: str) -> None:
    assert all(part in note for part in lease.resolvers(note))


# --- names and time


def test_without_forwarders_the_root_servers_are_asked() -> None:
    text = names.render(network(), [])[names.UNBOUND]
    assert "forward-zone" not in text
    assert "interface: 127.0.0.1\n" in text and "0.0.0.0" not in text


def test_forwarders_are_asked_for_everything_and_own_domains_need_no_signature() -> None:
    text = names.render(network(search=["corp.example"]), ["192.0.2.53", "2001:db8::53"])[names.UNBOUND]
    end = 'forward-zone:\n    name: "."\n    forward-addr: 192.0.2.53\n    forward-addr: 2001:db8::53\n'
    assert text.endswith(end)
    assert '    domain-insecure: "corp.example"\n' in text


def test_own_domains_are_verified_where_the_root_servers_are_asked() -> None:
    assert "corp.example" not in names.render(network(search=["corp.example"]), [])[names.UNBOUND]


def test_names_of_clocks_can_be_resolved_before_the_clock_is_set() -> None:
    assert 'domain-insecure: "pool.ntp.org"' in names.render(network(), [])[names.UNBOUND]
    own = names.render(network(ntp=["time.example.net", "192.0.2.1"]), [])[names.UNBOUND]
    assert 'domain-insecure: "time.example.net"' in own
    assert "192.0.2.1" not in own and "pool.ntp.org" not in own


def test_the_box_itself_asks_its_own_resolver_and_trusts_its_verdict() -> None:
    text = names.render(network(search=["a.example", "b.example"]), [])[names.RESOLV]
    assert text == "nameserver 127.0.0.1\noptions edns0 trust-ad\nsearch a.example b.example\n"


def test_who_names_clocks_gets_no_others() -> None:
    text = clock.render(network(ntp=["a.example", "192.0.2.1"]))[clock.TIMESYNCD]
    assert text == "[Time]\nNTP=a.example 192.0.2.1\nFallbackNTP=\n"
    assert clock.render(network())[clock.TIMESYNCD] == "[Time]\n"


# --- files


def test_files_are_written_once_and_those_of_links_without_leases_go(tmp_path: Path) -> None:
    first = dhcp.render(Wanted(leased=frozenset({("eth0", 4), ("eth1", 4)})))
    assert install(first, tmp_path) == set(first)
    assert install(first, tmp_path) == set()
    second = dhcp.render(Wanted(leased=frozenset({("eth1", 4)})))
    assert install(second, tmp_path) == {f"{dhcp.PREFIX}eth0.network"}
    assert sorted(path.name for path in (tmp_path / "systemd/network").iterdir()) == ["10-mailweir-eth1.network"]
    (tmp_path / "systemd/network/50-mine.network").write_text("[Match]\n")
    assert install(names.render(network(), []), tmp_path) == {names.UNBOUND, names.RESOLV}
    assert len(list((tmp_path / "systemd/network").iterdir())) == 2


# --- firewall


def test_only_what_is_listened_on_is_open() -> None:
    rules = firewall.render(config("0.0.0.0:25", "[::]:25", "192.0.2.5:587", "[2001:db8::5]:465", "127.0.0.1:2525"), [])
    opened = [line.strip() for line in rules.splitlines() if "dport" in line]
    assert opened == [
        "ip daddr 192.0.2.5 tcp dport 587 accept",
        "ip6 daddr 2001:db8::5 tcp dport 465 accept",
        "meta nfproto ipv4 tcp dport 25 accept",
        "meta nfproto ipv6 tcp dport 25 accept",
    ]
    assert rules.count("policy drop") == 2


def test_metrics_are_open_only_where_they_are_not_on_loopback() -> None:
    assert "9125" not in firewall.render(config("0.0.0.0:25"), [])
    assert "tcp dport 9125" in firewall.render(config(metrics={"address": "0.0.0.0:9125"}), [])


@pytest.mark.parametrize(("version", "ports"), [(4, "udp sport 67 udp dport 68"), (6, "udp sport 547 udp dport 546")])
def test_dhcp_may_answer_where_it_was_asked(version: int, ports: str) -> None:
    rules = firewall.render(config(), [("eth0", version), ("eth1", version)])
    (line,) = [line for line in rules.splitlines() if ports in line]
    assert 'iifname { "eth0", "eth1" }' in line
    assert ("nd-router-advert" in rules) == (version == 6)
    assert ports not in firewall.render(config(), [])
