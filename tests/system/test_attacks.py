"""What will be thrown at us, as far as SMTP goes. After each case the next client is served."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.support.client import Client, Closed, stuffed
from tests.support.conditions import until
from tests.support.gateway import Gateway
from tests.support.messages import MIB
from tests.support.sink import Sink

ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\x0b\r\n",
    b"\r\n.\x0c\r\n",
    b"\r\n.\x85\r\n",
    b"\r\n\xef\xbb\xbf.\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n .\r\n",
    b"\x0b.\x0b",
    b"\x0c.\x0c",
    b"\x85.\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\r\n..\r\n",
    b"\n\n.\n\n",
    b"\r\n.\\r\\n",
    b"\r\n%2e\r\n",
]
SECOND = b"MAIL FROM:<evil@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink) -> Iterator[Gateway]:
    with Gateway([sink.url]) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _next_client_is_served(gateway: Gateway, sink: Sink) -> Iterator[None]:
    sink.seen.clear()
    sink.lines.clear()
    yield
    with Client(gateway.port) as client:
        client.hello()
        assert client.message("next@s.test", "b@example.test", b"Subject: next\r\n\r\n").code == 250
    assert gateway.alive and not gateway.events("session_failed") and not gateway.events("log", level="error")


def in_data(client: Client) -> None:
    client.hello()
    client.envelope("a@s.test", "b@example.test")
    assert client.say("DATA").code == 354


# -- smuggling


@pytest.mark.parametrize("way", ["whole", "bytewise", "bdat", "large"])
@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_no_look_alike_ends_a_message(end: bytes, way: str, gateway: Gateway, sink: Sink) -> None:
    filler = (b"y" * 98 + b"\r\n") * (12_000 if way == "large" else 1)
    body = b"Subject: first\r\n\r\n" + filler + b"text" + end + SECOND
    with Client(gateway.port) as client:
        if way == "bdat":
            client.hello()
            client.envelope("a@s.test", "b@example.test")
            client.send(b"BDAT %d LAST\r\n%s" % (len(body), body))
        else:
            in_data(client)
            client.send(body + b".\r\n", bytewise=way == "bytewise")
        answer = client.answer()
        assert answer.code in (250, 550)
        assert client.say("QUIT").code == 221
        assert not client.unread, "a second transaction was answered"
    until(lambda: sink.seen or answer.code == 550, "the message")
    assert len(sink.seen) == (1 if answer.code == 250 else 0)
    assert not any("evil@" in line for line in sink.lines)
    for taken in sink.seen:
        without = taken.raw.replace(b"\r\n", b"")
        assert b"\r" not in without and b"\n" not in without
        assert taken.body == (body if way == "bdat" else body.replace(b"\r\n..", b"\r\n."))
    if not sink.seen:
        assert b"\n" in end or b"\r" in end
    for cut in sink.cut:
        assert b"smuggled" not in cut
    sink.cut.clear()


# -- state machine


@pytest.mark.parametrize(
    "size", [b"-1", b"99999999999999999999", b"1e3", b"0x10", b"", b"5 FIRST", b"+5", b"18446744073709551616"]
)
def test_a_bdat_with_a_bad_size_ends_that_transaction(size: bytes, gateway: Gateway, sink: Sink) -> None:
    with Client(gateway.port) as client:
        client.hello()
        client.envelope("a@s.test", "b@example.test")
        assert client.say(b"BDAT " + size).code in (421, 501, 552)
        try:
            assert client.say("DATA").code == 503
            assert client.say("RCPT TO:<c@example.test>").code == 503
            assert client.say("RSET").code == 250
            assert client.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250
        except Closed:
            assert not sink.seen


def test_a_huge_chunk_is_refused_without_being_waited_for(gateway: Gateway, sink: Sink) -> None:
    with Client(gateway.port) as client:
        client.hello()
        client.envelope("a@s.test", "b@example.test")
        client.send(b"BDAT 9000000000000000000 LAST\r\n" + b"x" * 1000)
        assert client.answer().code in (421, 501, 552)
    assert not sink.seen


def test_nothing_goes_on_behind_a_refused_body(gateway: Gateway, sink: Sink) -> None:
    with Client(gateway.port) as client:
        in_data(client)
        client.send(b"Subject: x\r\n\r\nbare\nnewline\r\n.\r\n")
        assert client.answer().code == 550
        assert client.say("DATA").code == 503
        assert client.say("RCPT TO:<c@example.test>").code == 503
        assert client.say("BDAT 1 LAST").code == 503
        client.send(b"x")
        assert client.say("NOOP").code == 250
    assert not sink.seen


def test_commands_anywhere_do_not_confuse_the_session(gateway: Gateway, sink: Sink) -> None:
    script = [
        (b"EHLO a", 250),
        (b"VRFY \xc3\xbc", 252),
        (b"MAIL FROM:<a@s.test>", 250),
        (b"VRFY \xc3\xbc@x SMTPUTF8", 252),
        (b"EHLO b", 250),
        (b"RCPT TO:<b@example.test>", 503),
        (b"MAIL FROM:<a@s.test>", 250),
        (b"HELO c", 250),
        (b"MAIL FROM:<a@s.test>", 250),
        (b"RCPT TO:<b@example.test>", 250),
        (b"NOOP", 250),
        (b"RSET", 250),
        (b"DATA", 503),
        (b"MAIL FROM:<a@s.test>", 250),
        (b"RCPT TO:<b@example.test>", 250),
        (b"EHLO d", 250),
        (b"DATA", 503),
    ]
    for pipelined in (False, True):
        with Client(gateway.port) as client:
            if pipelined:
                client.send(b"".join(line + b"\r\n" for line, _ in script))
            codes = [client.answer().code if pipelined else client.say(line).code for line, _ in script]
            assert codes == [code for _, code in script]
    assert not sink.seen


def test_twenty_thousand_recipients_in_one_packet_each_get_their_reply(gateway: Gateway) -> None:
    count = 20_000
    with Client(gateway.port) as client:
        client.hello()
        client.say("MAIL FROM:<a@s.test>")
        sender = threading.Thread(
            target=client.send, args=(b"".join(b"RCPT TO:<b%d@example.test>\r\n" % n for n in range(count)),)
        )
        sender.start()
        codes = [client.answer().code for _ in range(count)]
        sender.join()
        assert codes[:1000] == [250] * 1000 and set(codes[1000:]) == {452}
        assert client.say("RSET").code == 250


# -- envelope

HOSTILE = [
    b"${run{/bin/touch\\x20/tmp/owned}}@example.test",
    b"`id`@example.test",
    b"$(id)@example.test",
    b";id;@example.test",
    b"|id@example.test",
    b"../../etc/passwd@example.test",
    b"a\0b@example.test",
    b"a@example.test\0",
    b"\0",
    b"a@exam\0ple.test",
    b"a" * 65 + b"@example.test",
    b"a" * 5000 + b"@example.test",
    b"a@" + b"b" * 300 + b".example.test",
    b"a@" + b"b." * 200,
    b"a@-example.test",
    b"a@example..test",
    b"a@.example.test",
    b"a b@example.test",
    b"a@example.test b",
    b"<a@example.test>",
    b"\xc3\xbc@example.test",
    b"\xff\xfe@example.test",
    b"a@ex\xc3\xa4mple.test",
    b'"a\r"@example.test',
    b'"a"b@example.test',
    b"\x1ba@example.test",
    b"a@example.test\x7f",
    b"@",
    b"@@",
    b'""@example.test',
    b"a@[",
    b"a@[999.1.1.1]",
]


@pytest.mark.parametrize("verb", [b"MAIL FROM", b"RCPT TO"])
def test_hostile_addresses_are_refused_or_stay_what_they_are(verb: bytes, gateway: Gateway, sink: Sink) -> None:
    for address in HOSTILE:
        with Client(gateway.port) as client:
            client.hello()
            if verb == b"RCPT TO":
                client.say("MAIL FROM:<a@s.test>")
            answer = client.say(b"%s:<%s>" % (verb, address))
            assert answer.code in (250, 500, 501, 550, 553, 555), (address, answer)
            if answer.code == 250:
                assert b"|" in address or b"`" in address or b"$" in address or b"/" in address, address
            assert client.say("NOOP").code == 250
    assert not any("\0" in line or "\x1b" in line for line in sink.lines)


@pytest.mark.parametrize(
    "parameters",
    [
        b"SIZE=-1",
        b"SIZE=99999999999999999999999",
        b"SIZE=1 SIZE=2",
        b"ENVID=a+0D+0AQUIT",
        b"ENVID=a+0",
        b"RET=ALL",
        b"BODY=9BIT",
        b"SMTPUTF8=yes",
        b"=",
        b"X" * 1500,
        b"AUTH=<>+0D+0A",
        b"REQUIRETLS",
        b"BODY=BINARYMIME",
    ],
)
def test_hostile_parameters_are_refused(parameters: bytes, gateway: Gateway, sink: Sink) -> None:
    with Client(gateway.port) as client:
        client.hello()
        assert client.say(b"MAIL FROM:<a@s.test> " + parameters).code >= 500
        assert client.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250
    assert not any("QUIT" in line for line in sink.lines)


def test_an_endless_line_costs_nothing(gateway: Gateway) -> None:
    before_bytes = gateway.resident_bytes()
    with Client(gateway.port) as client:
        client.hello()
        for _ in range(200):
            client.send(b"X" * 100_000)
        client.send(b"\r\nNOOP\r\n")
        assert client.answer().code == 500
        assert client.answer().code == 250
    assert gateway.resident_bytes() - before_bytes < 4 * MIB


# -- cross-protocol


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.0\r\n\r\nEHLO x\r\nMAIL FROM:<a@s.test>\r\n",
        b"CONNECT x:25 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"SSH-2.0-x\r\n",
        b"\0" * 3000 + b"\r\n",
        b"\xff\xf4\xff\xfd\x06\r\n",
        b"\r\n" * 100,
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\x7f\0\0\1" * 2 + b"\0\1\0\x19",
    ],
)
def test_other_protocols_get_nowhere(opening: bytes, gateway: Gateway, sink: Sink) -> None:
    with Client(gateway.port) as client:
        client.send(opening)
        client.socket.shutdown(socket.SHUT_WR)
        answers = client.answers_until_closed()
        assert all(answer.code >= 400 for answer in answers)
    assert not sink.seen and not sink.lines


# -- headers


@pytest.mark.parametrize(
    "head",
    [
        b"X: a\r\n" + b" b\r\n" * 1_000_000,
        b"X: " + b"y" * 10_000_000 + b"\r\n",
        b"To: " + b"," * 60_000 + b"\r\n",
        b"To: " + b"(" * 60_000 + b"\r\n",
        b"Subject: a\x1cFrom: b\x1dTo: c\x1e\r\n",
        b"__proto__: x\r\nconstructor: y\r\n",
        b": no name\r\nno colon\r\n",
        b"\0: \0\r\n",
    ],
    ids=["continuations", "long line", "commas", "comments", "separators", "proto", "no field", "nul"],
)
def test_hostile_headers_are_refused_or_pass_untouched(head: bytes, gateway: Gateway, sink: Sink) -> None:
    body = b"From: <a@s.test>\r\n" + head + b"\r\nbody\r\n"
    with Client(gateway.port) as client:
        in_data(client)
        client.send(stuffed(body) + b".\r\n")
        answer = client.answer()
        assert answer.code in (250, 550)
        assert client.say("NOOP").code == 250
    assert [taken.body == body for taken in sink.seen] == ([True] if answer.code == 250 else [])


# -- resources


def test_more_sessions_than_we_take_are_refused_politely_and_others_live() -> None:
    with Sink() as sink, Gateway([sink.url], {"limits": {"sessions": 300, "sessions_per_address": 300}}) as gateway:
        clients = [Client(gateway.port) for _ in range(320)]
        codes = [client.answer().code for client in clients]
        assert codes.count(220) == 300 and codes.count(421) == 20
        assert clients[0].hello().code == 250
        assert clients[0].message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250
        for client in clients:
            client.close()
        until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the sessions to end")


def test_half_closed_clients_are_served_or_dropped_and_forgotten(gateway: Gateway) -> None:
    for opening in (b"", b"EHLO x\r\n", b"EHLO x\r\nMAIL FROM:<a@s.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nSubj"):
        with Client(gateway.port) as client:
            client.send(opening)
            client.socket.shutdown(socket.SHUT_WR)
            client.answers_until_closed()
    until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the sessions to end")
    until(lambda: gateway.metric("mailweir_held_bytes") == 0, "all buffers given back")


def test_resets_in_the_middle_of_everything_leave_nothing_behind(gateway: Gateway) -> None:
    stages = (
        b"EHLO x\r\nMAIL FROM:<a@s.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"
        + b"Subject: x\r\n\r\n"
        + b"z" * 200_000
    )
    for place in (3, 10, 30, 60, 70, 90, 5000, 150_000, len(stages)):
        with Client(gateway.port) as client:
            client.send(stages[:place])
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the sessions to end")
    until(lambda: gateway.metric("mailweir_held_bytes") == 0, "all buffers given back")
