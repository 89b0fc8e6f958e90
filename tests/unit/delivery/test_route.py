"""Routes: which domains are ours, whichever way they are written, and where the rest goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Config, Domain, HopServer, NextHop, Relay
from appliance.core.address import NULL_SENDER, Address, parse_address
from appliance.core.errors import ConfigError
from appliance.delivery import route as route_module
from appliance.delivery.route import RouteKind, Router

HOPS = [
    NextHop(name="inside", servers=[HopServer(url="smtp://192.0.2.1:25")]),
    NextHop(name="other", servers=[HopServer(url="lmtp://192.0.2.2:24")]),
    NextHop(name="smart", servers=[HopServer(url="smtp://192.0.2.3:587")]),
]


def router(*domains: Domain, smart_host: str = "") -> Router:
    relay = Relay(smart_host=smart_host)
    return Router(Config(hostname="gate.example.test", next_hop=HOPS, domain=list(domains), relay=relay))


def to(raw: str) -> Address:
    return parse_address(raw.encode(), utf8=True)


OURS = Domain(name="example.test", next_hop="inside", policy="strict")


def test_a_protected_domain_goes_to_its_next_hop_under_its_policy() -> None:
    route = router(OURS).route(to("someone@example.test"))
    assert (route.kind, route.key, route.policy) == (RouteKind.HOP, "hop:inside", "strict")
    assert route.hop is HOPS[0]


def test_the_case_of_a_domain_does_not_matter() -> None:
    assert router(Domain(name="Example.TEST", next_hop="inside")).route(to("a@eXample.tesT")).kind is RouteKind.HOP


def test_a_foreign_domain_goes_by_mx_without_a_smart_host() -> None:
    route = router(OURS).route(to("a@Elsewhere.example"))
    assert (route.kind, route.key, route.hop) == (RouteKind.MX, "mx:elsewhere.example", None)


def test_a_foreign_domain_goes_to_the_smart_host_where_there_is_one() -> None:
    route = router(OURS, smart_host="smart").route(to("a@elsewhere.example"))
    assert (route.kind, route.key, route.hop) == (RouteKind.SMART_HOST, "hop:smart", HOPS[2])


def test_a_protected_domain_never_goes_to_the_smart_host() -> None:
    assert router(OURS, smart_host="smart").route(to("a@example.test")).kind is RouteKind.HOP


def test_a_subdomain_is_ours_only_when_configured() -> None:
    assert router(OURS).route(to("a@sub.example.test")).kind is RouteKind.MX
    with_subdomains = Domain(name="example.test", next_hop="inside", subdomains=True)
    assert router(with_subdomains).route(to("a@deep.sub.example.test")).kind is RouteKind.HOP
    assert router(with_subdomains).route(to("a@example.test")).kind is RouteKind.HOP


def test_a_domain_that_only_ends_alike_is_no_subdomain() -> None:
    with_subdomains = Domain(name="example.test", next_hop="inside", subdomains=True)
    assert router(with_subdomains).route(to("a@notexample.test")).kind is RouteKind.MX
    assert router(with_subdomains).route(to("a@example.test.evil.example")).kind is RouteKind.MX


def test_an_exact_domain_comes_before_a_parent_and_a_near_parent_before_a_far_one() -> None:
    routes = router(
        Domain(name="example.test", next_hop="inside", subdomains=True),
        Domain(name="b.example.test", next_hop="other", subdomains=True),
        Domain(name="a.b.example.test", next_hop="smart"),
    )
    assert routes.route(to("x@a.b.example.test")).key == "hop:smart"
    assert routes.route(to("x@z.b.example.test")).key == "hop:other"
    assert routes.route(to("x@z.example.test")).key == "hop:inside"


@pytest.mark.parametrize("configured", ["bücher.example", "BÜCHER.example", "XN--BCHER-KVA.EXAMPLE"])
@pytest.mark.parametrize("asked", ["bücher.example", "Bücher.Example", "xn--bcher-kva.example", "bücher。example"])
def test_u_labels_and_a_labels_are_one_domain(configured: str, asked: str) -> None:
    route = router(Domain(name=configured, next_hop="inside")).route(to(f"a@{asked}"))
    assert (route.kind, route.domain) == (RouteKind.HOP, "xn--bcher-kva.example")


def test_a_domain_that_idna_forbids_leads_nowhere() -> None:
    assert router(OURS).route(Address("a@\u2028.example", "a", "\u2028.example")).kind is RouteKind.NONE
    assert router(OURS).route(Address("a@ü-.example", "a", "ü-.example")).key == "none"


def test_the_null_sender_leads_nowhere() -> None:
    assert router(OURS, smart_host="smart").route(NULL_SENDER).kind is RouteKind.NONE


def test_this_hosts_own_name_is_not_looked_up_in_the_dns() -> None:
    route = router(OURS, smart_host="smart").route(to("postmaster@gate.example.test"))
    assert route.kind is RouteKind.OWN
    assert not route.deliverable


def test_this_hosts_own_name_may_be_a_protected_domain() -> None:
    assert router(Domain(name="gate.example.test", next_hop="inside")).route(to("a@gate.example.test")).deliverable


def test_an_address_literal_is_never_a_subdomain() -> None:
    route = router(Domain(name="1", next_hop="inside", subdomains=True)).route(to("a@[192.0.2.1]"))
    assert (route.kind, route.domain) == (RouteKind.MX, "[192.0.2.1]")


def test_an_unknown_next_hop_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        router(Domain(name="example.test", next_hop="nowhere"))
    with pytest.raises(ConfigError, match=r"relay\.smart_host"):
        router(OURS, smart_host="nowhere")


def test_a_flood_of_domains_does_not_grow_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_module, "MAX_CACHED_DOMAINS", 8)
    routes = router(OURS)
    for number in range(100):
        assert routes.route(to(f"a@d{number}.example")).key == f"mx:d{number}.example"
    assert len(routes._cache) <= 8
    assert routes.route(to("a@example.test")).kind is RouteKind.HOP


def test_the_explanation_says_what_decided_and_where_it_goes() -> None:
    lines = router(OURS).explain(to("a@EXAMPLE.test"))
    assert "protected domain example.test" in lines[0]
    assert any("smtp://192.0.2.1:25" in line for line in lines)
    assert lines[-1] == "policy strict"
    assert "subdomain of" in router(Domain(name="example.test", next_hop="other", subdomains=True)).explain(
        to("a@b.example.test")
    )[0]
    assert "MX" in router(OURS).explain(to("a@elsewhere.example"))[0]
    assert any("xn--bcher-kva.example" in line for line in router(OURS).explain(to("a@bücher.example")))


@given(st.text(max_size=60))
def test_any_text_for_a_domain_gets_a_route(domain: str) -> None:
    route = router(Domain(name="example.test", next_hop="inside", subdomains=True), smart_host="smart").route(
        Address("a@" + domain, "a", domain)
    )
    assert route.kind in RouteKind
    assert route.domain.isascii() or route.domain.startswith("[")
