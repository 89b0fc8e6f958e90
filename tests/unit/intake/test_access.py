"""Who may send where: protected domains take from everybody, the rest is for those who may relay, and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Config, Dns, Domain, HopServer, NextHop, Relay, Trusted
from appliance.core import reply
from appliance.core.address import BadAddress, parse_address
from appliance.core.envelope import Client
from appliance.delivery.route import Router
from appliance.intake.access import Access, contains, parse_networks

FINGERPRINT = "ab" * 32
STRANGER = Client("203.0.113.9")
NEIGHBOUR = Client("192.0.2.7")


def config(literals=False, **relay):
    return Config(
        hostname="gate.test",
        next_hop=[NextHop(name="inside", servers=[HopServer(url="smtp://198.51.100.1")])],
        domain=[Domain(name="ours.test", next_hop="inside")],
        relay=Relay(**relay),
        dns=Dns(allow_address_literals=literals),
        trusted=Trusted(xclient=["192.0.2.50"], proxy=["192.0.2.60/31"]),
    )


NETWORKS = {"networks": ["192.0.2.0/24", "2001:db8::/32"]}


def refusal(client, raw_address, **relay):
    configuration = config(**relay)
    address = parse_address(raw_address)
    return Access(configuration).refusal(client, address, Router(configuration).route(address))


def test_everybody_may_send_to_a_protected_domain():
    assert refusal(STRANGER, b"anna@ours.test") is None


@pytest.mark.parametrize(
    "raw", [b"x@elsewhere.test", b"x@sub.ours.test", b"x@ours.test.elsewhere.test", b"x@[192.0.2.1]"]
)
def test_a_stranger_may_not_relay(raw):
    assert refusal(STRANGER, raw, **NETWORKS) == reply.RELAY_DENIED


@pytest.mark.parametrize(
    "raw",
    [
        b"x%elsewhere.test@ours.test",
        b"elsewhere.test!x@ours.test",
        b'"x@elsewhere.test"@ours.test',
        b'"x%elsewhere.test"@ours.test',
        b'"a:b"@ours.test',
    ],
)
def test_a_local_part_that_asks_the_next_hop_to_relay_is_refused_to_strangers(raw):
    assert refusal(STRANGER, raw, **NETWORKS) == reply.RELAY_DENIED
    assert refusal(NEIGHBOUR, raw, **NETWORKS) is None


def test_a_source_route_counts_for_nothing():
    assert refusal(STRANGER, b"@ours.test:x@elsewhere.test", **NETWORKS) == reply.RELAY_DENIED
    assert refusal(STRANGER, b"@elsewhere.test:anna@ours.test") is None


@pytest.mark.parametrize("ip", ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1::1"])
def test_a_trusted_network_may_relay(ip):
    assert refusal(Client(ip), b"x@elsewhere.test", **NETWORKS) is None


@pytest.mark.parametrize("ip", ["192.0.3.7", "::192.0.2.7", "2001:db9::1", "", "unknown", "192.0.2.7.example"])
def test_what_is_not_in_the_network_may_not(ip):
    assert refusal(Client(ip), b"x@elsewhere.test", **NETWORKS) == reply.RELAY_DENIED


def test_a_login_may_relay_unless_logins_may_not():
    anna = Client("203.0.113.9", login="anna")
    assert refusal(anna, b"x@elsewhere.test") is None
    assert refusal(anna, b"x@elsewhere.test", logins=False) == reply.RELAY_DENIED


def test_a_certificate_on_the_list_may_relay_however_its_fingerprint_is_written():
    written = ":".join(["AB"] * 32)
    assert refusal(Client("203.0.113.9", certificate=FINGERPRINT), b"x@a.test", client_certificates=[written]) is None
    other = Client("203.0.113.9", certificate="cd" * 32)
    assert refusal(other, b"x@a.test", client_certificates=[written]) == reply.RELAY_DENIED
    assert refusal(STRANGER, b"x@a.test", client_certificates=[written]) == reply.RELAY_DENIED


def test_our_own_name_without_a_next_hop_has_no_mailboxes():
    for client in (STRANGER, NEIGHBOUR):
        found = refusal(client, b"x@gate.test", **NETWORKS)
        assert found is not None and found.permanent


def test_literals_are_refused_to_those_who_may_relay_too_unless_configured():
    found = refusal(NEIGHBOUR, b"x@[198.51.100.9]", **NETWORKS)
    assert found is not None and found.enhanced == "5.1.2"
    assert refusal(NEIGHBOUR, b"x@[198.51.100.9]", literals=True, **NETWORKS) is None
    assert refusal(STRANGER, b"x@[198.51.100.9]", literals=True, **NETWORKS) == reply.RELAY_DENIED


def test_only_trusted_peers_speak_for_others():
    access = Access(config())
    assert access.may_xclient("192.0.2.50") and access.may_xclient("::ffff:192.0.2.50")
    assert not access.may_xclient("192.0.2.51") and not access.may_xclient("127.0.0.1")
    assert access.may_proxy("192.0.2.61") and not access.may_proxy("192.0.2.62")


def test_without_lists_nobody_is_trusted():
    access = Access(Config(hostname="gate.test"))
    for ip in ("127.0.0.1", "::1", "", "192.0.2.7"):
        assert not (access.may_xclient(ip) or access.may_proxy(ip) or access.may_relay(Client(ip)))


def test_a_remembered_address_stays_what_it_was_when_the_memory_is_full(monkeypatch):
    monkeypatch.setattr("appliance.intake.access._MAX_CACHED", 3)
    access = Access(config(**NETWORKS))
    for _ in range(2):
        for last in range(10):
            assert access.may_relay(Client(f"192.0.2.{last}")) and not access.may_relay(Client(f"203.0.113.{last}"))


@given(st.ip_addresses(), st.ip_addresses(v=4))
def test_containment_is_that_of_ipaddress_with_mapped_addresses_as_ipv4(address, network):
    networks = parse_networks([f"{network}/8"])
    plain = getattr(address, "ipv4_mapped", None) or address
    assert contains(networks, str(address)) == (plain in networks[0])
    if plain.version == 4:
        assert contains(networks, f"::ffff:{plain}") == (plain in networks[0])


LOCAL = st.text(alphabet='ab%!@:"\\.', min_size=1, max_size=8) | st.sampled_from(["anna", '"x@a.test"', "@ours.test:x"])
DOMAIN = st.sampled_from(["ours.test", "OURS.test", "elsewhere.test", "gate.test", "[192.0.2.1]", "ours.test.a.test"])


@given(LOCAL, DOMAIN)
def test_no_address_whatever_its_form_leads_a_stranger_beyond_our_domains(local, domain):
    configuration = config(**NETWORKS)
    raw = f"{local}@{domain}".encode()
    try:
        address = parse_address(raw)
    except BadAddress:
        return
    route = Router(configuration).route(address)
    if Access(configuration).refusal(STRANGER, address, route) is None:
        assert address.domain == "ours.test" and not set("%!@:") & set(address.local)


CHECKED = b"health@k3xq8w2m.check.mailweir.invalid"


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_the_health_gates_domain_is_open_to_this_machine_alone_and_only_while_it_is_open(ip):
    configuration = config(**NETWORKS)
    router, access = Router(configuration), Access(configuration)
    address = parse_address(CHECKED)

    def refused(client):
        return access.refusal(client, address, router.route(address))

    everybody = (STRANGER, NEIGHBOUR, Client("203.0.113.9", login="anna"), Client(ip))
    assert all(refused(client).code == 550 for client in everybody), "not even who may relay, while it is closed"
    router.open_check(address.domain, NextHop(name=" check", servers=[HopServer(url="smtp://127.0.0.1:4000")]))
    assert [refused(client) is None for client in everybody] == [False, False, False, True]
    assert router.route(parse_address(b"x@other.check.mailweir.invalid")).hop is None
    router.close_check(address.domain)
    assert all(refused(client).code == 550 for client in everybody)
