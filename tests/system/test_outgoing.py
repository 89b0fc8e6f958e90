"""Mail to domains that are not ours: by MX hosts from a scripted DNS server, or by a smart host."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.certificates import server_context
from tests.support.client import Answer, Client
from tests.support.conditions import free_port, until
from tests.support.dns_server import DnsServer, Fault
from tests.support.gateway import Gateway
from tests.support.sink import Sink, say

BODY = b"From: <a@example.test>\r\nSubject: out\r\n\r\ntext\r\n"
HOSTS = [f"127.0.0.{number}" for number in range(21, 26)]


@pytest.fixture(scope="module")
def mx_port() -> int:
    return free_port()


@pytest.fixture
def zone() -> Iterator[DnsServer]:
    addresses = {(f"mx{number}.far.test", "A"): [host] for number, host in enumerate(HOSTS)}
    with DnsServer(addresses) as server:
        yield server


def relaying(zone: DnsServer, mx_port: int, **more: object) -> Gateway:
    tables: dict[str, object] = {
        "relay": {"networks": ["127.0.0.1/32"], "mx_port": mx_port},
        "dns": {"servers": [zone.address], "deadline": "1s"},
    }
    return Gateway([], tables | more)


def send(gateway: Gateway, to: str | list[str], parameters: str = "") -> Answer:
    with Client(gateway.port) as client:
        client.hello()
        return client.message("a@example.test", to, BODY, parameters)


def emptied(gateway: Gateway) -> None:
    until(lambda: gateway.metric("mailweir_queue_messages") == 0, "an empty queue")


def test_a_relay_client_reaches_the_best_mx_host(zone: DnsServer, mx_port: int) -> None:
    zone.zone["far.test", "MX"] = ["10 mx0.far.test.", "20 mx1.far.test."]
    with Sink(host=HOSTS[0], port=mx_port) as best, Sink(host=HOSTS[1], port=mx_port) as second:
        with relaying(zone, mx_port) as gateway:
            assert send(gateway, "x@far.test").code == 250
            assert best.wait_for(1)[0].body == BODY
            best.stop()
            assert send(gateway, "x@far.test").code == 250
            second.wait_for(1)
            emptied(gateway)
        assert len(best.taken) == 1


def test_hosts_of_equal_preference_share_the_load(zone: DnsServer, mx_port: int) -> None:
    zone.zone["far.test", "MX"] = ["10 mx0.far.test.", "10 mx1.far.test."]
    count = 1600  # of which 45 to 55 % are four standard deviations both ways
    arrived = threading.Semaphore(0)

    def taken(_: str) -> str:
        arrived.release()
        return "250 2.0.0 taken"

    with Sink(host=HOSTS[0], port=mx_port) as one, Sink(host=HOSTS[1], port=mx_port) as other:
        one.script["BODY"] = other.script["BODY"] = taken
        limits = {"messages_per_session": count, "messages_per_minute": 100_000, "recipients_per_minute": 100_000}
        with relaying(zone, mx_port, limits=limits) as gateway, Client(gateway.port) as client:
            client.hello()
            for _ in range(count):
                assert client.message("a@example.test", "x@far.test", BODY).code == 250
                # One at a time, so that each has a connection of its own and chooses anew.
                assert arrived.acquire(timeout=30)
            emptied(gateway)
        assert len(one.taken) + len(other.taken) == count
        assert 0.45 * count <= len(one.taken) <= 0.55 * count
        assert zone.asked("MX") <= 2


def test_a_domain_without_mx_records_is_its_own_host(zone: DnsServer, mx_port: int) -> None:
    zone.zone["bare.test", "A"] = [HOSTS[2]]
    with Sink(host=HOSTS[2], port=mx_port) as sink, relaying(zone, mx_port) as gateway:
        assert send(gateway, "x@bare.test").code == 250
        sink.wait_for(1)


def test_a_null_mx_comes_back_as_a_report(zone: DnsServer, mx_port: int) -> None:
    zone.zone["null.test", "MX"] = ["0 ."]
    with Sink() as ours, relaying(zone, mx_port, next_hop=[hop(ours)]) as gateway:
        assert send(gateway, "x@null.test").code in (250, 556)
        report = ours.wait_for(1)[0]
        emptied(gateway)
    assert b"5.1.10" in report.content and report.mail.startswith("MAIL FROM:<>")


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.SERVFAIL, Fault.GARBAGE, Fault.WRONG_ID])
def test_dns_trouble_is_waited_out_and_nothing_is_lost(fault: Fault, zone: DnsServer, mx_port: int) -> None:
    zone.zone["far.test", "MX"] = ["10 mx0.far.test."]
    zone.faults["*"] = fault
    with Sink(host=HOSTS[0], port=mx_port) as sink, relaying(zone, mx_port) as gateway:
        answer = send(gateway, "x@far.test")
        assert answer.code == 250
        until(lambda: gateway.queue()[0]["recipients"][0]["reply"], "a first try")
        assert gateway.queue()[0]["recipients"][0]["reply"].startswith("4")
        zone.faults.clear()
        gateway.stop()  # a new start forgets for how long a destination was left alone
        gateway.start()
        assert sink.wait_for(1)[0].body == BODY
        emptied(gateway)


def test_protected_domains_are_never_looked_up(zone: DnsServer, mx_port: int) -> None:
    with Sink() as ours, relaying(zone, mx_port, next_hop=[hop(ours)]) as gateway:
        for _ in range(3):
            assert send(gateway, "b@example.test").code == 250
        assert len(ours.taken) == 3
    assert not zone.queries


def test_one_message_to_ours_and_theirs_reaches_both(zone: DnsServer, mx_port: int) -> None:
    zone.zone["far.test", "MX"] = ["10 mx0.far.test."]
    with (
        Sink() as ours,
        Sink(host=HOSTS[0], port=mx_port) as far,
        relaying(zone, mx_port, next_hop=[hop(ours)]) as gateway,
        Client(gateway.port) as client,
    ):
        client.hello()
        # Pipelined: the first recipient's next hop is still being asked when the second one changes the way.
        client.send(b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nRCPT TO:<x@far.test>\r\nDATA\r\n")
        assert [client.answer().code for _ in range(4)] == [250, 250, 250, 354]
        client.send(BODY + b".\r\n")
        assert client.answer().code == 250
        assert ours.wait_for(1)[0].body == far.wait_for(1)[0].body == BODY
        emptied(gateway)


def test_a_stranger_must_send_to_two_next_hops_separately() -> None:
    with Sink() as one, Sink() as two:
        domains = [{"name": "example.test", "next_hop": "one"}, {"name": "second.test", "next_hop": "two"}]
        more = {"domain": domains, "next_hop": [hop(one, "one"), hop(two, "two")]}
        with Gateway([], more) as gateway, Client(gateway.port) as client:
            client.hello()
            codes = [answer.code for answer in client.envelope("a@s.test", ["b@example.test", "c@second.test"])]
            assert codes == [250, 250, 452]


def hop(sink: Sink, name: str = "hop", **more: object) -> dict[str, object]:
    return {"name": name, "servers": [{"url": sink.url}], "tls": "none"} | more


def test_a_smart_host_gets_the_mail_over_tls_with_a_login(tmp_path_factory: pytest.TempPathFactory) -> None:
    password_file = tmp_path_factory.mktemp("smart") / "password"
    password_file.touch(0o600)
    password_file.write_text("s3cret\n")
    context = server_context("smart.test")
    with Sink(tls=context, login=("gate", "s3cret")) as smart:
        smart_hop = {
            "name": "smart",
            "servers": [{"url": f"smtp://127.0.0.1:{free_port()}", "preference": 5}, {"url": smart.url}],
            "tls": "encrypt", "username": "gate", "password_file": str(password_file), "breaker_reset": "200ms",
        }  # fmt: skip
        relay = {"networks": ["127.0.0.1/32"], "smart_host": "smart"}
        with Sink() as ours, Gateway([], {"relay": relay, "next_hop": [hop(ours), smart_hop]}) as gateway:
            for _ in range(6):  # one of the two servers is down: the other gets all
                assert send(gateway, "x@far.test").code == 250
            taken = smart.wait_for(6)
            assert all(message.tls.startswith("TLSv1.") and message.body == BODY for message in taken)
            assert not ours.taken


def test_a_smart_host_that_refuses_the_login_gets_nothing_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    password_file = tmp_path_factory.mktemp("smart") / "password"
    password_file.touch(0o600)
    password_file.write_text("wrong\n")
    with Sink(tls=server_context("smart.test"), login=("gate", "s3cret")) as smart:
        smart_hop = hop(
            smart, "smart", tls="encrypt", username="gate", password_file=str(password_file), breaker_reset="200ms"
        )
        relay = {"networks": ["127.0.0.1/32"], "smart_host": "smart"}
        with Sink() as ours, Gateway([], {"relay": relay, "next_hop": [hop(ours), smart_hop]}) as gateway:
            assert send(gateway, "x@far.test").code == 250
            assert len(gateway.queue()) == 1
            assert not smart.commands["MAIL"]
            password_file.write_text("s3cret\n")
            smart.wait_for(1)


def test_the_route_that_is_told_is_the_route_that_is_taken(zone: DnsServer, mx_port: int) -> None:
    zone.zone["far.test", "MX"] = ["10 mx0.far.test.", "20 mx1.far.test."]
    with (
        Sink() as ours,
        Sink(host=HOSTS[0], port=mx_port) as far,
        relaying(zone, mx_port, next_hop=[hop(ours)]) as gateway,
    ):
        told = gateway.cli("route", "x@far.test")
        assert [host["addresses"] for host in told["hosts"]] == [[HOSTS[0]], [HOSTS[1]]]
        told_ours = gateway.cli("route", "b@example.test")
        assert told_ours["servers"][0]["url"] == ours.url
        assert send(gateway, "x@far.test").code == send(gateway, "b@example.test").code == 250
        far.wait_for(1)
        ours.wait_for(1)


def test_a_host_that_greets_with_a_refusal_is_followed_by_the_next(zone: DnsServer, mx_port: int) -> None:
    zone.zone["far.test", "MX"] = ["10 mx0.far.test.", "20 mx1.far.test."]
    with Sink(host=HOSTS[0], port=mx_port) as rude, Sink(host=HOSTS[1], port=mx_port) as kind:
        rude.script["CONNECT"] = say("554 5.3.2 no service")
        with relaying(zone, mx_port) as gateway:
            assert send(gateway, "x@far.test").code == 250
            kind.wait_for(1)
