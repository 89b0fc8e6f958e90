"""The pool: warm connections first, servers by preference, a bound on everything, an answer for everybody."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from appliance.config.schema import Duration, HopServer
from appliance.core import reply
from appliance.core.reply import Reply
from appliance.delivery.connection import HopConnection
from appliance.delivery.pool import HopPool
from tests.support.hop_bench import Hop, settle, trouble
from tests.support.queue_bench import in_loop

A, B = "smtp://192.0.2.1:25", "smtp://192.0.2.2:25"


async def acquired(hop, *, fresh=False):
    got = []
    hop.pool.acquire(got.append, fresh=fresh)
    await settle()
    assert len(got) == 1
    return got[0]


@in_loop
async def test_a_connection_that_came_back_is_used_again():
    hop = Hop()
    first = await acquired(hop)
    hop.pool.release(first)
    assert hop.pool.idle_count == 1
    assert await acquired(hop) is first and len(hop.connections) == 1


@in_loop
async def test_a_warm_connection_is_given_at_once():
    hop = Hop()
    hop.pool.release(await acquired(hop))
    got = []
    hop.pool.acquire(got.append)
    assert isinstance(got[0], HopConnection)


@in_loop
async def test_a_fresh_connection_is_opened_although_a_warm_one_is_there():
    hop = Hop()
    first = await acquired(hop)
    hop.pool.release(first)
    assert await acquired(hop, fresh=True) is not first


@in_loop
async def test_the_last_one_used_is_used_next_so_that_the_others_age():
    hop = Hop(idle=Duration(30))
    first, second = await acquired(hop), await acquired(hop)
    hop.pool.release(first)
    hop.clock.now_s += 20
    hop.pool.release(second)
    hop.clock.now_s += 15
    hop.pool.sweep(hop.clock.now_s)
    assert hop.transports[first].closed and not hop.transports[second].closed
    assert hop.pool.idle_count == 1


@in_loop
async def test_a_connection_that_idled_is_probed_before_it_is_given_out():
    hop = Hop(probe_after=Duration(5))
    first = await acquired(hop)
    hop.pool.release(first)
    hop.clock.now_s += 6
    got = []
    hop.pool.acquire(got.append)
    assert hop.heard() == b"RSET\r\n" and not got
    hop.says(b"250 ok\r\n")
    assert got == [first]


@in_loop
async def test_a_probe_without_an_answer_leads_to_a_new_connection():
    hop = Hop(probe_after=Duration(5))
    first = await acquired(hop)
    hop.pool.release(first)
    hop.clock.now_s += 6
    got = []
    hop.pool.acquire(got.append)
    hop.closes()
    await settle()
    assert got == [hop.connections[1]] and hop.pool.busy_count == 1


@in_loop
async def test_a_probe_that_is_refused_leads_to_a_new_connection():
    hop = Hop(probe_after=Duration(5))
    hop.pool.release(await acquired(hop))
    hop.clock.now_s += 6
    got = []
    hop.pool.acquire(got.append)
    hop.says(b"502 what\r\n")
    await settle()
    assert got == [hop.connections[1]] and hop.transports[hop.connections[0]].closed


@in_loop
async def test_an_idle_connection_that_breaks_is_not_given_out():
    hop = Hop()
    hop.pool.release(await acquired(hop))
    hop.closes()
    assert hop.pool.idle_count == 0
    assert await acquired(hop) is hop.connections[1]


@in_loop
async def test_a_connection_is_worn_out_after_its_messages():
    hop = Hop(messages_per_connection=2)
    first = await acquired(hop)
    first.transactions = 2
    hop.pool.release(first)
    assert hop.transports[first].closed and hop.pool.idle_count == 0


@in_loop
async def test_no_more_connections_are_opened_than_configured_and_waiters_are_served_in_turn():
    hop = Hop(connections=2)
    first, _ = await acquired(hop), await acquired(hop)
    waiting = [[], []]
    for got in waiting:
        hop.pool.acquire(got.append)
    await settle()
    assert len(hop.connections) == 2 and waiting == [[], []]
    hop.pool.release(first)
    await settle()
    assert waiting == [[first], []]


@in_loop
async def test_a_broken_connection_makes_room_for_a_waiter_although_nobody_gave_it_back():
    hop = Hop(connections=1)
    await acquired(hop)
    got = []
    hop.pool.acquire(got.append)
    hop.closes()
    await settle()
    assert got == [hop.connections[1]] and hop.pool.busy_count == 1


@in_loop
async def test_lost_connections_do_not_use_up_the_pool():
    hop = Hop(connections=3)
    for _ in range(10):
        assert isinstance(await acquired(hop), HopConnection)
        hop.closes()
    assert hop.pool.busy_count == 0


@in_loop
async def test_a_waiter_is_told_when_it_waited_too_long():
    hop = Hop(connections=1, acquire_timeout=Duration(30))
    await acquired(hop)
    got = []
    hop.pool.acquire(got.append)
    hop.pool.sweep(hop.clock.now_s + 30)
    assert not got
    hop.pool.sweep(hop.clock.now_s + 31)
    assert got == [reply.NEXT_HOP_BUSY]


@in_loop
async def test_a_thousand_waiters_that_have_gone_do_not_stand_on_each_other():
    hop = Hop(connections=1)
    first = await acquired(hop)
    for _ in range(1000):
        hop.pool.acquire(hop.pool.release)
    one_too_many = []
    hop.pool.acquire(one_too_many.append)
    assert one_too_many == [reply.NEXT_HOP_BUSY]
    hop.pool.release(first)
    for _ in range(110):
        await settle()
    assert hop.pool.idle_count == 1


@in_loop
async def test_a_lower_preference_is_tried_first_and_a_higher_one_when_it_fails():
    servers = [HopServer(url=B, preference=20), HopServer(url=A, preference=10)]
    hop = Hop(servers=servers)
    await acquired(hop)
    assert hop.asked == ["192.0.2.1"]
    hop.failing["192.0.2.1"] = trouble()
    assert (await acquired(hop)).endpoint.host == "192.0.2.2"


@in_loop
async def test_equal_servers_share_by_weight():
    servers = [HopServer(url=A, weight=3), HopServer(url=B, weight=1)]
    hop = Hop(servers=servers)
    hop.pool = HopPool(hop.config, hop.open, now_s=hop.clock, chance=random.Random(1))
    for _ in range(200):
        (await acquired(hop, fresh=True)).fail(reply.NEXT_HOP_LOST)
    shares = Counter(hop.asked)
    assert 120 < shares["192.0.2.1"] < 180


@in_loop
async def test_a_server_that_fails_again_and_again_is_left_alone_and_then_probed_once():
    hop = Hop()
    hop.failing["192.0.2.1"] = trouble()
    for _ in range(2):
        assert isinstance(await acquired(hop), Reply)
    assert hop.pool.down
    assert await acquired(hop) == reply.NEXT_HOP_DOWN and len(hop.asked) == 2
    hop.clock.now_s += 11
    hop.gate = asyncio.Event()
    del hop.failing["192.0.2.1"]
    probe, other = [], []
    hop.pool.acquire(probe.append)
    await settle()
    hop.pool.acquire(other.append)
    await settle()
    assert other == [reply.NEXT_HOP_DOWN]
    hop.gate.set()
    await settle()
    assert isinstance(probe[0], HopConnection) and not hop.pool.down


@in_loop
async def test_all_waiters_are_told_at_once_when_the_hop_turns_out_to_be_down():
    hop = Hop(connections=1, breaker_failures=1)
    first = await acquired(hop)
    got = []
    for _ in range(3):
        hop.pool.acquire(got.append)
    hop.failing["192.0.2.1"] = trouble()
    hop.pool.discard(first)
    await settle()
    assert len(got) == 3 and all(isinstance(answer, Reply) for answer in got)


@in_loop
async def test_a_defect_in_opening_is_answered_too_and_leaves_no_probe_behind():
    hop = Hop(breaker_failures=1)
    hop.failing["192.0.2.1"] = UnicodeError("a defect")
    got = await acquired(hop)
    assert isinstance(got, Reply) and got.temporary
    del hop.failing["192.0.2.1"]
    hop.clock.now_s += 11
    assert isinstance(await acquired(hop), HopConnection)


@in_loop
async def test_a_connection_in_the_middle_of_a_transaction_is_reset_before_it_is_used_again():
    hop = Hop()
    first = await acquired(hop)
    first.submit(first.engine.mail(b"MAIL FROM:<a@b>\r\n"), lambda answer: None)
    hop.says(b"250 ok\r\n")
    hop.heard()
    hop.pool.reset_and_release(first)
    assert hop.heard() == b"RSET\r\n" and hop.pool.idle_count == 0
    hop.says(b"250 ok\r\n")
    assert hop.pool.idle_count == 1


@in_loop
async def test_a_connection_with_an_open_transaction_never_comes_back_into_the_pool():
    hop = Hop()
    first = await acquired(hop)
    first.submit(first.engine.mail(b"MAIL FROM:<a@b>\r\n"), lambda answer: None)
    hop.says(b"250 ok\r\n")
    hop.pool.release(first)
    assert hop.pool.idle_count == 0 and first.trouble is not None


@in_loop
async def test_a_connection_that_still_sends_the_last_message_never_comes_back_into_the_pool():
    hop = Hop()
    first = await acquired(hop)
    hop.transports[first].buffered.append(b"octets of a message that the server answered too early")
    hop.pool.release(first)
    assert hop.pool.idle_count == 0 and hop.transports[first].aborted


@in_loop
async def test_a_refused_reset_ends_the_connection():
    hop = Hop()
    first = await acquired(hop)
    hop.pool.reset_and_release(first)
    hop.says(b"500 what\r\n")
    assert hop.pool.idle_count == 0 and hop.transports[first].closed


@in_loop
async def test_what_must_not_arrive_is_cut_off():
    hop = Hop()
    first = await acquired(hop)
    hop.pool.discard(first)
    assert hop.transports[first].aborted and hop.pool.busy_count == 0


@in_loop
async def test_closing_answers_everybody_and_leaves_nothing_open():
    hop = Hop(connections=3)
    busy, idle = await acquired(hop), await acquired(hop)
    hop.pool.release(idle)
    hop.gate = asyncio.Event()
    opening, waiting = [], []
    hop.pool.acquire(opening.append, fresh=True)
    hop.pool.acquire(opening.append, fresh=True)
    hop.pool.acquire(waiting.append, fresh=True)
    await settle()
    await hop.pool.close()
    await settle()
    assert len(opening) == 2 and all(isinstance(answer, Reply) for answer in opening)
    assert waiting == [reply.NEXT_HOP_DOWN]
    assert hop.transports[idle].closed and hop.transports[busy].aborted
    late = []
    hop.pool.acquire(late.append)
    assert isinstance(late[0], Reply) and len(hop.connections) == 2


@in_loop
async def test_binarymime_is_known_from_the_server_spoken_to_last():
    hop = Hop(extensions=("PIPELINING", "CHUNKING"))
    assert not hop.pool.takes_binary
    await acquired(hop)
    assert not hop.pool.takes_binary
    hop.extensions = ("CHUNKING", "BINARYMIME")
    await acquired(hop)
    assert hop.pool.takes_binary
