from __future__ import annotations

import pytest

from appliance.config.complaints import complaints
from appliance.config.load import parse
from appliance.console import draft
from appliance.console.draft import Answers, Port
from tests.support.commit_bench import GOOD

PORTS = [
    Port(name="eth0"),
    Port(name="eth0", vlan=7),
    Port(name="eth1", dhcp=False, address4="192.0.2.5/24", gateway4="192.0.2.1"),
    Port(name="eth1", dhcp=False, address6="2001:db8::5/64", gateway6="fe80::1", vlan=9),
    Port(name="eth1", dhcp=False, address4="192.0.2.5/24", address6="2001:db8::5/64"),
]


def errors(text: str) -> list[str]:
    return [found.text for found in complaints(text, "test", files=False) if found.severity == "error"]


@pytest.mark.parametrize("port", PORTS, ids=Port.in_words)
@pytest.mark.parametrize("delivered", ["", GOOD], ids=["empty", "delivered"])
def test_the_first_configuration_is_one_that_the_check_takes(port: Port, delivered: str) -> None:
    given = Answers(port, ["192.0.2.53"], ["ntp.example.com"], "mx.example.com", "example.com", "smtp://192.0.2.10:25")
    text = draft.first(delivered, given)
    assert errors(text) == []
    config = parse(text, "test")
    assert (config.hostname, config.domain[0].name, len(config.domain)) == ("mx.example.com", "example.com", 1)
    assert config.next_hop[0].servers[0].url == "smtp://192.0.2.10:25" and len(config.next_hop) == 1
    assert config.network.dns == ["192.0.2.53"] and config.network.ntp == ["ntp.example.com"]
    assert draft.port_of(config) == port


@pytest.mark.parametrize("port", PORTS, ids=Port.in_words)
def test_another_port_leaves_nothing_of_the_one_before(port: Port) -> None:
    for before in PORTS:
        text = draft.with_port(draft.with_port(GOOD, before), port)
        assert draft.port_of(parse(text, "test")) == port
        assert errors(text) == []


def test_resolvers_of_dhcp_are_asked_where_none_are_named() -> None:
    text = draft.with_dns(draft.with_port(GOOD, PORTS[0]), [], dhcp=True)
    assert parse(text, "test").network.dns_from_dhcp
    assert not parse(draft.with_dns(text, ["192.0.2.53"], dhcp=True), "test").network.dns_from_dhcp


def test_comments_stay_where_something_else_is_changed() -> None:
    assert "# ours" in draft.with_domain(GOOD, "example.org", "smtp://192.0.2.20:25")


def test_a_new_domain_has_a_next_hop_of_its_own_and_takes_it_along() -> None:
    text = draft.with_domain(GOOD, "example.org", "smtp://192.0.2.20:25")
    config = parse(text, "test")
    assert [domain.name for domain in config.domain] == ["example.test", "example.org"]
    assert config.next_hop[1].servers[0].url == "smtp://192.0.2.20:25"
    without = parse(draft.without_domain(text, "example.org"), "test")
    assert without.domain == parse(GOOD, "test").domain and without.next_hop == parse(GOOD, "test").next_hop


def test_another_server_for_one_domain_leaves_the_other_domain_its_own() -> None:
    shared = GOOD + '[[domain]]\nname = "example.org"\nnext_hop = "inside"\n'
    config = parse(draft.with_domain(shared, "example.org", "smtp://192.0.2.20:25"), "test")
    urls = {hop.name: hop.servers[0].url for hop in config.next_hop}
    assert urls[config.domain[0].next_hop] == "smtp://192.0.2.1:25"
    assert urls[config.domain[1].next_hop] == "smtp://192.0.2.20:25"


def test_another_server_for_a_domain_alone_changes_its_next_hop() -> None:
    config = parse(draft.with_domain(GOOD, "example.test", "smtp://192.0.2.20:25"), "test")
    assert [hop.servers[0].url for hop in config.next_hop] == ["smtp://192.0.2.20:25"]
    assert config.next_hop[0].name == "inside"


def test_a_next_hop_that_something_else_uses_stays_without_its_domain() -> None:
    text = draft.with_domain(GOOD, "example.org", "smtp://192.0.2.20:25") + '[relay]\nsmart_host = "example.org"\n'
    assert len(parse(draft.without_domain(text, "example.org"), "test").next_hop) == 2
