"""Who may send where: never an open relay, whatever the address looks like and whoever the client says it is."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.support.client import Client, Closed
from tests.support.conditions import until
from tests.support.gateway import LOGIN, PASSWORD, Gateway
from tests.support.sink import Sink

RELAY_TRICKS = [
    "victim@elsewhere.test",
    "victim%elsewhere.test@example.test",
    "victim%elsewhere.test@gateway.example.test",
    "victim%elsewhere.test@[127.0.0.1]",
    "victim%elsewhere.test",
    '"victim@elsewhere.test"@example.test',
    '"victim%elsewhere.test"@example.test',
    '"victim@elsewhere.test"',
    '"victim@elsewhere.test"@[127.0.0.1]',
    "victim@elsewhere.test@example.test",
    "victim@elsewhere.test@gateway.example.test",
    "@example.test:victim@elsewhere.test",
    "@gateway.example.test,@example.test:victim@elsewhere.test",
    "elsewhere.test!victim",
    "elsewhere.test!victim@example.test",
    "elsewhere.test!victim@[127.0.0.1]",
    "example.test!elsewhere.test!victim@example.test",
    "victim@[127.0.0.1]",
    "victim@[192.0.2.1]",
    "victim@[IPv6:::1]",
    "victim@example.test.elsewhere.test",
    "victim@notexample.test",
    "victim@EXAMPLE.TEST.",
    "victim@sub.example.test",
    "victim@gateway.example.test",
    '"\\v\\i\\c\\t\\i\\m\\@elsewhere.test"@example.test',
    "victim\\@elsewhere.test@example.test",
    "victim@elsewhere.test\0@example.test",
    "victim@elsewhere.test>@example.test",
    "victim@example.test,victim@elsewhere.test",
]
SENDERS = [
    "",
    "postmaster@example.test",
    "anna@example.test",
    "root@localhost",
    "x@gateway.example.test",
    "x@sender.test",
]


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink) -> Iterator[Gateway]:
    trusted = {
        "relay": {"networks": ["127.0.0.7/32"]},
        "trusted": {"xclient": ["127.0.0.8/32"], "proxy": ["127.0.0.9/32"]},
    }
    with Gateway([sink.url], trusted, submission=True) as gateway:
        yield gateway


@pytest.mark.parametrize("sender", SENDERS)
def test_no_relay_trick_works_for_a_stranger(sender: str, gateway: Gateway, sink: Sink) -> None:
    before = len(sink.lines)
    for trick in RELAY_TRICKS:
        with Client(gateway.port) as client:
            client.hello("localhost")
            assert client.say(f"MAIL FROM:<{sender}>").code == 250
            assert client.say(f"RCPT TO:<{trick}>").code in (501, 550, 553, 555), trick
            assert client.say("DATA").code in (503, 554)
            assert client.say("QUIT").code == 221
    assert not [line for line in sink.lines[before:] if "victim" in line]
    assert not gateway.queue()


def test_a_trick_that_looks_like_a_network_of_ours_in_helo_is_no_help(gateway: Gateway) -> None:
    for name in ("[127.0.0.7]", "gateway.example.test", "localhost", "example.test"):
        with Client(gateway.port) as client:
            client.hello(name)
            assert client.envelope("x@s.test", "victim@elsewhere.test")[1].code == 550


def test_the_networks_of_the_configuration_may_relay_and_their_neighbours_may_not(gateway: Gateway) -> None:
    for source, code in (("127.0.0.7", 250), ("127.0.0.6", 550), ("127.0.0.71", 550)):
        with Client(gateway.port, source=source) as client:
            client.hello()
            assert client.envelope("x@s.test", "friend@elsewhere.test")[1].code == code
            client.say("RSET")


def test_a_login_may_relay_and_only_as_itself(gateway: Gateway) -> None:
    with Client(gateway.submission_port) as client:
        client.hello()
        client.starttls()
        client.hello()
        assert client.login(LOGIN, PASSWORD).code == 235
        assert client.envelope("boss@example.test", [])[0].code == 553
        assert client.envelope(LOGIN, "friend@elsewhere.test")[1].code == 250
        client.say("RSET")


def test_xclient_is_for_the_trusted_alone(gateway: Gateway) -> None:
    for source in ("127.0.0.1", "127.0.0.7", "127.0.0.9"):
        with Client(gateway.port, source=source) as client:
            client.hello()
            assert client.say("XCLIENT ADDR=127.0.0.7 LOGIN=anna@example.test").code == 550
            expected = 250 if source == "127.0.0.7" else 550
            assert client.envelope("x@s.test", "friend@elsewhere.test")[1].code == expected
            client.say("RSET")


def test_xclient_is_offered_to_the_trusted_alone_and_on_port_25_alone(gateway: Gateway) -> None:
    def offers(port: int, source: str) -> list[str]:
        with Client(port, source=source) as client:
            assert "XCLIENT" not in client.say("HELO client.test").text
            return [line for line in client.hello().text.split("\n") if line.startswith("XCLIENT")]

    assert offers(gateway.port, "127.0.0.8") == ["XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"]
    for source in ("127.0.0.1", "127.0.0.7", "127.0.0.9"):
        assert offers(gateway.port, source) == []
    assert offers(gateway.submission_port, "127.0.0.8") == []


def test_xclient_is_offered_under_tls_too(gateway: Gateway) -> None:
    with Client(gateway.port, source="127.0.0.8") as client:
        client.hello()
        client.starttls()
        assert "XCLIENT NAME" in client.hello().text


def test_a_trusted_proxy_speaks_for_its_client_and_no_further(gateway: Gateway) -> None:
    for address, code in (("127.0.0.7", 250), ("192.0.2.7", 550), ("[UNAVAILABLE]", 550)):
        with Client(gateway.port, source="127.0.0.8") as client:
            client.hello()
            assert client.say(f"XCLIENT ADDR={address}").code == 220
            assert client.say("MAIL FROM:<x@s.test>").code == 503  # the session starts over
            client.hello()
            assert client.envelope("x@s.test", "friend@elsewhere.test")[1].code == code
            client.say("RSET")


def test_a_proxy_header_from_a_stranger_is_a_bad_command(gateway: Gateway) -> None:
    with Client(gateway.port) as client:
        assert client.say("PROXY TCP4 127.0.0.7 127.0.0.1 1000 25").code == 500
        client.hello()
        assert client.envelope("x@s.test", "friend@elsewhere.test")[1].code == 550


def test_a_proxy_header_is_taken_from_the_trusted_where_it_is_awaited(sink: Sink) -> None:
    more = {"relay": {"networks": ["192.0.2.7/32"]}, "trusted": {"proxy": ["127.0.0.9/32"]}}
    gateway = Gateway([sink.url], more)
    gateway.config["listen"][0]["proxy_protocol"] = True
    with gateway:
        for claimed, code in (("192.0.2.7", 250), ("192.0.2.8", 550)):
            client = Client(gateway.port, source="127.0.0.9")
            client.send(f"PROXY TCP4 {claimed} 127.0.0.1 1000 25\r\nEHLO proxied.test\r\n".encode())
            assert client.answer().code == 220
            assert client.answer().code == 250
            assert client.envelope("x@s.test", "friend@elsewhere.test")[1].code == code
            client.close()
        for wrong in (b"PROXY TCP4 999.0.0.1 127.0.0.1 1 2\r\n", b"EHLO x\r\n", b"\r\n\r\n\0\r\nQUIT\n garbage"):
            client = Client(gateway.port, source="127.0.0.9")
            client.send(wrong)
            with pytest.raises(Closed):
                client.answer()
            client.close()
        # A stranger's header is no header: what it says of itself counts for nothing.
        with Client(gateway.port) as client:
            assert client.say("PROXY TCP4 192.0.2.7 127.0.0.1 1000 25").code == 500


def test_who_comes_by_a_proxy_has_not_its_right_to_xclient(sink: Sink) -> None:
    both = {"relay": {"networks": ["192.0.2.7/32"]}, "trusted": {"proxy": ["127.0.0.9"], "xclient": ["127.0.0.9"]}}
    gateway = Gateway([sink.url], both)
    gateway.config["listen"][0]["proxy_protocol"] = True
    with gateway:
        client = Client(gateway.port, source="127.0.0.9")
        client.send(b"PROXY TCP4 192.0.2.66 127.0.0.1 1000 25\r\n")
        assert client.answer().code == 220
        assert "XCLIENT" not in client.hello().text
        assert client.say("XCLIENT ADDR=192.0.2.7").code == 550
        assert client.envelope("x@s.test", "friend@elsewhere.test")[1].code == 550
        client.close()


def test_guessing_passwords_is_stopped(sink: Sink) -> None:
    more = {"submission": {"failures_before_lockout": 3}}
    with Gateway([sink.url], more, submission=True) as gateway:
        with Client(gateway.submission_port) as client:
            client.hello()
            client.starttls()
            client.hello()
            codes = [client.login(LOGIN, f"guess {number}").code for number in range(3)]
            assert codes[0] == 535
        with Client(gateway.submission_port) as client:
            client.hello()
            client.starttls()
            client.hello()
            assert client.login(LOGIN, PASSWORD).code in (421, 454, 535)
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("x@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250


def test_guesses_at_all_workers_count_together_and_a_killed_one_forgets_none(sink: Sink) -> None:
    def guess(gateway: Gateway, password: str, only: int) -> int:
        """The answer of the worker `only`, while the other one stands still."""
        other = gateway.worker_pids[1 - only]
        os.kill(other, signal.SIGSTOP)
        try:
            with Client(gateway.submission_port) as client:
                client.hello()
                client.starttls()
                client.hello()
                return client.login(LOGIN, password).code
        finally:
            os.kill(other, signal.SIGCONT)

    more = {"submission": {"failures_before_lockout": 3}, "workers": {"count": 2}}
    with Gateway([sink.url], more, submission=True) as gateway:
        assert [guess(gateway, "wrong", worker) for worker in (0, 1, 0)] == [535, 535, 535]
        assert [guess(gateway, PASSWORD, worker) for worker in (0, 1)] == [454, 454]
        for pid in gateway.worker_pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(gateway.events("worker_ready")) == 4, "new workers")
        assert [guess(gateway, PASSWORD, worker) for worker in (0, 1)] == [454, 454]


def test_a_configuration_that_opens_the_relay_does_not_start(sink: Sink) -> None:
    for networks in (["0.0.0.0/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["::/0"], ["::ffff:0:0/96"]):
        gateway = Gateway([sink.url], {"relay": {"networks": networks}})
        with pytest.raises(AssertionError, match="open relay"):
            gateway.start()
        gateway.kill()
        shutil.rmtree(gateway.folder)
