"""The resolver against a scripted server, on asyncio and on uvloop: answers, lies, silence, and the cache."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from appliance.config.schema import Dns, Duration
from appliance.core.errors import BadDomain, ConfigError, DnsTrouble, NoSuchDomain
from appliance.dns.resolver import Resolver
from appliance.dns.upstream import Server, parse_server, system_servers
from tests.support.dns_server import DnsServer, Fault

ZONE = {
    ("example.test", "MX"): ["10 mx1.example.test.", "20 MX2.example.test."],
    ("example.test", "A"): ["192.0.2.10"],
    ("mx1.example.test", "A"): ["192.0.2.1", "192.0.2.2"],
    ("mx1.example.test", "AAAA"): ["2001:db8::1"],
    ("alias.test", "CNAME"): ["mx1.example.test."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["liar.test.", "mx1.example.test."],
    ("9.2.0.192.in-addr.arpa", "PTR"): ["liar.test."],
    ("8.2.0.192.in-addr.arpa", "PTR"): ["evil\\010x\\(.test."],
    ("evil\\010x\\(.test", "A"): ["192.0.2.8"],
    ("liar.test", "A"): ["203.0.113.1"],
}
ZONE["1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR"] = ["mx1.example.test."]

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as running:
        yield running


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]


def make(
    *servers: str, deadline_s: float = 5.0, clock: Callable[[], float] | None = None, entries: int = 100
) -> Resolver:
    config = Dns(servers=list(servers), deadline=Duration(deadline_s), cache_entries=entries)
    return Resolver(config) if clock is None else Resolver(config, clock=clock)


def dead_address() -> str:
    """An address at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_mx_and_addresses_are_answered_on_both_event_loops(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        resolver = make(server.address)
        assert sorted(await resolver.mx("Example.TEST")) == [(10, "mx1.example.test"), (20, "mx2.example.test")]
        assert sorted(await resolver.a("mx1.example.test")) == ["192.0.2.1", "192.0.2.2"]
        assert await resolver.aaaa("mx1.example.test") == ["2001:db8::1"]

    run(scene())


def test_an_alias_is_followed(run: Run, server: DnsServer) -> None:
    assert sorted(run(_await(lambda: make(server.address).a("alias.test")))) == ["192.0.2.1", "192.0.2.2"]


def test_a_name_without_such_records_is_empty_and_a_missing_name_is_an_error(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        resolver = make(server.address)
        assert await resolver.mx("mx1.example.test") == []
        with pytest.raises(NoSuchDomain) as missing:
            await resolver.mx("missing.test")
        assert missing.value.reply.permanent

    run(scene())


def test_a_truncated_answer_is_fetched_by_tcp(run: Run, server: DnsServer) -> None:
    server.faults["mx1.example.test"] = Fault.TRUNCATE
    assert len(run(_await(lambda: make(server.address).a("mx1.example.test")))) == 2
    assert server.tcp_queries == 1


def test_an_answer_that_does_not_fit_a_datagram_comes_whole(run: Run, server: DnsServer) -> None:
    server.zone["big.test", "A"] = [f"10.0.{i // 250}.{i % 250}" for i in range(400)]

    async def scene() -> None:
        resolver = make(server.address)
        assert len(await resolver.a("big.test")) == 400
        # Too large to be kept: memory is bounded in octets too.
        assert len(await resolver.a("big.test")) == 400
        assert resolver.queries["A"] == 2

    run(scene())


@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE, Fault.REFERRAL, Fault.WRONG_ID])
def test_a_server_that_fails_or_lies_is_passed_over_for_the_next(run: Run, server: DnsServer, fault: Fault) -> None:
    with DnsServer(ZONE) as bad:
        bad.faults["*"] = fault
        resolver = make(bad.address, server.address, deadline_s=2.0)
        assert run(_await(lambda: resolver.a("example.test"))) == ["192.0.2.10"]
        assert bad.asked("A") >= 1


def test_a_server_that_is_not_there_is_passed_over_for_the_next(run: Run, server: DnsServer) -> None:
    resolver = make(dead_address(), server.address, deadline_s=60.0)
    assert run(_await(lambda: resolver.a("example.test"))) == ["192.0.2.10"]


def test_a_silent_server_is_passed_over_and_then_asked_last(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        with DnsServer(ZONE) as silent:
            silent.faults["*"] = Fault.DROP
            resolver = make(silent.address, server.address, deadline_s=8.0)
            assert await resolver.a("example.test") == ["192.0.2.10"]
            assert silent.asked("A") == 1
            assert await resolver.a("liar.test") == ["203.0.113.1"]
            assert silent.asked("A") == 1

    run(scene())


def test_a_lost_datagram_is_sent_again(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        server.faults["example.test"] = Fault.DROP
        resolver = make(server.address, deadline_s=3.0)
        question = asyncio.create_task(resolver.a("example.test"))
        assert await asyncio.to_thread(server.wait_for_queries, 1)
        server.faults.clear()
        assert await question == ["192.0.2.10"]
        assert server.asked("A") >= 2

    run(scene())


@pytest.mark.parametrize("fault", [Fault.WRONG_ID, Fault.WRONG_QUESTION, Fault.GARBAGE, Fault.DROP])
def test_lies_and_silence_alone_end_as_temporary_trouble_at_the_deadline(
    run: Run, server: DnsServer, fault: Fault
) -> None:
    server.faults["*"] = fault
    with pytest.raises(DnsTrouble) as trouble:
        run(_await(lambda: make(server.address, deadline_s=0.2).a("example.test")))
    assert trouble.value.reply.temporary


def test_a_lie_that_comes_before_the_answer_is_ignored(run: Run, server: DnsServer) -> None:
    server.faults["*"] = Fault.LIE_FIRST
    assert run(_await(lambda: make(server.address).a("example.test"))) == ["192.0.2.10"]
    assert server.asked("A") == 1


def test_a_lie_by_tcp_is_trouble(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        server.faults["*"] = Fault.TRUNCATE
        resolver = make(server.address)
        lying = dict.fromkeys(["*"], Fault.WRONG_QUESTION)
        note = server._note

        def lie_by_tcp(query: Any) -> Fault | None:
            fault = note(query)
            server.faults = lying
            return fault

        server._note = lie_by_tcp  # type: ignore[method-assign]
        with pytest.raises(DnsTrouble):
            await resolver.a("example.test")
        assert server.tcp_queries == 1

    run(scene())


def test_when_all_servers_fail_at_once_the_deadline_is_not_waited_for(run: Run, server: DnsServer) -> None:
    server.faults["*"] = Fault.SERVFAIL
    resolver = make(server.address, dead_address(), deadline_s=3_600.0)
    with pytest.raises(DnsTrouble, match="SERVFAIL"):
        run(_await(lambda: resolver.a("example.test")))
    assert server.asked("A") == 1


def test_the_deadline_covers_all_servers_together(run: Run) -> None:
    async def scene() -> None:
        with DnsServer(ZONE) as one, DnsServer(ZONE) as two, DnsServer(ZONE) as three:
            for silent in (one, two, three):
                silent.faults["*"] = Fault.DROP
            # Had each server a deadline of its own, the look-up would outlive this limit.
            async with asyncio.timeout(2.5):
                with pytest.raises(DnsTrouble):
                    await make(one.address, two.address, three.address, deadline_s=1.0).a("example.test")
            assert all(silent.asked("A") for silent in (one, two, three))

    run(scene())


def test_trouble_is_not_remembered(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        resolver = make(server.address)
        server.faults["*"] = Fault.SERVFAIL
        with pytest.raises(DnsTrouble):
            await resolver.a("example.test")
        server.faults.clear()
        assert await resolver.a("example.test") == ["192.0.2.10"]

    run(scene())


def test_answers_are_cached_for_their_time_to_live(server: DnsServer) -> None:
    async def scene() -> None:
        now_s = 1_000.0
        server.ttls_s["example.test"] = 100
        resolver = make(server.address, clock=lambda: now_s)
        for now_s, expected in ((1_000.0, 1), (1_099.0, 1), (1_100.0, 2)):
            assert await resolver.a("example.test") == ["192.0.2.10"]
            assert resolver.queries["A"] == server.asked("A") == expected

    asyncio.run(scene())


def test_missing_names_and_missing_types_are_cached_too(server: DnsServer) -> None:
    async def scene() -> None:
        now_s = 0.0
        resolver = make(server.address, clock=lambda: now_s)
        for now_s, expected in ((0.0, 1), (59.0, 1), (60.0, 2)):
            with pytest.raises(NoSuchDomain):
                await resolver.a("missing.test")
            assert await resolver.mx("liar.test") == []
            assert (server.asked("A"), server.asked("MX")) == (expected, expected)

    asyncio.run(scene())


def test_the_cache_holds_no_more_than_its_entries(server: DnsServer) -> None:
    async def scene() -> None:
        resolver = make(server.address, entries=1)
        for name in ("example.test", "liar.test", "example.test"):
            await resolver.a(name)
        assert server.asked("A") == 3

    asyncio.run(scene())


def test_equal_questions_under_way_share_one_look_up_and_outlive_one_cancelled_caller(
    run: Run, server: DnsServer
) -> None:
    async def scene() -> None:
        server.faults["example.test"] = Fault.DELAY
        resolver = make(server.address, deadline_s=30.0)
        callers = [asyncio.create_task(resolver.a("example.test")) for _ in range(20)]
        assert await asyncio.to_thread(server.wait_for_queries, 1)
        callers[0].cancel()
        server.release()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == [["192.0.2.10"]] * 19
        assert resolver.queries == {"A": 1}

    run(scene())


def test_all_who_share_a_look_up_get_its_trouble_each_as_an_exception_of_their_own(server: DnsServer) -> None:
    async def scene() -> None:
        server.faults["*"] = Fault.DROP
        resolver = make(server.address, deadline_s=0.2)
        troubles = await asyncio.gather(*(resolver.a("example.test") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(trouble, DnsTrouble) for trouble in troubles)
        assert len({id(trouble) for trouble in troubles}) == 3

    asyncio.run(scene())


def test_more_questions_than_there_are_slots_wait_and_are_answered(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        for i in range(700):
            server.zone[f"host{i}.test", "A"] = ["192.0.2.77"]
        resolver = make(server.address, deadline_s=60.0, entries=1_000)
        answers = await asyncio.gather(*(resolver.a(f"host{i}.test") for i in range(700)))
        assert answers == [["192.0.2.77"]] * 700

    run(scene())


def test_closing_ends_the_wait_of_those_who_asked(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        server.faults["*"] = Fault.DROP
        resolver = make(server.address, deadline_s=3_600.0)
        caller = asyncio.create_task(resolver.a("example.test"))
        assert await asyncio.to_thread(server.wait_for_queries, 1)
        await resolver.close()
        with pytest.raises(DnsTrouble, match="closed"):
            await caller

    run(scene())


def open_sockets() -> set[str]:
    """This process's, by inode: other tests leave files and pipes to the collector."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {name for name in found if name.startswith("socket:")}



def test_a_look_up_that_is_given_up_at_any_step_leaves_no_descriptor_behind(run: Run, server: DnsServer) -> None:
    async def scene() -> None:
        server.faults["*"] = Fault.DROP
        before: set[str] = set()
        for steps in (11, *range(12)):  # the first time opens what the process keeps
            if steps == 0:
                before = open_sockets()
            resolver = make(server.address)
            caller = asyncio.create_task(resolver.a("example.test"))
            for _ in range(steps):
                await asyncio.sleep(0)
            await resolver.close()
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
        for _ in range(1_000):  # a transport that was closed gives its descriptor back in a later turn of the loop
            if open_sockets() <= before:
                break
            await asyncio.sleep(0)
        assert open_sockets() <= before

    run(scene())


def test_a_name_that_cannot_be_looked_up_asks_nobody(server: DnsServer) -> None:
    resolver = make(server.address)
    with pytest.raises(BadDomain):
        asyncio.run(resolver.a("a b.test"))
    assert not server.queries


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("192.0.2.1", "mx1.example.test"),
        ("::ffff:192.0.2.1", "mx1.example.test"),
        ("2001:db8::1", "mx1.example.test"),
        ("192.0.2.9", ""),
        ("192.0.2.8", ""),
        ("192.0.2.77", ""),
        ("not an address", ""),
    ],
)
def test_a_reverse_name_counts_only_when_it_points_back(server: DnsServer, ip: str, expected: str) -> None:
    assert asyncio.run(make(server.address).reverse(ip)) == expected


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.SERVFAIL, Fault.GARBAGE])
def test_a_reverse_look_up_in_trouble_is_no_name_and_no_error(run: Run, server: DnsServer, fault: Fault) -> None:
    server.faults["*"] = fault
    assert run(_await(lambda: make(server.address, deadline_s=0.2).reverse("192.0.2.1"))) == ""


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1", Server("127.0.0.1", 53)),
        ("127.0.0.1:5353", Server("127.0.0.1", 5353)),
        ("2001:db8::53", Server("2001:db8::53", 53)),
        ("[2001:db8::53]", Server("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", Server("2001:db8::53", 5353)),
    ],
)
def test_a_server_is_written_with_or_without_its_port(text: str, server: Server) -> None:
    assert parse_server(text) == server


@pytest.mark.parametrize(
    "text", ["", "dns.example", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "[::1", "1.2.3.4:²"]
)
def test_a_server_that_cannot_be_read_is_an_error_of_the_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match="dns.servers"):
        make(text)


def test_without_configured_servers_those_of_the_system_are_asked(tmp_path: Any) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    assert system_servers(str(resolv_conf)) == [Server("192.0.2.53", 53), Server("2001:db8::53", 53)]
    assert system_servers(str(tmp_path / "missing")) == [Server("127.0.0.1", 53)]


async def _await(ask: Callable[[], Awaitable[Any]]) -> Any:
    return await ask()
