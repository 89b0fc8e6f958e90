"""One connection to a next hop: replies find who waits for them, bodies go from where they lie, trouble reaches all."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import reply
from appliance.delivery.connection import HopConnection
from appliance.delivery.endpoint import Endpoint
from tests.support.hop_bench import FINAL_S, REPLY_S, Clock, connected, opened


def in_transaction(clock, extensions=("PIPELINING",)):
    """A connection that has said MAIL and RCPT, and the answers as they come."""
    connection, transport = opened(clock, extensions=extensions)
    answers = []
    engine = connection.engine
    octets = engine.mail(b"MAIL FROM:<a@b>\r\n") + engine.rcpt(b"RCPT TO:<c@d>\r\n")
    connection.submit(octets, answers.append, answers.append)
    return connection, transport, answers


def in_body(clock):
    connection, transport, answers = in_transaction(clock)
    connection.data_received(b"250 ok\r\n250 ok\r\n")
    connection.submit(connection.engine.data(), answers.append)
    connection.data_received(b"354 go on\r\n")
    transport.take()
    answers.clear()
    return connection, transport, answers


@given(st.lists(st.integers(1, 60), max_size=4))
def test_replies_find_those_who_wait_in_order_however_they_are_cut(cuts):
    connection, _, answers = in_transaction(Clock())
    said = b"250-first\r\n250 line\r\n550 5.1.1 nobody\r\n"
    places = sorted({min(cut, len(said)) for cut in cuts} | {0, len(said)})
    for start, stop in itertools.pairwise(places):
        connection.data_received(said[start:stop])
    assert [answer.code for answer in answers] == [250, 550]
    assert connection.quiet and connection.deadline_s == float("inf")


def test_commands_leave_in_one_write_where_the_server_pipelines():
    _, transport, _ = in_transaction(Clock())
    assert transport.take() == b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"


def test_commands_leave_one_by_one_where_the_server_does_not_pipeline():
    connection, transport, answers = in_transaction(Clock(), extensions=("SIZE",))
    assert transport.take() == b"MAIL FROM:<a@b>\r\n"
    connection.data_received(b"250 ok\r\n")
    assert transport.take() == b"RCPT TO:<c@d>\r\n"
    connection.data_received(b"250 ok\r\n")
    assert [answer.code for answer in answers] == [250, 250] and transport.take() == b""


def test_a_reply_that_does_not_come_fails_the_connection_at_its_deadline():
    clock = Clock()
    connection, transport, answers = in_transaction(clock)
    connection.expire(clock.now_s + REPLY_S)
    assert connection.trouble is None
    connection.expire(clock.now_s + REPLY_S + 1)
    assert answers == [reply.NEXT_HOP_TIMEOUT] * 2 and transport.aborted


def test_the_final_reply_may_take_longer():
    clock = Clock()
    connection, _, answers = in_body(clock)
    connection.expect_final([answers.append])
    connection.write_views([b"x\r\n", connection.engine.end_of_data()], lambda: None)
    connection.expire(clock.now_s + FINAL_S)
    assert connection.trouble is None
    connection.expire(clock.now_s + FINAL_S + 1)
    assert answers == [reply.NEXT_HOP_TIMEOUT]


def test_the_final_reply_may_take_longer_even_if_the_end_of_the_body_had_to_wait():
    clock = Clock()
    connection, transport, answers = in_body(clock)
    transport.stuck = True
    connection.expect_final([answers.append])
    connection.write_views([b"x\r\n", connection.engine.end_of_data()], lambda: None)
    connection.resume_writing()
    connection.expire(clock.now_s + REPLY_S + 1)
    assert connection.trouble is None


def test_a_next_hop_that_takes_no_octets_is_given_up():
    clock = Clock()
    connection, transport, _ = in_body(clock)
    transport.stuck = True
    drained = []
    assert not connection.write_views([b"x" * 100], lambda: drained.append(1))
    connection.expire(clock.now_s + REPLY_S + 1)
    assert connection.trouble == reply.NEXT_HOP_TIMEOUT and drained, "whoever waits for room must be told"


def test_views_are_free_when_the_transport_has_drained():
    connection, transport, _ = in_body(Clock())
    transport.stuck = True
    drained = []
    assert not connection.write_views([b"x" * 100], lambda: drained.append(1))
    assert not drained
    transport.buffered.clear()
    connection.resume_writing()
    assert drained == [1] and connection.deadline_s == float("inf")
    connection.resume_writing()
    assert drained == [1]


@pytest.mark.parametrize("said", [b"hello\r\n", b"250 unasked\r\n", b"999 x\r\n", b"x" * 100_000])
def test_an_idle_server_that_babbles_is_left(said):
    lost = []
    connection, transport = opened(Clock())
    connection.on_lost = lost.append
    connection.data_received(said)
    assert connection.trouble is not None and transport.aborted and lost == [connection]


def test_a_421_is_trouble_of_the_connection_and_never_the_messages_own():
    connection, _, answers = in_transaction(Clock())
    connection.data_received(b"421 4.3.2 going down\r\n")
    assert [answer.code for answer in answers] == [451, 451]
    assert connection.trouble is not None and "going down" in connection.trouble.text


def test_everybody_who_waits_hears_of_the_loss_once():
    connection, _, answers = in_transaction(Clock())
    connection.connection_lost(None)
    connection.connection_lost(None)
    connection.fail(reply.SHUTTING_DOWN)
    assert answers == [reply.NEXT_HOP_LOST] * 2


def test_after_the_loss_nothing_is_sent_and_everything_is_answered():
    connection, transport = opened(Clock())
    connection.fail(reply.NEXT_HOP_LOST)
    answers = []
    connection.submit(b"NOOP\r\n", answers.append)
    assert connection.write_views([b"x"], lambda: None) and answers == [reply.NEXT_HOP_LOST]
    assert transport.take() == b""


def test_whoever_hears_of_the_loss_may_speak_again_at_once():
    connection, _ = opened(Clock())
    answers = []
    connection.submit(connection.engine.noop(), lambda answer: connection.submit(b"NOOP\r\n", answers.append))
    connection.connection_lost(None)
    assert answers == [reply.NEXT_HOP_LOST]


def test_quit_says_so_and_closes_behind_it():
    connection, transport = opened(Clock())
    connection.quit()
    assert transport.take() == b"QUIT\r\n" and transport.closed and not transport.aborted
    assert connection.trouble is not None


def test_a_greeting_that_is_cut_off_is_a_loss():
    connection, _ = connected(Clock())
    answers = []
    connection.expect_final([answers.append])
    connection.data_received(b"220-hop")
    connection.connection_lost(ConnectionResetError())
    assert answers == [reply.NEXT_HOP_LOST]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@given(sizes=st.lists(st.integers(1, 400_000), min_size=1, max_size=4))
def test_a_body_arrives_whole_in_order_and_its_buffer_is_free_when_we_are_told(run, sizes):
    run(_body_arrives(sizes))


async def _body_arrives(sizes):
    """Sends each piece out of one buffer, which is overwritten as soon as it is said to be free."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    connection = HopConnection(
        Endpoint("smtp", "192.0.2.1", 25), reply_timeout_s=60, final_timeout_s=60, now_s=loop.time
    )
    await loop.create_unix_connection(lambda: connection, sock=ours)
    received = bytearray()

    async def receive(total):
        while len(received) < total:
            received.extend(await loop.sock_recv(theirs, 65536))

    reader = asyncio.create_task(receive(sum(sizes)))
    buffer = bytearray(max(sizes))
    expected = bytearray()
    for number, size in enumerate(sizes):
        buffer[:] = bytes([65 + number]) * len(buffer)
        expected += buffer[:size]
        free = asyncio.Event()
        half = size // 2
        views = [memoryview(buffer)[:half], memoryview(buffer)[half:size]]
        if not connection.write_views(views, free.set):
            await free.wait()
        buffer[:] = b"!" * len(buffer)
    await reader
    assert received == expected
    connection.fail(reply.SHUTTING_DOWN)
    theirs.close()
