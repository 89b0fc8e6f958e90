"""Cut-through: what the client is told is what the next hop said, and what arrives is what was sent, to the octet."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.support.client import Client, stuffed
from tests.support.conditions import until
from tests.support.gateway import Gateway
from tests.support.messages import GTUBE, KIB, MIB, body_of
from tests.support.sink import Sink, held, say, times


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


@pytest.mark.parametrize("size_bytes", [200, 4 * KIB, 17 * KIB, 130 * KIB, MIB - 600, MIB, MIB + 5_000, 5 * MIB])
def test_messages_of_every_size_arrive_byte_identical(size_bytes: int, gateway: Gateway, sink: Sink) -> None:
    body = body_of(size_bytes, size_bytes)
    with Client(gateway.port) as client:
        client.hello()
        for parameters in ("", f"SIZE={len(body)}"):
            assert client.message("a@sender.test", "b@example.test", body, parameters).code == 250
    assert [taken.body == body for taken in sink.taken] == [True, True]


def test_a_message_in_tiny_packets_arrives_byte_identical(gateway: Gateway, sink: Sink) -> None:
    body = body_of(3 * KIB, 7)
    with Client(gateway.port) as client:
        client.hello()
        client.envelope("a@sender.test", "b@example.test")
        client.say("DATA")
        client.send(stuffed(body) + b".\r\n", bytewise=True)
        assert client.answer().code == 250
    assert sink.taken[0].body == body


def test_the_reply_of_the_next_hop_to_a_recipient_is_the_clients(gateway: Gateway, sink: Sink) -> None:
    sink.script["RCPT"] = lambda line: "550 5.1.1 nobody of that name" if "eve" in line else "250 2.1.5 ok"
    with Client(gateway.port) as client:
        client.hello()
        mail, eve, bob = client.envelope("a@sender.test", ["eve@example.test", "bob@example.test"])
        assert (mail.code, eve.code, bob.code) == (250, 550, 250)
        assert "nobody of that name" in eve.text and eve.id
        client.say("DATA")
        client.send(b"Subject: x\r\n\r\n.\r\n")
        assert client.answer().code == 250
    assert sink.taken[0].recipients == ["RCPT TO:<bob@example.test>"]


def test_a_refused_sender_is_told_at_rcpt_and_the_connection_serves_the_next_message(
    gateway: Gateway, sink: Sink
) -> None:
    sink.script["MAIL"] = times(1, say("550 5.7.1 not you"), say("250 ok"))
    with Client(gateway.port) as client:
        client.hello()
        assert client.envelope("a@sender.test", "b@example.test")[1].code == 550
        client.say("RSET")
        assert client.message("a@sender.test", "b@example.test", b"Subject: y\r\n\r\n").code == 250


def test_a_refusal_behind_the_dot_is_the_clients(gateway: Gateway, sink: Sink) -> None:
    sink.script["BODY"] = say("554 5.6.0 I do not like it")
    for size_bytes in (2 * KIB, 3 * MIB):
        with Client(gateway.port) as client:
            client.hello()
            answer = client.message("a@sender.test", "b@example.test", body_of(size_bytes, 1))
            assert answer.code == 554 and "I do not like it" in answer.text and answer.id
    assert not gateway.queue()


def test_the_250_comes_only_behind_the_next_hops(gateway: Gateway, sink: Sink) -> None:
    gate = threading.Event()
    sink.script["BODY"] = held(gate, say("250 2.0.0 taken"))
    with Client(gateway.port) as client:
        client.hello()
        client.envelope("a@sender.test", "b@example.test")
        client.say("DATA")
        client.send(b"Subject: x\r\n\r\n.\r\n")
        until(lambda: sink.seen, "the message at the next hop")
        client.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.answer()
        gate.set()
        client.socket.settimeout(15)
        assert client.answer().code == 250


def test_a_refused_large_message_leaves_the_next_hop_none(gateway: Gateway, sink: Sink) -> None:
    with Client(gateway.port) as client:
        client.hello()
        assert client.message("a@sender.test", "b@example.test", body_of(3 * MIB, 3) + GTUBE + b"\r\n").code == 554
        until(lambda: sink.cut, "the cut body")
        assert not sink.seen
        assert client.message("a@sender.test", "b@example.test", b"Subject: next\r\n\r\n").code == 250


def test_a_bare_newline_deep_in_a_large_message_never_reaches_the_next_hop(gateway: Gateway, sink: Sink) -> None:
    body = body_of(2 * MIB, 4) + b"\r\n.\nMAIL FROM:<x@y.test>\r\n" + body_of(2 * MIB, 5)
    with Client(gateway.port) as client:
        client.hello()
        client.envelope("a@sender.test", "b@example.test", f"SIZE={len(body)}")
        client.say("DATA")
        client.send(body.replace(b"\r\n..", b"\r\n.") + b"\r\n.\r\n")
        assert client.answer().code == 550
        until(lambda: sink.cut or not sink.connections, "the cut body")
        assert not sink.seen and not any(b".\n" in cut.replace(b"\r\n", b"") for cut in sink.cut)
        assert not any(b"MAIL FROM" in cut for cut in sink.cut)
        assert client.message("a@sender.test", "b@example.test", b"Subject: next\r\n\r\n").code == 250


@pytest.mark.parametrize("path", ["wire", "ram", "spool"])
def test_each_path_of_the_policy_delivers_byte_identical(path: str, sink: Sink) -> None:
    bodies = [body_of(size_bytes, size_bytes) for size_bytes in (100, 3 * KIB, 200 * KIB, 3 * MIB)]
    with Gateway([sink.url], {"delivery": {"path": path}}) as gateway, Client(gateway.port) as client:
        client.hello()
        for body in bodies:
            assert client.message("a@sender.test", "b@example.test", body).code == 250
        sink.wait_for(len(bodies))
        until(lambda: gateway.metric("mailweir_messages_total", f'path="{path}"') >= 3, "the path in the metrics")
    assert sorted(taken.body for taken in sink.taken) == sorted(bodies)


@pytest.mark.parametrize("withhold_bytes", [0, 1, 4096])
def test_the_hold_windows_edge_loses_and_doubles_nothing(withhold_bytes: int, sink: Sink) -> None:
    window_bytes = 64 * KIB
    bodies = []
    for edge in (-1, 0, 1):
        head = b"Subject: edge\r\n\r\n" + b"x" * 70 + b"\r\n"
        body = head + b"y" * (window_bytes + edge - len(head) - 2) + b"\r\n"
        assert len(body) == window_bytes + edge
        bodies += [body, body * 5]
    with Gateway([sink.url], {"delivery": {"hold_window": window_bytes, "withhold": withhold_bytes}}) as gateway:
        with Client(gateway.port) as client:
            client.hello()
            for body in bodies:
                assert client.message("a@sender.test", "b@example.test", body).code == 250
            assert client.say("QUIT").code == 221
    assert [taken.body for taken in sink.taken] == bodies


def test_parallel_large_messages_over_a_slow_next_hop_stay_byte_identical() -> None:
    count = 12
    bodies = [body_of(3 * MIB + 7_919 * seed, seed) for seed in range(count)]
    with Sink(receive_buffer_bytes=16 * KIB) as sink, Gateway([sink.url]) as gateway:
        sink.reading.clear()
        codes: list[int] = []

        def send(seed: int) -> None:
            with Client(gateway.port) as client:
                client.socket.settimeout(60)
                client.hello()
                codes.append(client.message("a@sender.test", "b@example.test", bodies[seed]).code)
                codes.append(
                    client.message("a@sender.test", "b@example.test", bodies[seed][: 40 * KIB - 2] + b"\r\n").code
                )

        threads = [threading.Thread(target=send, args=(seed,)) for seed in range(count)]
        for thread in threads:
            thread.start()
        until(lambda: sink.commands["DATA"] >= count, "all bodies under way")
        # Let go a little, stop, and let go again: views wait in transports while buffers change hands.
        for _ in range(20):
            sink.reading.set()
            threading.Event().wait(0.005)
            sink.reading.clear()
            threading.Event().wait(0.005)
        sink.reading.set()
        for thread in threads:
            thread.join(60)
        assert codes == [250] * (2 * count)
        expected = bodies + [body[: 40 * KIB - 2] + b"\r\n" for body in bodies]
        assert sorted(hash(taken.body) for taken in sink.taken) == sorted(map(hash, expected))
        until(lambda: gateway.metric("mailweir_held_bytes") == 0, "all buffers given back")


def test_a_slow_next_hop_slows_the_client_and_memory_stays_bounded() -> None:
    with Sink(receive_buffer_bytes=16 * KIB) as sink, Gateway([sink.url]) as gateway:
        before_bytes = gateway.resident_bytes()
        sink.reading.clear()
        body = b"Subject: big\r\n\r\n" + (b"z" * 98 + b"\r\n") * 300_000
        with Client(gateway.port) as client:
            client.hello()
            client.envelope("a@sender.test", "b@example.test")
            client.say("DATA")
            client.socket.settimeout(0.5)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < len(body):
                    sent += client.socket.send(body[sent : sent + 65536])
            assert sent < len(body), "nothing slowed the client"
            assert gateway.resident_bytes() - before_bytes < 12 * MIB
            sink.reading.set()
            client.socket.settimeout(30)
            client.socket.sendall(body[sent:] + b".\r\n")
            assert client.answer().code == 250
        assert sink.taken[0].body == body


def test_a_client_that_goes_away_at_any_stage_costs_nobody_anything(gateway: Gateway, sink: Sink) -> None:
    stages = [
        b"",
        b"EHLO x\r\n",
        b"MAIL FROM:<a@s.test>\r\n",
        b"RCPT TO:<b@example.test>\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n",
        b"\r\n",
        b"text " * 20_000 + b"\r\n",
        (b"y" * 98 + b"\r\n") * 20_000,
        b".\r",
        b"\n",
    ]
    for upto in range(len(stages) + 1):
        with Client(gateway.port) as client:
            client.send(b"".join(stages[:upto]))
            if upto % 2:
                client.say("NOOP") if upto < 4 else None
    until(lambda: gateway.metric("mailweir_sessions_open") == 0, "the sessions to end")
    until(lambda: gateway.metric("mailweir_held_bytes") == 0, "all buffers given back")
    with Client(gateway.port) as client:
        client.hello()
        for _ in range(3):
            assert client.message("a@s.test", "b@example.test", b"Subject: after\r\n\r\n").code == 250


def test_when_memory_is_used_up_messages_stream_and_new_ones_are_put_off(sink: Sink) -> None:
    limits = {"memory_per_worker": 2 * MIB, "header_section": 64 * KIB}
    with Gateway([sink.url], {"limits": limits, "delivery": {"hold_window": 500 * KIB}}) as gateway:
        bodies = [body_of(480 * KIB, seed) for seed in range(16)]
        clients = [Client(gateway.port).__enter__() for _ in bodies]
        for client in clients:
            client.hello()
            client.envelope("a@sender.test", "b@example.test")
            assert client.say("DATA").code == 354
        for client, body in zip(clients, bodies, strict=True):
            client.send(stuffed(body))
        until(lambda: gateway.metric("mailweir_held_bytes") >= 2 * MIB, "the memory to be used up")
        with Client(gateway.port) as late:
            late.hello()
            assert late.say("MAIL FROM:<c@sender.test>").code == 452
        assert gateway.metric("mailweir_held_bytes") <= 5 * MIB
        for client in clients:
            client.send(b".\r\n")
        assert [client.answer().code for client in clients] == [250] * len(clients)
        for client in clients:
            client.close()
        assert sorted(taken.body for taken in sink.taken) == sorted(bodies)
        assert gateway.metric("mailweir_messages_total", 'path="wire"') > 1
        assert gateway.metric("mailweir_held_bytes") == 0


def test_pipelined_transactions_do_not_share_a_buffer(gateway: Gateway, sink: Sink) -> None:
    """The next MAIL comes in the packet of the final dot: the buffer of the first message is nobody's any more."""
    first, second = body_of(100 * KIB, 21), body_of(90 * KIB, 22)
    envelope = b"MAIL FROM:<a@s.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"
    others: list[int] = []

    def bystander(seed: int) -> None:
        with Client(gateway.port) as client:
            client.hello()
            others.extend(client.message("a@s.test", "b@example.test", body_of(150 * KIB, seed)).code for _ in range(5))

    threads = [threading.Thread(target=bystander, args=(seed,)) for seed in (31, 32)]
    for thread in threads:
        thread.start()
    with Client(gateway.port) as client:
        client.hello()
        client.send(envelope)
        assert [client.answer().code for _ in range(3)] == [250, 250, 354]
        for _ in range(10):
            client.send(stuffed(first) + b".\r\n" + envelope)
            assert [client.answer().code for _ in range(4)] == [250, 250, 250, 354]
            client.send(stuffed(second) + b".\r\n" + envelope)
            assert [client.answer().code for _ in range(4)] == [250, 250, 250, 354]
    for thread in threads:
        thread.join(30)
    assert others == [250] * 10
    bodies = [taken.body for taken in sink.taken]
    assert bodies.count(first) == bodies.count(second) == 10
    assert bodies.count(body_of(150 * KIB, 31)) == bodies.count(body_of(150 * KIB, 32)) == 5


@pytest.mark.parametrize("path", ["ram", "wire", "spool"])
@pytest.mark.parametrize("body", [b"no field here\r\nat all\r\n", b"", b"\r\nonly a body\r\n"])
def test_a_message_without_header_section_keeps_its_body_apart_from_our_received(path: str, body: bytes) -> None:
    with Sink() as sink, Gateway([sink.url], {"delivery": {"path": path}}) as gateway, Client(gateway.port) as client:
        client.hello()
        assert client.message("a@example.test", "b@example.test", body).code == 250
        (taken,) = sink.wait_for(1)
        received, _, rest = taken.content.partition(b"\r\n\r\n")
        assert received.startswith(b"Received: ")
        assert rest == body.removeprefix(b"\r\n")
