"""The rows of the feature table that a gateway without mailboxes has, one named test each."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.client import Client
from tests.support.conditions import free_port, until
from tests.support.dns_server import DnsServer, Fault
from tests.support.gateway import LOGIN, PASSWORD, Gateway
from tests.support.messages import EICAR, GTUBE
from tests.support.sink import Sink
from tests.system import test_access, test_outgoing, test_tls

BODY = b"From: <a@example.test>\r\nSubject: row\r\n\r\ntext\r\n"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink) -> Iterator[Gateway]:
    with Gateway([sink.url], submission=True) as gateway:
        yield gateway


@pytest.fixture
def zone() -> Iterator[DnsServer]:
    zone = {
        ("far.test", "MX"): ["10 mx.far.test."],
        ("mx.far.test", "A"): ["127.0.0.21"],
        ("bare.test", "A"): ["127.0.0.21"],
    }
    with DnsServer(zone | {("null.test", "MX"): ["0 ."]}) as server:
        yield server


def test_row_1_ports_25_and_587_have_their_manners(gateway: Gateway) -> None:
    with Client(gateway.port) as client:
        text = client.hello().text
        assert "STARTTLS" in text and "AUTH" not in text
    test_tls.test_submission_wants_tls_then_login(gateway)


def test_row_2_a_remote_recipient_is_looked_up_and_dead_dns_loses_nothing(zone: DnsServer) -> None:
    mx_port = free_port()
    with Sink(host="127.0.0.21", port=mx_port) as far, test_outgoing.relaying(zone, mx_port) as gateway:
        assert test_outgoing.send(gateway, "x@far.test").code == 250
        far.wait_for(1)
        assert zone.asked("MX") == 1
        zone.faults["*"] = Fault.DROP
        assert test_outgoing.send(gateway, "x@other.test").code == 250
        until(lambda: [e for e in gateway.queue() if e["recipients"][0]["attempts"]], "a first try in vain")


def test_row_3_a_protected_recipient_is_never_looked_up(zone: DnsServer) -> None:
    test_outgoing.test_protected_domains_are_never_looked_up(zone, free_port())


def test_row_4_a_relay_server_with_login_and_tls_stands_in_for_one_that_is_down(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    test_outgoing.test_a_smart_host_gets_the_mail_over_tls_with_a_login(tmp_path_factory)


def test_row_12_the_route_that_is_told_equals_the_one_that_is_taken(zone: DnsServer) -> None:
    mx_port = free_port()
    with (
        Sink() as ours,
        Sink(host="127.0.0.21", port=mx_port) as far,
        test_outgoing.relaying(zone, mx_port, next_hop=[test_outgoing.hop(ours)]) as gateway,
    ):
        assert gateway.cli("route", "b@example.test")["servers"][0]["url"] == ours.url
        assert gateway.cli("route", "x@far.test")["hosts"][0]["addresses"] == [far.host]
        for address in ("b@example.test", "x@far.test"):
            assert test_outgoing.send(gateway, address).code == 250
        assert ours.wait_for(1) and far.wait_for(1)


def test_row_13_a_gateway_holds_no_mailboxes_and_opens_no_ports_for_them(gateway: Gateway) -> None:
    inodes = set()
    for pid in gateway.worker_pids:
        with open(f"/proc/{pid}/net/tcp") as table:
            lines = [line.split() for line in table.readlines()[1:]]
        inodes = {line[1].split(":")[1] for line in lines if line[3] == "0A"}
    configured = {gateway.port, gateway.submission_port, gateway.submissions_port}
    listening = {int(port, 16) for port in inodes}
    assert configured <= listening
    for port in (110, 143, 993, 995):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_row_16_client_recipient_and_login_decide_who_may_send_where(sink: Sink) -> None:
    with Gateway([sink.url], {"relay": {"networks": ["127.0.0.7/32"]}}, submission=True) as gateway:
        test_access.test_the_networks_of_the_configuration_may_relay_and_their_neighbours_may_not(gateway)
        test_access.test_a_login_may_relay_and_only_as_itself(gateway)


@pytest.mark.parametrize("known", [GTUBE, EICAR], ids=["GTUBE", "EICAR"])
def test_row_17_what_must_be_found_is_found_and_the_trace_says_why(known: bytes, gateway: Gateway) -> None:
    with Client(gateway.port) as client:
        client.hello()
        answer = client.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n" + known + b"\r\n")
        assert answer.code == 554 and answer.id
    event = gateway.wait_for_event("message", id=answer.id)
    assert event["action"] == "refuse" and "patterns" in str(event["facts"])


@pytest.mark.parametrize("sender", test_access.SENDERS)
def test_row_18_open_relay_tricks_are_all_refused(sender: str, gateway: Gateway, sink: Sink) -> None:
    test_access.test_no_relay_trick_works_for_a_stranger(sender, gateway, sink)


def test_row_20_mx_records_with_preference_fall_back_and_null(zone: DnsServer) -> None:
    mx_port = free_port()
    zone.zone["far.test", "MX"] = ["20 mx.far.test.", "10 down.far.test."]
    zone.zone["down.far.test", "A"] = ["127.0.0.22"]
    with (
        Sink(host="127.0.0.21", port=mx_port) as far,
        Sink() as ours,
        test_outgoing.relaying(zone, mx_port, next_hop=[test_outgoing.hop(ours)]) as gateway,
    ):
        for address in ("x@far.test", "x@bare.test", "x@null.test"):
            assert test_outgoing.send(gateway, address).code in (250, 556)
        far.wait_for(2)
        assert b"5.1.10" in ours.wait_for(1)[0].content


def test_row_21_the_lowest_preference_comes_first(zone: DnsServer) -> None:
    # Equal ones: test_outgoing.test_hosts_of_equal_preference_share_the_load.
    mx_port = free_port()
    for number in range(22, 25):
        zone.zone[f"mx{number}.far.test", "A"] = [f"127.0.0.{number}"]
    zone.zone["far.test", "MX"] = ["30 mx24.far.test.", "5 mx22.far.test.", "10 mx23.far.test."]
    sinks = [Sink(host=f"127.0.0.{number}", port=mx_port) for number in range(22, 25)]
    with sinks[0], sinks[1], sinks[2], test_outgoing.relaying(zone, mx_port) as gateway:
        for expected in ([1, 0, 0], [1, 1, 0], [1, 1, 1]):
            assert test_outgoing.send(gateway, "x@far.test").code == 250
            until(lambda expected=expected: [len(sink.taken) for sink in sinks] == expected, f"{expected} at the hosts")
            sinks[sum(expected) - 1].stop()


def test_row_24_our_received_tells_the_hop_and_a_loop_ends(gateway: Gateway, sink: Sink) -> None:
    sink.taken.clear()
    with Client(gateway.port) as client:
        client.hello("hop.test")
        answer = client.message("a@s.test", "b@example.test", BODY)
        content = sink.taken[0].content
        head = content[: -len(BODY)].decode()
        assert content.endswith(BODY) and head.startswith("Received: from hop.test ([127.0.0.1])")
        assert "by gateway.example.test with ESMTP id " + answer.id in head and "for <b@example.test>;" in head
        looped = b"".join(b"Received: from h%d by h%d\r\n" % (n, n + 1) for n in range(51)) + BODY
        assert client.message("a@s.test", "b@example.test", looped).code == 554


def test_row_27_helo_gets_no_auth_and_guessing_is_locked_out(sink: Sink, gateway: Gateway) -> None:
    with Client(gateway.submission_port) as client:
        client.hello()
        client.starttls()
        assert "AUTH" not in client.say("HELO client.test").text
        assert client.login(LOGIN, PASSWORD).code == 503
        assert "AUTH" in client.hello().text
        assert client.login(LOGIN, PASSWORD).code == 235
    test_access.test_guessing_passwords_is_stopped(sink)


def test_row_29_a_hop_that_must_have_tls_is_never_spoken_to_in_clear() -> None:
    test_tls.test_a_hop_without_the_tls_it_must_have_is_deferred_and_never_used_in_clear("encrypt")


def test_row_30_commands_before_tls_are_discarded(gateway: Gateway) -> None:
    test_tls.test_commands_in_the_packet_of_starttls_are_discarded(b"MAIL FROM:<evil@s.test>\r\n", gateway)


def test_row_31_smtps_shows_nothing_in_clear(gateway: Gateway, sink: Sink) -> None:
    test_tls.test_port_465_shows_no_clear_octet(gateway, sink)


def test_row_36_the_log_says_whether_a_client_is_a_server_or_a_user(gateway: Gateway) -> None:
    with Client(gateway.port) as client:
        client.hello()
        as_server = client.message("a@s.test", "b@example.test", BODY)
    with Client(gateway.submission_port) as client:
        client.hello("[192.168.0.7]")
        client.starttls()
        client.hello("[192.168.0.7]")
        client.login(LOGIN, PASSWORD)
        as_user = client.message(LOGIN, "b@example.test", BODY)
    assert gateway.wait_for_event("message", id=as_server.id)["kind"] == "MTA"
    assert gateway.wait_for_event("message", id=as_user.id)["kind"] == "MUA"
