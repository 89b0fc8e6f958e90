"""A next hop that is lost while a body outgrows the hold window: what is kept is whole, else the client owns it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Path, Size
from appliance.core.reply import START_INPUT
from appliance.intake.buffers import BufferPool
from appliance.intake.paths import Kept, WirePath
from appliance.observe.metrics import Counters
from tests.support.queue_bench import in_loop
from tests.support.transaction_bench import TransactionBench, lines

WINDOW_BYTES, WITHHELD_BYTES = 32 << 10, 4 << 10
MESSAGE = lines(100_000)


def bench(*, keep_bytes: bool, **more: Any) -> TransactionBench:
    return TransactionBench(
        hold_window=Size(WINDOW_BYTES), withhold=Size(WITHHELD_BYTES), keep_bytes=keep_bytes, **more
    )


def assert_spooled_whole(message: TransactionBench) -> None:
    (stored,) = message.spooled()
    assert stored.startswith(b"Received: ") and stored.endswith(MESSAGE)
    assert b"Subject: long" not in stored.removesuffix(MESSAGE), "a part of it comes twice"


async def lost_before_it_outgrows(*, keep_bytes: bool) -> TransactionBench:
    """The client sends less than the window, the next hop goes, the client sends the rest."""
    message = bench(keep_bytes=keep_bytes)
    await message.in_body()
    message.data()
    message.sends(MESSAGE[:20_000])
    message.hop.closes()
    message.sends(MESSAGE[20_000:])
    return message


@in_loop
async def test_a_kept_body_is_whole_when_the_next_hop_was_lost_before_it_outgrew_the_window():
    message = await lost_before_it_outgrows(keep_bytes=True)
    assert message.ends().code == 250
    assert_spooled_whole(message)
    assert len(message.site.queue) == 1


@in_loop
async def test_a_body_that_is_not_kept_gets_451_when_the_next_hop_was_lost_before_it_outgrew_the_window():
    message = await lost_before_it_outgrows(keep_bytes=False)
    assert message.ends().code == 451
    assert message.spooled() == [] and len(message.site.queue) == 0
    assert message.site.buffers.owned_bytes == 0


@pytest.mark.parametrize("keep_bytes", [True, False])
def test_a_body_announced_as_long_fares_no_worse_when_the_next_hop_was_lost_before_data(keep_bytes):
    @in_loop
    async def run():
        message = bench(keep_bytes=keep_bytes)
        await message.in_body(declared_size_bytes=len(MESSAGE))
        message.hop.closes()
        message.data()
        message.sends(MESSAGE)
        assert message.ends().code == (250 if keep_bytes else 451)
        if keep_bytes:
            assert_spooled_whole(message)
        else:
            assert message.spooled() == []

    run()


@given(
    lost_after=st.integers(0, len(MESSAGE)),
    answered_after=st.integers(0, len(MESSAGE)),
    piece_bytes=st.sampled_from((100, 1460, 4096, 60_000)),
    path=st.sampled_from((Path.RAM, Path.WIRE)),
    keep_bytes=st.booleans(),
)
def test_wherever_the_next_hop_is_lost_a_250_means_a_whole_message(
    lost_after, answered_after, piece_bytes, path, keep_bytes
):
    @in_loop
    async def run():
        message = bench(keep_bytes=keep_bytes, path=path)
        await message.in_body()
        message.data()
        sent = 0
        for place, happens in sorted([(lost_after, "lost"), (answered_after, "answered")]):
            message.sends(MESSAGE[sent:place], piece_bytes)
            sent = place
            if happens == "lost":
                message.hop.closes()
            elif b"DATA\r\n" in message.hop.heard() and place < lost_after:
                message.hop.says(b"354 go on\r\n")
        message.sends(MESSAGE[sent:], piece_bytes)
        assert not message.stopped, "the client would wait for ever"
        answer = message.ends()
        if answer.code == 250:
            assert_spooled_whole(message)
        else:
            assert answer.code == 451 and message.spooled() == [] and not keep_bytes
        assert message.site.buffers.owned_bytes == 0

    run()


class SlowRelay:
    """A next hop whose connection takes everything, and says so late."""

    def __init__(self):
        self.octets = b""
        self.ended = False
        self.on_drained = None

    def begin_data(self, ready):
        ready(START_INPUT)

    def write(self, views, on_drained):
        self.octets += b"".join(views)
        self.on_drained = on_drained
        return False

    def finish(self, views, done):
        self.octets += b"".join(views)
        self.ended = True


def test_a_connection_that_drains_after_the_end_was_sent_gets_nothing_twice():
    relay = SlowRelay()
    kept = Kept(BufferPool(1 << 20), Counters())
    path = WirePath(relay, kept, received=b"", withhold_bytes=1000, on_flow=lambda flows: None)
    for start in range(0, 20_000, 4000):
        path.take(memoryview(MESSAGE[start : start + 4000]))
    path.deliver(lambda finals: None)
    assert relay.ended and relay.octets == MESSAGE[:20_000]
    relay.on_drained()
    assert relay.octets == MESSAGE[:20_000]
