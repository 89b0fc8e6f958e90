"""Delivery by MX: which host is next, which failure is final; and the race of a host's addresses."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import pytest

from appliance.core.errors import DnsTrouble, GatewayError, MxLoop, NextHopDown, NoSuchDomain, NullMx, TlsPolicyFailed
from appliance.core.reply import Reply
from appliance.delivery import happy
from appliance.delivery.endpoint import Endpoint
from appliance.delivery.remote import Remote
from appliance.delivery.route import Route, RouteKind
from appliance.dns import mx
from appliance.dns.mx import MxHost
from tests.support.queue_bench import FakeConnection, in_loop

ROUTE = Route(RouteKind.MX, "mx:x.example", "x.example")
HOSTS = [MxHost("one.x.example", 10, ("192.0.2.1", "2001:db8::1")), MxHost("two.x.example", 20, ("192.0.2.2",))]


def says(code: int, enhanced: str, text: str) -> GatewayError:
    error = GatewayError("said by a server")
    error.reply = Reply(code, enhanced, text)
    return error


class World:
    """DNS answers, and what meets whoever connects or greets."""

    def __init__(self, hosts: list[MxHost] | GatewayError) -> None:
        self.hosts = hosts
        self.unreachable: set[str] = set()
        self.greetings: dict[str, GatewayError] = {}
        self.tried: list[str] = []
        self.ports: set[int] = set()
        self.remote = Remote(self.look_up, self.open_smtp, connect_timeout_s=10, port=2525, connect=self.connect)

    async def look_up(self, domain: str) -> list[MxHost]:
        assert domain == "x.example"
        if isinstance(self.hosts, GatewayError):
            raise self.hosts
        return self.hosts

    async def connect(self, addresses: Collection[str], port: int, *, deadline_s: float) -> socket.socket:
        self.ports.add(port)
        if self.unreachable.issuperset(addresses):
            raise NextHopDown("nobody there")
        return socket.socket()

    async def open_smtp(self, sock: socket.socket, endpoint: Endpoint, *, requiretls: bool) -> FakeConnection:
        sock.close()
        self.tried.append(endpoint.host)
        if endpoint.host in self.greetings:
            raise self.greetings[endpoint.host]
        return FakeConnection(endpoint, {"REQUIRETLS": ""} if requiretls else {})

    async def open(self) -> str:
        return (await self.remote.open(ROUTE, requiretls=False)).endpoint.host


@in_loop
async def test_the_best_host_is_taken() -> None:
    world = World(HOSTS)
    assert await world.open() == "one.x.example"
    assert world.tried == ["one.x.example"]
    assert world.ports == {2525}


@in_loop
async def test_a_host_that_cannot_be_reached_is_followed_by_the_next() -> None:
    world = World(HOSTS)
    world.unreachable = {"192.0.2.1", "2001:db8::1"}
    assert await world.open() == "two.x.example"


@pytest.mark.parametrize("code", [421, 450, 554])
def test_a_host_that_refuses_us_at_the_greeting_is_followed_by_the_next(code: int) -> None:
    async def scenario() -> None:
        world = World(HOSTS)
        world.greetings["one.x.example"] = says(code, "", "Not you")
        assert await world.open() == "two.x.example"

    asyncio.run(scenario())


@in_loop
async def test_when_all_hosts_refuse_it_is_temporary_and_the_last_words_are_kept() -> None:
    world = World(HOSTS)
    world.greetings = {"one.x.example": says(421, "", "Busy"), "two.x.example": says(554, "5.7.1", "Go away")}
    with pytest.raises(NextHopDown) as raised:
        await world.open()
    assert raised.value.reply.temporary
    assert raised.value.reply.text == "two.x.example said: 554 5.7.1 Go away"
    assert "one.x.example" in str(raised.value)
    assert NextHopDown.reply.text != raised.value.reply.text, "the class keeps its own reply"


@in_loop
async def test_when_no_host_can_be_reached_it_is_temporary() -> None:
    world = World(HOSTS)
    world.unreachable = {"192.0.2.1", "2001:db8::1", "192.0.2.2"}
    with pytest.raises(NextHopDown) as raised:
        await world.open()
    assert raised.value.reply == NextHopDown.reply


@in_loop
async def test_a_host_without_the_required_tls_is_named_as_the_reason() -> None:
    world = World(HOSTS)
    world.greetings["one.x.example"] = TlsPolicyFailed("no STARTTLS")
    world.unreachable = {"192.0.2.2"}
    with pytest.raises(TlsPolicyFailed):
        await world.open()


@pytest.mark.parametrize("error", [NullMx("x"), NoSuchDomain("x"), MxLoop("x"), DnsTrouble("x")])
def test_what_dns_says_is_handed_on(error: GatewayError) -> None:
    async def scenario() -> None:
        with pytest.raises(type(error)):
            await World(error).open()

    asyncio.run(scenario())


@in_loop
async def test_a_connection_that_is_given_back_is_closed() -> None:
    world = World(HOSTS)
    connection = await world.remote.open(ROUTE, requiretls=True)
    assert "REQUIRETLS" in connection.extensions
    world.remote.release(connection)
    assert connection.trouble is not None


@in_loop
async def test_over_two_equal_hosts_the_load_is_about_even() -> None:
    class Zone:
        deadline_s = 10.0
        allow_address_literals = False

        async def mx(self, domain: str) -> list[tuple[int, str]]:
            return [(10, "one.x.example"), (10, "two.x.example")]

        async def a(self, host: str) -> list[str]:
            return ["192.0.2.1"]

        async def aaaa(self, host: str) -> list[str]:
            return []

    chance = random.Random(1)
    world = World(HOSTS)
    remote = Remote(
        lambda domain: mx.hosts(domain, Zone(), shuffle=chance),
        world.open_smtp,
        connect_timeout_s=10,
        connect=world.connect,
    )
    for _ in range(1000):
        await remote.open(ROUTE, requiretls=False)
    assert 450 <= world.tried.count("one.x.example") <= 550
    assert len(world.tried) == 1000


# -- the race


class Dialled:
    """Addresses that answer when the test says so: an exception, or a socket."""

    def __init__(self) -> None:
        self.pending: dict[str, asyncio.Future[socket.socket]] = {}
        self.cancelled: list[str] = []

    async def dial(self, address: str, port: int) -> socket.socket:
        answer: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self.pending[address] = answer
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happens")


def race(dialled: Dialled, *addresses: str, stagger_s: float = 0.0) -> asyncio.Task[socket.socket]:
    coroutine: Coroutine[Any, Any, socket.socket] = happy.connect(
        addresses, 25, deadline_s=3600, stagger_s=stagger_s, dial=dialled.dial
    )
    return asyncio.create_task(coroutine)


@in_loop
async def test_a_silent_address_is_overtaken_by_the_next() -> None:
    dialled = Dialled()
    running = race(dialled, "192.0.2.1", "192.0.2.2")
    await until(lambda: len(dialled.pending) == 2)
    with socket.socket() as winner:
        dialled.pending["192.0.2.2"].set_result(winner)
        assert await running is winner
        assert dialled.cancelled == ["192.0.2.1"]
        assert winner.fileno() >= 0


@in_loop
async def test_a_refusal_starts_the_next_attempt_at_once() -> None:
    dialled = Dialled()
    running = race(dialled, "192.0.2.1", "192.0.2.2", stagger_s=3600)
    await until(lambda: "192.0.2.1" in dialled.pending)
    assert "192.0.2.2" not in dialled.pending
    dialled.pending["192.0.2.1"].set_exception(ConnectionRefusedError("refused"))
    await until(lambda: "192.0.2.2" in dialled.pending)
    with socket.socket() as winner:
        dialled.pending["192.0.2.2"].set_result(winner)
        assert await running is winner


@in_loop
async def test_of_two_connections_at_once_one_is_closed() -> None:
    dialled = Dialled()
    running = race(dialled, "192.0.2.1", "192.0.2.2")
    await until(lambda: len(dialled.pending) == 2)
    sockets = [socket.socket(), socket.socket()]
    for answer, sock in zip(dialled.pending.values(), sockets, strict=True):
        answer.set_result(sock)
    winner = await running
    assert [sock.fileno() >= 0 for sock in sockets].count(True) == 1
    assert winner.fileno() >= 0
    winner.close()


@in_loop
async def test_when_every_address_fails_each_is_named() -> None:
    dialled = Dialled()
    running = race(dialled, "192.0.2.1", "2001:db8::2")
    await until(lambda: len(dialled.pending) == 2)
    for address, answer in dialled.pending.items():
        answer.set_exception(OSError(f"no route {address}"))
    with pytest.raises(NextHopDown, match="2001:db8::2: no route 2001:db8::2"):
        await running


@in_loop
async def test_no_address_at_all_is_an_answer_too() -> None:
    with pytest.raises(NextHopDown):
        await happy.connect([], 25, deadline_s=1)


@in_loop
async def test_the_deadline_ends_the_whole_race() -> None:
    dialled = Dialled()
    with pytest.raises(NextHopDown, match=r"192\.0\.2\.2: no answer"):
        await happy.connect(["192.0.2.1", "192.0.2.2"], 25, deadline_s=0.02, stagger_s=0, dial=dialled.dial)
    assert sorted(dialled.cancelled) == ["192.0.2.1", "192.0.2.2"]


@in_loop
async def test_giving_up_the_race_leaves_no_socket_open() -> None:
    dialled = Dialled()
    running = race(dialled, "192.0.2.1", "192.0.2.2")
    await until(lambda: len(dialled.pending) == 2)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()
    assert sorted(dialled.cancelled) == ["192.0.2.1", "192.0.2.2"]


@in_loop
async def test_a_refused_loopback_port_is_overtaken_by_one_that_listens() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        sock = await happy.connect(["127.0.0.3", "127.0.0.2"], port, deadline_s=10, stagger_s=3600)
        with sock:
            assert sock.getpeername() == ("127.0.0.2", port)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not sock.getblocking()
