"""Routes by MX: which hosts, in which order, and what each kind of trouble means for the message."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.schema import Dns, Duration
from appliance.core.errors import (
    AddressLiteralRefused,
    BadDomain,
    DnsTrouble,
    MxLoop,
    NoMailHost,
    NoSuchDomain,
    NullMx,
)
from appliance.dns import mx
from appliance.dns.resolver import Resolver
from tests.support.dns_server import DnsServer, Fault


class Book:
    """A resolver without a network. A value may be an exception, or an event that is waited for in vain."""

    def __init__(self, *, literals: bool = False, deadline_s: float = 5.0, **answers: Any) -> None:
        self.allow_address_literals = literals
        self.deadline_s = deadline_s
        self.answers: dict[tuple[str, str], Any] = {}
        self.asked: Counter[str] = Counter()
        for kind, names in answers.items():
            self.answers.update({(kind, name): answer for name, answer in names.items()})

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        return list(await self._answer("mx", domain))

    async def a(self, host: str) -> list[str]:
        return list(await self._answer("a", host))

    async def aaaa(self, host: str) -> list[str]:
        return list(await self._answer("aaaa", host))

    async def _answer(self, kind: str, name: str) -> Any:
        self.asked[kind] += 1
        answer = self.answers.get((kind, name), [])
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(ask: Awaitable[Any]) -> Any:
    async def scene() -> Any:
        return await ask

    return asyncio.run(scene())


def names(found: list[mx.MxHost]) -> list[str]:
    return [host.name for host in found]


TWO_EQUAL: dict[str, Any] = {
    "mx": {"example.test": [(10, "mx1.test"), (10, "mx2.test")]},
    "a": {"mx1.test": ["192.0.2.1"], "mx2.test": ["192.0.2.2"]},
}


def test_hosts_come_in_the_order_of_preference_with_their_addresses() -> None:
    book = Book(
        mx={"example.test": [(30, "c.test"), (10, "a.test"), (20, "b.test")]},
        a={"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"], "c.test": ["192.0.2.3"]},
        aaaa={"b.test": ["2001:db8::2"]},
    )
    assert run(mx.hosts("Example.test", book)) == [
        mx.MxHost("a.test", 10, ("192.0.2.1",)),
        mx.MxHost("b.test", 20, ("2001:db8::2", "192.0.2.2")),
        mx.MxHost("c.test", 30, ("192.0.2.3",)),
    ]


def test_a_thousand_deliveries_over_two_equal_hosts_are_split_evenly() -> None:
    async def scene() -> Counter[str]:
        shuffle = random.Random(2)  # a fixed seed: chance must not decide whether the test passes
        book = Book(**TWO_EQUAL)
        return Counter([(await mx.hosts("example.test", book, shuffle=shuffle))[0].name for _ in range(1_000)])

    first = asyncio.run(scene())
    assert 450 <= first["mx1.test"] <= 550
    assert sum(first.values()) == 1_000


def test_without_a_given_source_of_chance_both_orders_occur() -> None:
    async def scene() -> set[str]:
        return {(await mx.hosts("example.test", Book(**TWO_EQUAL)))[0].name for _ in range(100)}

    assert asyncio.run(scene()) == {"mx1.test", "mx2.test"}


def test_a_null_mx_takes_no_mail() -> None:
    with pytest.raises(NullMx) as refusal:
        run(mx.hosts("example.test", Book(mx={"example.test": [(0, ".")]}, a={"example.test": ["192.0.2.1"]})))
    assert refusal.value.reply.code == 556


def test_a_null_mx_beside_a_real_one_is_passed_over() -> None:
    book = Book(mx={"example.test": [(0, "."), (10, "mx1.test")]}, a={"mx1.test": ["192.0.2.1"]})
    assert names(run(mx.hosts("example.test", book))) == ["mx1.test"]


def test_without_mx_records_the_domain_itself_is_the_host() -> None:
    book = Book(a={"example.test": ["192.0.2.9"]}, aaaa={"example.test": ["2001:db8::9"]})
    assert run(mx.hosts("example.test", book)) == [mx.MxHost("example.test", 0, ("2001:db8::9", "192.0.2.9"))]


def test_with_mx_records_the_domain_itself_is_never_the_host() -> None:
    book = Book(mx={"example.test": [(10, "gone.test")]}, a={"example.test": ["192.0.2.9"]})
    with pytest.raises(NoMailHost):
        run(mx.hosts("example.test", book))


def test_a_domain_that_does_not_exist_is_refused_for_good() -> None:
    with pytest.raises(NoSuchDomain) as refusal:
        run(mx.hosts("example.test", Book(mx={"example.test": NoSuchDomain("NXDOMAIN")})))
    assert refusal.value.reply.permanent


def test_a_domain_without_any_host_is_refused_for_good() -> None:
    with pytest.raises(NoMailHost) as refusal:
        run(mx.hosts("example.test", Book()))
    assert refusal.value.reply.permanent


def test_mx_names_without_addresses_make_room_for_the_next() -> None:
    book = Book(
        mx={"example.test": [(5, "empty.test"), (7, "missing.test"), (10, "mx1.test")]},
        a={"missing.test": NoSuchDomain("NXDOMAIN"), "mx1.test": ["192.0.2.1"]},
        aaaa={"missing.test": NoSuchDomain("NXDOMAIN")},
    )
    assert names(run(mx.hosts("example.test", book))) == ["mx1.test"]


def test_a_host_whose_look_up_fails_makes_room_for_the_next() -> None:
    trouble = DnsTrouble("SERVFAIL")
    book = Book(
        mx={"example.test": [(5, "sick.test"), (10, "mx1.test")]},
        a={"sick.test": trouble, "mx1.test": ["192.0.2.1"]},
        aaaa={"sick.test": trouble},
    )
    assert names(run(mx.hosts("example.test", book))) == ["mx1.test"]


def test_trouble_with_every_usable_host_is_temporary() -> None:
    book = Book(mx={"example.test": [(5, "sick.test"), (10, "empty.test")]}, a={"sick.test": DnsTrouble("SERVFAIL")})
    with pytest.raises(DnsTrouble) as trouble:
        run(mx.hosts("example.test", book))
    assert trouble.value.reply.temporary


def test_a_host_that_is_slow_to_resolve_delays_the_whole_no_longer_than_the_deadline() -> None:
    async def scene() -> list[str]:
        never = asyncio.Event()
        book = Book(
            deadline_s=0.1,
            mx={"example.test": [(5, "slow.test"), (10, "mx1.test")]},
            a={"slow.test": never, "mx1.test": ["192.0.2.1"]},
        )
        async with asyncio.timeout(5):
            return names(await mx.hosts("example.test", book))

    assert asyncio.run(scene()) == ["mx1.test"]


def test_u_labels_are_looked_up_as_a_labels() -> None:
    book = Book(mx={"xn--bcher-kva.example": [(10, "mx1.test")]}, a={"mx1.test": ["192.0.2.1"]})
    assert names(run(mx.hosts("bücher.example", book))) == ["mx1.test"]


def test_a_domain_that_idna_forbids_is_refused_and_asks_nobody() -> None:
    book = Book()
    with pytest.raises(BadDomain):
        run(mx.hosts("☃☃.example", book))
    assert not book.asked


def test_hosts_no_better_than_ourselves_are_dropped_equal_ones_too() -> None:
    found = run(
        mx.hosts(
            "example.test",
            Book(
                mx={"example.test": [(10, "a.test"), (20, "us.test"), (20, "b.test"), (30, "c.test")]},
                a={name: ["192.0.2.1"] for name in ("a.test", "us.test", "b.test", "c.test")},
            ),
            own_names={"us.test"},
        )
    )
    assert names(found) == ["a.test"]


@pytest.mark.parametrize("own", ["192.0.2.20", "192.0.2.16/29", "2001:db8::20"])
def test_we_know_ourselves_by_address_under_any_name(own: str) -> None:
    book = Book(
        mx={"example.test": [(10, "a.test"), (20, "alias-of-us.test"), (30, "c.test")]},
        a={"a.test": ["192.0.2.1"], "alias-of-us.test": ["192.0.2.20"], "c.test": ["192.0.2.3"]},
        aaaa={"alias-of-us.test": ["2001:db8::20"]},
    )
    assert names(run(mx.hosts("example.test", book, own_addresses=[own]))) == ["a.test"]


@pytest.mark.parametrize("own", [{"own_names": ["us.test"]}, {"own_addresses": ["127.0.0.0/8"]}])
def test_when_the_best_host_is_ours_the_message_would_loop(own: dict[str, Any]) -> None:
    book = Book(
        mx={"example.test": [(10, "us.test"), (10, "b.test")]},
        a={"us.test": ["127.0.0.3"], "b.test": ["192.0.2.1"]},
    )
    with pytest.raises(MxLoop) as refusal:
        run(mx.hosts("example.test", book, **own))
    assert refusal.value.reply.permanent


def test_a_mapped_address_does_not_hide_that_a_host_is_ours() -> None:
    book = Book(aaaa={"example.test": ["::ffff:127.0.0.1"]})
    with pytest.raises(MxLoop):
        run(mx.hosts("example.test", book, own_addresses=["127.0.0.1"]))


def test_a_better_host_in_trouble_is_waited_for_rather_than_called_a_loop() -> None:
    book = Book(
        mx={"example.test": [(10, "sick.test"), (20, "us.test")]},
        a={"sick.test": DnsTrouble("SERVFAIL"), "us.test": ["127.0.0.1"]},
    )
    with pytest.raises(DnsTrouble):
        run(mx.hosts("example.test", book, own_addresses=["127.0.0.1"]))


def test_at_most_twenty_hosts_the_best_ones_with_twenty_addresses_each() -> None:
    book = Book(
        mx={"example.test": [(rank, f"mx{rank}.test") for rank in range(500, 0, -1)]},
        a={f"mx{rank}.test": [f"192.0.2.{i}" for i in range(1, 200)] for rank in range(1, 501)},
    )
    found = run(mx.hosts("example.test", book))
    assert names(found) == [f"mx{rank}.test" for rank in range(1, 21)]
    assert {len(host.addresses) for host in found} == {20}
    assert book.asked["a"] == 20


def test_a_host_that_is_listed_twice_is_tried_once_at_its_better_place() -> None:
    book = Book(
        mx={"example.test": [(30, "a.test"), (20, "b.test"), (10, "a.test")]},
        a={"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"]},
    )
    assert [(host.preference, host.name) for host in run(mx.hosts("example.test", book))] == [
        (10, "a.test"),
        (20, "b.test"),
    ]


def test_mx_names_that_are_no_host_names_are_never_looked_up() -> None:
    book = Book(
        mx={"example.test": [(1, "[127.0.0.1]"), (2, "a\\010b.test"), (3, "x;reboot.test"), (10, "mx1.test")]},
        a={"mx1.test": ["192.0.2.1"]},
    )
    assert names(run(mx.hosts("example.test", book))) == ["mx1.test"]
    assert book.asked == {"mx": 1, "a": 1, "aaaa": 1}


def test_addresses_come_by_turns_ipv6_first() -> None:
    book = Book(a={"h.test": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}, aaaa={"h.test": ["2001:db8::1"]})
    assert run(mx.addresses("h.test", book)) == ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_one_familys_trouble_is_passed_over_when_the_other_has_addresses() -> None:
    trouble = DnsTrouble("SERVFAIL")
    assert run(mx.addresses("h.test", Book(a={"h.test": ["192.0.2.1"]}, aaaa={"h.test": trouble}))) == ["192.0.2.1"]
    assert run(mx.addresses("h.test", Book(a={"h.test": trouble}, aaaa={"h.test": ["2001:db8::1"]}))) == ["2001:db8::1"]
    for book in (Book(a={"h.test": trouble}), Book(aaaa={"h.test": trouble})):
        with pytest.raises(DnsTrouble):
            run(mx.addresses("h.test", book))


def test_addresses_that_would_lead_nowhere_but_to_ourselves_are_left_out() -> None:
    book = Book(a={"h.test": ["0.0.0.0", "224.0.0.1", "255.255.255.255"]}, aaaa={"h.test": ["::", "ff02::1"]})
    assert run(mx.addresses("h.test", book)) == []


def test_a_host_that_does_not_exist_has_no_addresses() -> None:
    missing = NoSuchDomain("NXDOMAIN")
    assert run(mx.addresses("h.test", Book(a={"h.test": missing}, aaaa={"h.test": missing}))) == []


def test_address_literals_are_refused_by_default_without_a_question() -> None:
    book = Book()
    with pytest.raises(AddressLiteralRefused) as refusal:
        run(mx.hosts("[192.0.2.1]", book))
    assert refusal.value.reply.permanent
    assert not book.asked


def test_address_literals_are_their_own_address_where_they_are_allowed() -> None:
    book = Book(literals=True)
    assert run(mx.hosts("[192.0.2.1]", book)) == [mx.MxHost("[192.0.2.1]", 0, ("192.0.2.1",))]
    assert run(mx.addresses("[IPv6:2001:db8::1]", book)) == ["2001:db8::1"]
    assert not book.asked


@pytest.mark.parametrize("literal", ["[127.0.0.1]", "[IPv6:::ffff:127.0.0.1]", "[IPv6:::1]"])
def test_an_address_literal_of_ours_would_loop(literal: str) -> None:
    with pytest.raises(MxLoop):
        run(mx.hosts(literal, Book(literals=True), own_addresses=["127.0.0.0/8", "::1"]))


def test_an_address_literal_of_no_host_is_refused() -> None:
    with pytest.raises(BadDomain):
        run(mx.hosts("[0.0.0.0]", Book(literals=True)))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 65_535), st.sampled_from(["a.test", "b.test", "c.test", "us.test", ".", "x y"]))),
    st.integers(),
)
def test_whatever_the_records_say_hosts_are_ordered_distinct_and_better_than_ours(
    records: list[tuple[int, str]], seed: int
) -> None:
    book = Book(mx={"d.test": records}, a={f"{host}.test": ["192.0.2.1"] for host in ("a", "b", "c", "d", "us")})
    try:
        found = run(mx.hosts("d.test", book, own_names=["us.test"], shuffle=random.Random(seed)))
    except (NullMx, MxLoop, NoMailHost):
        assert records
        return
    ranks = [host.preference for host in found]
    assert found
    assert ranks == sorted(ranks)
    assert len(set(names(found))) == len(found)
    assert all(rank < own for rank in ranks for own, host in records if host == "us.test")


@pytest.fixture
def server() -> Iterator[DnsServer]:
    zone = {
        ("example.test", "MX"): ["10 mx1.test.", "20 mx2.test."],
        ("mx1.test", "A"): ["192.0.2.1"],
        ("mx2.test", "CNAME"): ["real.test."],
        ("real.test", "A"): ["192.0.2.2"],
        ("nothing.test", "MX"): ["0 ."],
    }
    with DnsServer(zone) as running:
        yield running


@pytest.mark.parametrize("run_loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_routes_come_from_a_real_server_too_aliases_included(server: DnsServer, run_loop: Any) -> None:
    async def scene() -> None:
        resolver = Resolver(Dns(servers=[server.address], deadline=Duration(5)))
        assert await mx.hosts("example.test", resolver) == [
            mx.MxHost("mx1.test", 10, ("192.0.2.1",)),
            mx.MxHost("mx2.test", 20, ("192.0.2.2",)),
        ]
        with pytest.raises(NullMx):
            await mx.hosts("nothing.test", resolver)
        assert resolver.queries == {"MX": 2, "A": 2, "AAAA": 2}
        await mx.hosts("example.test", resolver)
        assert resolver.queries["MX"] == 2  # the second time from the cache

    run_loop(scene())


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE, Fault.WRONG_ID])
@pytest.mark.parametrize("run_loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_dead_dns_is_temporary_trouble_and_never_a_bounce(server: DnsServer, fault: Fault, run_loop: Any) -> None:
    server.faults["*"] = fault

    async def scene() -> None:
        with pytest.raises(DnsTrouble) as trouble:
            await mx.hosts("example.test", Resolver(Dns(servers=[server.address], deadline=Duration(0.2))))
        assert trouble.value.reply.temporary

    run_loop(scene())


def test_mail_for_hosts_with_dead_addresses_waits(server: DnsServer) -> None:
    server.faults.update({"mx1.test": Fault.SERVFAIL, "mx2.test": Fault.DROP})
    with pytest.raises(DnsTrouble):
        run(mx.hosts("example.test", Resolver(Dns(servers=[server.address], deadline=Duration(0.3)))))
