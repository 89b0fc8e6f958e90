"""Limits: each gives a clear reply, never a stall, and the next client is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.client import Client, Closed, stuffed
from tests.support.conditions import until
from tests.support.gateway import Gateway
from tests.support.messages import KIB, MIB
from tests.support.sink import Sink

SMALL = b"Subject: x\r\n\r\n"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def limited(sink: Sink, **limits: object) -> Gateway:
    return Gateway([sink.url], {"limits": limits})


def served(gateway: Gateway) -> None:
    with Client(gateway.port, source="127.0.0.99") as client:
        client.hello()
        assert client.message("a@s.test", "b@example.test", SMALL).code == 250


def test_sessions_over_all_and_for_one_address_are_counted(sink: Sink) -> None:
    more = {"limits": {"sessions": 6, "sessions_per_address": 3}, "workers": {"count": 2}}
    with Gateway([sink.url], more) as gateway:
        held = []
        for number in range(3):
            client = Client(gateway.port)
            assert client.answer().code == 220, number
            held.append(client)
        fourth = Client(gateway.port)
        assert fourth.answer().code == 421
        with pytest.raises(Closed):
            fourth.answer()
        fourth.close()
        until(lambda: gateway.metric("mailweir_sessions_open") == 3, "the refused session to end")
        for number in range(3):
            client = Client(gateway.port, source=f"127.0.1.{number + 1}")
            assert client.answer().code == 220
            held.append(client)
        assert Client(gateway.port, source="127.0.2.1").answer().code == 421
        for client in held:
            client.close()
        until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the sessions to end")
        served(gateway)


def told(gateway: Gateway, way: str, address: str) -> Client:
    """A session whose client, so the proxy 127.0.0.9 says, is `address`."""
    client = Client(gateway.port, source="127.0.0.9")
    if way == "proxy":
        client.send(f"PROXY TCP4 {address} 127.0.0.1 1000 25\r\n".encode())
    else:
        assert client.answer().code == 220
        client.hello()
        client.send(f"XCLIENT ADDR={address}\r\n".encode())
    return client


def behind_a_proxy(sink: Sink, way: str, **limits: object) -> Gateway:
    trusted = {"trusted": {way: ["127.0.0.9"]}, "relay": {"networks": ["192.0.2.7/32"]}, "workers": {"count": 2}}
    gateway = Gateway([sink.url], trusted | {"limits": limits})
    gateway.config["listen"][0]["proxy_protocol"] = way == "proxy"
    return gateway


@pytest.mark.parametrize("way", ["xclient", "proxy"])
def test_sessions_by_a_proxy_count_for_the_client_that_it_names(sink: Sink, way: str) -> None:
    with behind_a_proxy(sink, way, sessions_per_address=3, sessions_per_minute=6) as gateway:
        held = []
        for number in range(9):  # more than the proxy itself might have
            held.append(told(gateway, way, f"192.0.2.{number // 3}"))
            assert held[-1].answer().code == 220, number
        for one_too_many in ("192.0.2.0", "192.0.2.2"):
            client = told(gateway, way, one_too_many)
            assert client.answer().code == 421
            with pytest.raises(Closed):
                client.answer()
            client.close()
        held.append(told(gateway, way, "192.0.2.3"))
        assert held[-1].answer().code == 220
        for client in held:
            client.close()
        until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the sessions to end")
        codes = []
        for _ in range(6):
            client = told(gateway, way, "192.0.2.1")
            codes.append(client.answer().code)
            client.close()
            until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the session to end")
        assert codes[0] == 220 and codes[-1] == 421  # six a minute, three of them above
        served(gateway)


@pytest.mark.parametrize("way", ["xclient", "proxy"])
def test_messages_recipients_and_relaying_go_by_the_client_that_the_proxy_names(sink: Sink, way: str) -> None:
    with behind_a_proxy(sink, way, messages_per_minute=3, recipients_per_minute=4) as gateway:
        for address in ("192.0.2.7", "192.0.2.8"):
            client = told(gateway, way, address)
            assert client.answer().code == 220
            client.hello()
            friend = 250 if address == "192.0.2.7" else 550
            answers = client.envelope("a@s.test", ["b1@example.test", "b2@example.test", "friend@elsewhere.test"])
            assert [answer.code for answer in answers] == [250, 250, 250, friend]
            client.say("RSET")
            some = [f"b{number}@example.test" for number in range(5)]
            codes = [answer.code for answer in client.envelope("a@s.test", some)[1:]]
            assert codes.count(250) == (1 if friend == 250 else 2) and codes[-1] == 450
            client.say("RSET")
            client.envelope("a@s.test", [])
            client.say("RSET")
            assert client.say("MAIL FROM:<a@s.test>").code == 450
            client.close()


def test_new_sessions_a_minute_are_counted(sink: Sink) -> None:
    with limited(sink, sessions_per_minute=5) as gateway:
        codes = []
        for _ in range(8):
            with Client(gateway.port) as client:
                codes.append(client.greeting.code if client.greeting else 0)
        assert codes[:5] == [220] * 5 and codes[-1] == 421
        served(gateway)


def test_messages_a_session_and_a_minute_are_counted(sink: Sink) -> None:
    with limited(sink, messages_per_session=2, messages_per_minute=5) as gateway:
        for count in (2, 2):
            with Client(gateway.port) as client:
                client.hello()
                assert [client.message("a@s.test", "b@example.test", SMALL).code for _ in range(count)] == [250] * count
                assert client.say("MAIL FROM:<a@s.test>").code == 421
                with pytest.raises(Closed):
                    client.answer()
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@s.test", "b@example.test", SMALL).code == 250
            assert client.say("MAIL FROM:<a@s.test>").code == 450
        served(gateway)


def test_recipients_a_message_and_a_minute_are_counted(sink: Sink) -> None:
    with limited(sink, recipients_per_message=3, recipients_per_minute=5) as gateway:
        with Client(gateway.port) as client:
            client.hello()
            some = [f"b{number}@example.test" for number in range(4)]
            assert [answer.code for answer in client.envelope("a@s.test", some)[1:]] == [250, 250, 250, 452]
            client.say("RSET")
            assert [answer.code for answer in client.envelope("a@s.test", some)[1:]] == [250, 250, 450, 450]
        served(gateway)


def test_a_message_over_the_size_is_refused_when_it_is_announced_and_when_it_is_not(sink: Sink) -> None:
    with limited(sink, message_size=200 * KIB) as gateway:
        sink.seen.clear()
        with Client(gateway.port) as client:
            client.hello()
            assert client.say(f"MAIL FROM:<a@s.test> SIZE={200 * KIB + 1}").code == 552
            body = b"Subject: big\r\n\r\n" + (b"x" * 98 + b"\r\n") * 3_000
            assert client.message("a@s.test", "b@example.test", body).code == 552
            client.envelope("a@s.test", "b@example.test")
            client.send(b"BDAT %d LAST\r\n%s" % (len(body), body))
            assert client.answer().code == 552
        until(lambda: gateway.metric("mailweir_held_bytes") == 0, "the buffers given back")
        assert not sink.seen
        served(gateway)


HEADS_OVER_A_LIMIT = [
    b"X: y\r\n" * 50,
    b"X: " + b"y" * 3000 + b"\r\n",
    b"X: y\r\n" + b" more\r\n" * 2_000,
    b"".join(b"X: " + b"y" * 900 + b"\r\n" for _ in range(12)),
    b"".join(b"Received: from %d\r\n" % number for number in range(6)),
]


def test_a_header_section_over_its_limits_is_refused(sink: Sink) -> None:
    limits = {"header_fields": 40, "header_line": "2KiB", "header_section": "8KiB", "hops": 5}
    with limited(sink, **limits) as gateway, Client(gateway.port) as client:
        client.hello()
        for head in HEADS_OVER_A_LIMIT:
            sink.seen.clear()
            answer = client.message("a@s.test", "b@example.test", b"Subject: x\r\n" + head + b"\r\nbody\r\n")
            assert answer.code in (550, 554)
            assert client.message("a@s.test", "b@example.test", SMALL).code == 250
            assert len(sink.seen) == 1


def test_silent_clients_are_told_and_let_go(sink: Sink) -> None:
    with Gateway([sink.url], {"timeouts": {"command": "1s", "data": "1s", "drain": "2s"}}) as gateway:
        silent = [Client(gateway.port) for _ in range(3)]
        assert silent[0].answer().code == 220
        silent[1].answer()
        silent[1].send(b"EHLO half a com")
        silent[2].answer()
        silent[2].hello()
        silent[2].envelope("a@s.test", "b@example.test")
        silent[2].say("DATA")
        silent[2].send(b"Subject: never ends\r\n")
        for client in silent:
            assert client.answer().code == 421
            with pytest.raises(Closed):
                client.answer()
            client.close()
        until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the sessions to end")
        served(gateway)


def test_a_client_that_drips_octets_does_not_outlive_the_message_time(sink: Sink) -> None:
    timeouts = {"data": "2s", "message": "3s", "drain": "2s"}
    with Gateway([sink.url], {"timeouts": timeouts}) as gateway, Client(gateway.port) as client:
        client.hello()
        client.envelope("a@s.test", "b@example.test")
        client.say("DATA")
        client.socket.settimeout(0.2)

        def dripped() -> bool:
            client.send(b"x")
            try:
                return client.answer().code == 421
            except TimeoutError:
                return False
            except Closed:
                return True

        until(dripped, "the end of patience", patience_s=15)
        served(gateway)


def test_a_client_that_never_reads_is_cut_off_and_costs_little(sink: Sink) -> None:
    with Gateway(
        [sink.url], {"timeouts": {"command": "1s", "drain": "2s"}, "limits": {"idle_commands": 10**6}}
    ) as gateway:
        before_bytes = gateway.resident_bytes()
        client = Client(gateway.port)
        client.socket.settimeout(0.5)
        with pytest.raises((TimeoutError, ConnectionError)):  # noqa: PT012 - it is not known which write blocks
            while True:
                client.socket.sendall(b"HELP\r\n" * 10_000)
        assert gateway.resident_bytes() - before_bytes < 8 * MIB
        until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the session to be cut off")
        client.close()
        served(gateway)


def test_a_message_of_one_octet_chunks_costs_no_more_than_others(sink: Sink) -> None:
    with limited(sink) as gateway:
        sink.taken.clear()
        before_bytes = gateway.resident_bytes()
        text = b"Subject: crumbs\r\n\r\n" + b".x\r\n" * 25_000
        with Client(gateway.port) as client:
            client.hello()
            client.envelope("a@s.test", "b@example.test")
            for start in range(0, len(text), 1000):
                some = text[start : start + 1000]
                client.send(b"".join(b"BDAT 1\r\n%c" % octet for octet in some))
                assert {client.answer().code for _ in some} == {250}
            assert gateway.resident_bytes() - before_bytes < 16 * MIB
            client.send(b"BDAT 0 LAST\r\n")
            assert client.answer().code == 250
        assert sink.taken[0].body == text


def test_lines_over_998_octets_pass_unless_the_configuration_says_no(sink: Sink) -> None:
    body = b"Subject: long\r\n\r\n" + b"x" * 5_000 + b"\r\n"
    sink.taken.clear()
    with limited(sink) as gateway, Client(gateway.port) as client:
        client.hello()
        assert client.message("a@s.test", "b@example.test", body).code == 250
    assert sink.taken[0].body == body
    with limited(sink, body_line=998) as gateway, Client(gateway.port) as client:
        client.hello()
        assert client.message("a@s.test", "b@example.test", body).code == 550
        assert client.message("a@s.test", "b@example.test", SMALL).code == 250


def test_bare_newlines_are_normalised_where_the_configuration_says_so(sink: Sink) -> None:
    sink.taken.clear()
    with Gateway([sink.url], {"delivery": {"bare_newline": "normalise"}}) as gateway:
        for way in ("DATA", "BDAT"):
            raw = b"Subject: unix\r\n\r\none\ntwo\rthree\r\nfour\n.\nfive\r\n"
            with Client(gateway.port) as client:
                client.hello()
                client.envelope("a@s.test", "b@example.test")
                if way == "DATA":
                    client.say("DATA")
                    client.send(stuffed(raw) + b".\r\n", bytewise=True)
                else:
                    client.send(b"BDAT %d LAST\r\n%s" % (len(raw), raw))
                assert client.answer().code == 250
    wanted = b"Subject: unix\r\n\r\none\r\ntwo\r\nthree\r\nfour\r\n.\r\nfive\r\n"
    assert [taken.body for taken in sink.taken] == [wanted, wanted]
