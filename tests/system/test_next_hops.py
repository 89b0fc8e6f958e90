"""Next hops with their peculiarities: LMTP, BINARYMIME, no PIPELINING, connections that break or are held too long."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.client import Client, stuffed
from tests.support.conditions import until
from tests.support.gateway import Gateway
from tests.support.messages import KIB, MIB, body_of
from tests.support.sink import EXTENSIONS, Sink, hang_up, say, times


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink) -> Iterator[Gateway]:
    with Gateway([sink.url]) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(sink: Sink) -> Iterator[None]:
    sink.script.clear()
    sink.taken.clear()
    sink.seen.clear()
    sink.cut.clear()
    yield
    sink.reading.set()
    sink.cut_body_after_bytes = None


def test_a_next_hop_without_pipelining_gets_one_command_at_a_time() -> None:
    with Sink(extensions=("8BITMIME",)) as sink, Gateway([sink.url]) as gateway, Client(gateway.port) as client:
        impatient: list[str] = []

        def alone(line: str) -> str:
            impatient.append(line)
            return "250 ok"

        sink.script["MAIL"] = sink.script["RCPT"] = alone
        client.hello()
        client.send(b"MAIL FROM:<a@s.test>\r\nRCPT TO:<b@example.test>\r\nRCPT TO:<c@example.test>\r\nDATA\r\n")
        assert [client.answer().code for _ in range(4)] == [250, 250, 250, 354]
        client.send(b"Subject: x\r\n\r\n.\r\n")
        assert client.answer().code == 250
        assert [line.split(":")[0] for line in impatient] == ["MAIL FROM", "RCPT TO", "RCPT TO"]
        assert not sink.packed, "commands came in one packet"


def test_a_pooled_connection_that_the_next_hop_closed_is_replaced(gateway: Gateway, sink: Sink) -> None:
    for _ in range(5):
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250
        sink.cut_all()
    assert len(sink.taken) == 5


def test_a_next_hop_that_closes_at_the_second_message_loses_none(gateway: Gateway, sink: Sink) -> None:
    with Client(gateway.port) as client:
        client.hello()
        assert client.message("a@s.test", "b@example.test", b"Subject: 1\r\n\r\n").code == 250
        for act in (hang_up, say("421 4.3.2 enough")):
            sink.script["MAIL"] = times(1, act, say("250 ok"))
            assert client.message("a@s.test", "b@example.test", b"Subject: 2\r\n\r\n").code == 250
    sink.wait_for(3)


def test_the_pool_does_not_leak_connections_that_broke(sink: Sink) -> None:
    hop = {
        "name": "hop",
        "servers": [{"url": sink.url}],
        "tls": "none",
        "connections": 2,
        "acquire_timeout": "1s",
        "breaker_failures": 1000,
    }
    with Gateway([], {"next_hop": [hop], "delivery": {"spool_when_down": False}}) as gateway:
        sink.script["RCPT"] = times(6, hang_up, say("250 ok"))
        for _ in range(6):
            with Client(gateway.port) as client:
                client.hello()
                assert client.envelope("a@s.test", "b@example.test")[1].code == 451
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@s.test", "b@example.test", b"Subject: still here\r\n\r\n").code == 250


def test_lmtp_answers_for_each_recipient_and_the_rest_is_owed_by_the_queue() -> None:
    refusals = {"c@example.test": 1}

    def answer(recipient: str) -> str:
        for address, left in refusals.items():
            if address in recipient and left:
                refusals[address] = left - 1
                return "452 4.2.2 full"
        return "250 2.0.0 taken"

    with Sink(lmtp=True) as sink, Gateway([sink.url]) as gateway, Client(gateway.port) as client:
        sink.script["BODY"] = answer
        client.hello()
        body = b"Subject: to three\r\n\r\ntext\r\n"
        assert client.message("a@s.test", [f"{name}@example.test" for name in "bcd"], body).code == 250
        sink.wait_for(2)
        assert sink.taken[1].recipients == ["RCPT TO:<c@example.test>"]
        assert [taken.body for taken in sink.taken] == [body, body]
        until(lambda: not gateway.queue(), "an empty queue")


def test_lmtp_that_wants_none_of_them_for_good_or_for_now_promises_nothing() -> None:
    with Sink(lmtp=True) as sink, Gateway([sink.url], {"delivery": {"spool_when_down": False}}) as gateway:
        sink.script["BODY"] = lambda to: "550 5.7.1 never" if "b@" in to else "450 4.2.1 later"
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@s.test", ["b@example.test", "c@example.test"], b"Subject: x\r\n\r\n").code == 450


def test_binary_mime_passes_raw_where_the_next_hop_takes_it() -> None:
    raw = b"Subject: raw\r\n\r\n" + bytes(range(256)) * 20 + b"\r\n.\r\nno dot ends this"
    with Sink(extensions=(*EXTENSIONS, "CHUNKING", "BINARYMIME")) as sink, Gateway([sink.url]) as gateway:
        with Client(gateway.port) as client:  # the next hop's abilities are known by its first connection
            client.hello()
            assert client.message("a@s.test", "b@example.test", b"Subject: first\r\n\r\n").code == 250

        def offered() -> bool:
            with Client(gateway.port) as asking:
                return "BINARYMIME" in asking.hello().text

        until(offered, "BINARYMIME to be offered")
        with Client(gateway.port) as client:
            client.hello()
            client.envelope("a@s.test", "b@example.test", "BODY=BINARYMIME")
            assert client.say("DATA").code == 503
            client.send(b"BDAT %d\r\n%s" % (100, raw[:100]))
            assert client.answer().code == 250
            client.send(b"BDAT %d LAST\r\n%s" % (len(raw) - 100, raw[100:]))
            assert client.answer().code == 250
        assert sink.taken[1].body == raw and not sink.taken[1].dotted


def test_bytes_that_are_kept_save_a_streaming_message_from_a_dying_next_hop() -> None:
    body = body_of(4 * MIB, 9)
    with (
        Sink() as sink,
        Gateway([sink.url], {"delivery": {"keep_bytes": True}}) as gateway,
        Client(gateway.port) as client,
    ):
        sink.cut_body_after_bytes = 2 * MIB
        client.hello()
        client.envelope("a@s.test", "b@example.test")
        client.say("DATA")
        client.send(stuffed(body[: 3 * MIB]))
        until(lambda: sink.cut, "the next hop to die")
        sink.cut_body_after_bytes = None
        client.send(stuffed(body)[len(stuffed(body[: 3 * MIB])) :] + b".\r\n")
        assert client.answer().code == 250
        assert sink.wait_for(1)[0].body == body


def test_without_kept_bytes_the_client_keeps_a_message_whose_next_hop_died() -> None:
    body = body_of(4 * MIB, 10)
    with Sink() as sink, Gateway([sink.url]) as gateway, Client(gateway.port) as client:
        sink.cut_body_after_bytes = 2 * MIB
        client.hello()
        assert client.message("a@s.test", "b@example.test", body).code == 451
        sink.cut_body_after_bytes = None
        assert client.message("a@s.test", "b@example.test", body).code == 250
        assert [taken.body == body for taken in sink.taken] == [True]


def test_a_dawdling_client_gives_the_next_hops_connection_back(sink: Sink) -> None:
    more = {"timeouts": {"hop_held": "1s", "drain": "2s"}}
    with Gateway([sink.url], more) as gateway, Client(gateway.port) as client:
        client.hello()
        for declared in ("", "SIZE=3000000"):
            sink.commands.clear()
            assert client.envelope("a@s.test", "b@example.test", declared)[1].code == 250
            until(lambda: sink.commands["RSET"], "the connection to be given back")
            assert client.say("DATA").code == 354
            client.send(b"Subject: late\r\n\r\n.\r\n")
            assert client.answer().code == 250
        assert client.say("QUIT").code == 221
    assert len(sink.taken) == 2


@pytest.mark.parametrize("keep_bytes", [True, False])
def test_a_client_that_streams_too_slowly_loses_the_next_hops_connection(keep_bytes: bool, sink: Sink) -> None:
    more = {
        "timeouts": {"hop_held": "1s", "hop_streamed": "1s", "drain": "2s"},
        "delivery": {"path": "wire", "keep_bytes": keep_bytes},
    }
    body = body_of(600 * KIB, 77)
    raw = stuffed(body)
    with Gateway([sink.url], more) as gateway, Client(gateway.port) as client:
        client.hello()
        client.envelope("a@s.test", "b@example.test")
        assert client.say("DATA").code == 354
        client.send(raw[: 200 * KIB])
        until(lambda: sink.cut, "the next hop's connection to be cut")
        client.send(raw[200 * KIB :] + b".\r\n")  # it is heard out
        answer = client.answer()
        if keep_bytes:
            assert answer.code == 250
            assert sink.wait_for(1)[0].body == body
            assert gateway.wait_for_event("message", id=answer.id)["path"] == "spool"
        else:
            assert answer.code == 451 and "too slowly" in answer.text and not sink.seen
        assert client.message("a@s.test", "b@example.test", b"Subject: next\r\n\r\n").code == 250
        until(lambda: gateway.metric("mailweir_held_bytes") == 0, "the buffers to be given back")


def test_a_message_that_turns_to_the_spool_leaves_its_buffers_to_others_for_good() -> None:
    """With several LMTP recipients a body over the hold window is spooled: its memory is other sessions' at once."""
    large = [body_of(3 * MIB, 50 + number) for number in range(4)]
    small = [body_of(700 * KIB + number, 60 + number) for number in range(40)]
    codes: list[int] = []

    def send(port: int, bodies: list[bytes], recipients: list[str]) -> None:
        with Client(port) as client:
            client.hello()
            codes.extend(client.message("a@s.test", recipients, body).code for body in bodies)

    with Sink(lmtp=True) as sink, Gateway([sink.url]) as gateway:
        shares = [(large[:2], ["b@example.test", "c@example.test"]), (large[2:], ["b@example.test", "c@example.test"])]
        shares += [(small[number::4], ["d@example.test"]) for number in range(4)]
        threads = [threading.Thread(target=send, args=(gateway.port, *share)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert codes == [250] * (len(large) + len(small))
        sink.wait_for(len(codes))
        assert sorted(taken.body for taken in sink.taken) == sorted(large + small)


def test_a_refused_message_that_goes_on_is_not_read_into_others_memory() -> None:
    lines = (b"l" * 98 + b"\r\n") * 300
    bodies = [b"Subject: %d\r\n\r\n" % number + (b"%d" % number * 98 + b"\r\n") * 1000 for number in range(3)]
    with Sink() as sink, Gateway([sink.url], {"limits": {"body_line": 998}}) as gateway:
        refused, *others = [Client(gateway.port) for _ in range(4)]
        for client in (refused, *others):
            client.answer()
            client.hello()
            client.envelope("a@s.test", "b@example.test")
            assert client.say("DATA").code == 354
        refused.send(b"Subject: bad\r\n\r\n" + lines)
        until(lambda: gateway.metric("mailweir_held_bytes") > 0, "a buffer to be taken")
        refused.send(b"x" * 2000 + b"\r\n")
        until(lambda: gateway.metric("mailweir_held_bytes") == 0, "the buffer to be given back")
        for number, (client, body) in enumerate(zip(others, bodies, strict=True)):
            client.send(body[:100_000])
            until(lambda held=number: gateway.metric("mailweir_held_bytes") > held * 128 * KIB, "a buffer to be taken")
        refused.send(b"Z" * 60_000 + b"\r\n.\r\n")
        assert refused.answer().code == 550
        for client, body in zip(others, bodies, strict=True):
            client.send(body[100_000:] + b".\r\n")
            assert client.answer().code == 250
            client.close()
        refused.close()
        assert [taken.body == body for taken, body in zip(sink.taken, bodies, strict=True)] == [True] * 3
