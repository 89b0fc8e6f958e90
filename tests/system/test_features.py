"""The rows of the feature table that a gateway without mailboxes has, one named test each."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import client_certificate_file, fingerprint_of
from tests.support.client import Client, trusting_context
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
    for tls in (False, True):  # opportunistic: either will do
        with Client(gateway.port) as client:
            text = client.hello().text
            assert "STARTTLS" in text and "AUTH" not in text
            if tls:
                client.starttls()
                assert "AUTH" not in client.hello().text
            assert client.say("AUTH PLAIN AGEAYg==").code == 502
            assert client.message("a@s.test", "b@example.test", BODY).code == 250
    test_tls.test_submission_wants_tls_then_login(gateway)


def test_row_2_a_remote_recipient_is_looked_up_and_dead_dns_loses_nothing(zone: DnsServer) -> None:
    mx_port = free_port()
    with Sink(host="127.0.0.21", port=mx_port) as far, test_outgoing.relaying(zone, mx_port) as gateway:
        assert test_outgoing.send(gateway, "x@far.test").code == 250
        far.wait_for(1)
        assert zone.asked("MX") == 1
        zone.faults["*"] = Fault.DROP
        zone.zone["other.test", "MX"] = ["10 mx.far.test."]
        assert test_outgoing.send(gateway, "x@other.test").code == 250
        until(lambda: [e for e in gateway.queue() if e["recipients"][0]["attempts"]], "a first try in vain")
        zone.faults.clear()
        gateway.stop()  # a new start forgets for how long a destination was left alone
        gateway.start()
        far.wait_for(2)


def test_row_3_a_protected_recipient_is_never_looked_up(zone: DnsServer) -> None:
    with Sink() as ours:
        hop = test_outgoing.hop(ours)
        domain = [{"name": "example.test", "next_hop": "hop", "subdomains": True}]
        with test_outgoing.relaying(zone, free_port(), next_hop=[hop], domain=domain) as gateway:
            for address in ("b@example.test", "b@EXAMPLE.test", "b@deep.sub.example.test", "postmaster"):
                assert test_outgoing.send(gateway, address).code == 250
            assert test_outgoing.send(gateway, "b@gateway.example.test").code == 250
            ours.wait_for(5)
        with test_outgoing.relaying(zone, free_port(), next_hop=[hop]) as gateway:
            assert test_outgoing.send(gateway, "local@gateway.example.test").code == 550
    assert not zone.queries


def test_row_4_a_relay_server_with_login_and_tls_stands_in_for_one_that_is_down(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    test_outgoing.test_a_smart_host_gets_the_mail_over_tls_with_a_login(tmp_path_factory)


def test_row_12_the_route_that_is_told_equals_the_one_that_is_taken(zone: DnsServer) -> None:
    mx_port = free_port()
    with (
        Sink() as ours,
        Sink() as other,
        Sink(host="127.0.0.21", port=mx_port) as far,
        test_outgoing.relaying(
            zone,
            mx_port,
            next_hop=[test_outgoing.hop(ours), test_outgoing.hop(other, "other")],
            domain=[
                {"name": "example.test", "next_hop": "hop"},
                {"name": "sub.example.test", "next_hop": "other", "subdomains": True},
                {"name": "xn--bcher-kva.test", "next_hop": "other"},
            ],
        ) as gateway,
    ):
        sinks = {sink.url: sink for sink in (ours, other, far)}
        for address, expected in (
            ("b@example.test", ours), ("b@sub.example.test", other), ("b@a.sub.example.test", other),
            ("b@XN--BCHER-KVA.test", other), ("x@far.test", far), ("x@bare.test", far),
        ):  # fmt: skip
            told = gateway.cli("route", address)
            urls = [server["url"] for server in told["servers"]]
            urls += [f"smtp://{host}:{mx_port}" for hosts in told.get("hosts", ()) for host in hosts["addresses"]]
            assert urls == [expected.url], address
            before = {url: len(sink.taken) for url, sink in sinks.items()}
            assert test_outgoing.send(gateway, address).code == 250
            expected.wait_for(before[expected.url] + 1)
            assert all(len(sink.taken) == before[url] for url, sink in sinks.items() if sink is not expected)


def listening_ports(gateway: Gateway) -> set[int]:
    """TCP ports on which the gateway's own processes listen."""
    found = set()
    for pid in gateway.worker_pids:
        inodes = set()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(link))
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def test_row_13_a_gateway_holds_no_mailboxes_and_opens_no_ports_for_them(gateway: Gateway) -> None:
    configured = {gateway.port, gateway.submission_port, gateway.submissions_port, gateway.metrics_port}
    assert listening_ports(gateway) == configured
    for port in (110, 143, 993, 995):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_row_16_client_tls_certificate_login_sender_and_recipient_decide_who_may_send_where(sink: Sink) -> None:
    ours = client_certificate_file("partner.test")
    authorities = Path(ours).with_name("both.pem")
    other = client_certificate_file("visitor.test")
    pems = [Path(path).read_text() for path in (ours, other)]
    authorities.write_text("".join(pem[pem.index("-----BEGIN CERTIFICATE") :] for pem in pems))
    more = {
        "relay": {"networks": ["127.0.0.7/32"], "client_certificates": [fingerprint_of(ours)]},
        "tls": {"client_ca": str(authorities)},
    }

    def code(door: str, source: str, certificate: str, login: bool, sender: str, recipient: str) -> int:
        """What the last command of the envelope is answered."""
        port = gateway.submission_port if door == "submission" else gateway.port
        context = trusting_context()
        if certificate:
            context.load_cert_chain(certificate)
        with Client(port, source=source) as client:
            client.hello()
            if certificate or login:
                client.starttls(context)
                client.hello()
            if login:
                assert client.login(LOGIN, PASSWORD).code == 235
            answers = client.envelope(sender, recipient)
            return next((answer.code for answer in answers if answer.code >= 300), answers[-1].code)

    far, near, anna = "x@elsewhere.test", "b@example.test", LOGIN
    with Gateway([sink.url], more, submission=True) as gateway:
        table = [
            (("smtp", "127.0.0.1", "", False, "x@s.test", near), 250),
            (("smtp", "127.0.0.1", "", False, anna, near), 250),
            (("smtp", "127.0.0.1", "", False, "x@s.test", far), 550),
            (("smtp", "127.0.0.1", "", False, anna, far), 550),
            (("smtp", "127.0.0.7", "", False, "x@s.test", far), 250),
            (("smtp", "127.0.0.8", "", False, "x@s.test", far), 550),
            (("smtp", "127.0.0.1", ours, False, "x@s.test", far), 250),
            (("smtp", "127.0.0.1", other, False, "x@s.test", far), 550),
            (("smtp", "127.0.0.1", other, False, "x@s.test", near), 250),
            (("submission", "127.0.0.1", "", True, anna, far), 250),
            (("submission", "127.0.0.1", "", True, anna, near), 250),
            (("submission", "127.0.0.1", "", True, "boss@example.test", near), 553),
            (("submission", "127.0.0.7", "", False, anna, far), 530),
            (("submission", "127.0.0.1", ours, False, anna, far), 530),
        ]
        assert [(case, code(*case)) for case, _ in table] == table


@pytest.mark.parametrize("known", [GTUBE, EICAR], ids=["GTUBE", "EICAR"])
def test_row_17_what_must_be_found_is_found_and_the_trace_says_why(known: bytes, gateway: Gateway) -> None:
    with Client(gateway.port) as client:
        client.hello()
        answer = client.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n" + known + b"\r\n")
        assert answer.code == 554 and answer.id
    event = gateway.wait_for_event("message", id=answer.id)
    assert event["action"] == "refuse" and "patterns" in str(event["facts"])


# What only clamd finds: test_clamd.test_row_17_what_only_clamd_finds_is_refused_at_the_door_...


def test_row_17_each_domain_has_its_own_profile(sink: Sink) -> None:
    rules = {"hold": "hold", "let pass": "accept", "put off": "defer"}
    more = {
        "domain": [{"name": f"{rule.replace(' ', '-')}.test", "next_hop": "hop", "policy": rule} for rule in rules]
        + [{"name": "example.test", "next_hop": "hop"}],
        "policy": [{"name": rule, "rule": [{"action": action, "match": "GTUBE"}]} for rule, action in rules.items()],
    }
    body = b"Subject: x\r\n\r\n" + GTUBE + b"\r\n"
    with Gateway([sink.url], more) as gateway, Client(gateway.port) as client:
        client.hello()
        domains = ("example.test", "hold.test", "let-pass.test", "put-off.test")
        assert [client.message("a@s.test", f"b@{domain}", body).code for domain in domains] == [554, 250, 250, 451]
        assert [entry["state"] for entry in gateway.queue()] == ["held"]
        answers = client.envelope("a@s.test", ["b@hold.test", "b@example.test"])
        assert [answer.code for answer in answers] == [250, 250, 452]  # one transaction, one verdict


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


def test_row_20_a_host_whose_ipv4_or_ipv6_address_is_dead_is_reached_by_the_other(zone: DnsServer) -> None:
    mx_port = free_port()
    zone.zone["v6.test", "AAAA"] = ["::1"]
    zone.zone["both.test", "MX"] = ["10 one.both.test."]
    zone.zone["one.both.test", "A"] = ["127.0.0.99"]  # nobody listens there
    zone.zone["one.both.test", "AAAA"] = ["::1"]
    zone.zone["turned.test", "AAAA"] = ["100::1"]  # RFC 6666: nobody is there
    zone.zone["turned.test", "A"] = ["127.0.0.21"]
    with (
        Sink(host="::1", port=mx_port) as six,
        Sink(host="127.0.0.21", port=mx_port) as four,
        test_outgoing.relaying(zone, mx_port) as gateway,
    ):
        for address in ("x@v6.test", "x@both.test", "x@turned.test"):
            assert test_outgoing.send(gateway, address).code == 250
        six.wait_for(2)
        four.wait_for(1)


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


def test_row_30_all_that_follows_starttls_is_encrypted(gateway: Gateway, sink: Sink) -> None:
    sink.taken.clear()
    for port in (gateway.port, gateway.submission_port):
        with test_tls.Tap(port) as tap:
            with Client(tap.port) as client:
                client.hello("once.test")
                client.starttls()
                client.hello("once.test")
                if port == gateway.submission_port:
                    assert client.login(LOGIN, PASSWORD).code == 235
                assert client.message(LOGIN, "b@example.test", BODY).code == 250
                client.say("QUIT")
            seen = tap.octets
        clear, _, rest = seen.partition(b"Ready to start TLS\r\n")
        assert clear.count(b"EHLO once.test") == 1 and rest[:1] == b"\x16"
        for word in (b"EHLO", b"once.test", b"AUTH", b"MAIL FROM", b"@example.test", b"Subject", b"250 ", b"QUIT"):
            assert word not in rest
    assert [taken.body for taken in sink.taken] == [BODY, BODY]


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
    with Client(gateway.submission_port) as client:  # a server that submits: a smart host's client
        client.hello()
        client.starttls()
        client.hello("mail.branch.example.org")
        client.login(LOGIN, PASSWORD)
        branch = client.message(LOGIN, "b@example.test", BODY)
    assert gateway.wait_for_event("message", id=branch.id)["kind"] == "MTA"
