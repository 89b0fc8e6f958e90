"""The relay: recipients asked while the client waits, bodies streamed, an end that leaves no half message behind."""

from __future__ import annotations

import gc

import pytest

from appliance.core import reply
from appliance.core.address import parse_address
from appliance.core.envelope import Body, Envelope, Recipient
from appliance.delivery.cutthrough import Relay
from tests.support.hop_bench import Hop, settle, trouble
from tests.support.queue_bench import in_loop

OK = b"250 ok\r\n"


def envelope(**more):
    return Envelope(sender=parse_address(b"a@b.test"), **more)


def to(name):
    return Recipient(parse_address(f"{name}@d.test".encode()))


def rcpt(name):
    return f"RCPT TO:<{name}@d.test>\r\n".encode()


MAIL = b"MAIL FROM:<a@b.test>\r\n"


class Dialogue:
    """A relay over a played hop, and what it told the transaction."""

    def __init__(self, hop=None, **more):
        self.hop = hop or Hop()
        self.relay = Relay(self.hop.pool, envelope(**more))
        self.answers = []
        self.ready = []
        self.finals = []

    async def asks(self, *names):
        for name in names:
            self.relay.recipient(to(name), self.answers.append)
        await settle()

    async def in_data(self, *names):
        """Up to the 354."""
        await self.asks(*names or ("r",))
        self.hop.says(OK * (1 + len(names or ("r",))))
        self.relay.begin_data(self.ready.append)
        self.hop.says(b"354 go on\r\n")
        self.hop.heard()
        return self


async def warm_hop(**settings):
    """A hop with one connection that has carried a message and is idle."""
    dialogue = await Dialogue(Hop(**settings)).in_data()
    dialogue.relay.finish([b"x\r\n"], dialogue.finals.append)
    dialogue.hop.says(OK)
    dialogue.hop.heard()
    assert dialogue.hop.pool.idle_count == 1
    return dialogue.hop


@in_loop
async def test_mail_and_the_first_recipient_leave_in_one_write():
    dialogue = Dialogue()
    await dialogue.asks("r")
    assert dialogue.hop.heard() == MAIL + rcpt("r") and dialogue.answers == []
    dialogue.hop.says(OK + b"550 5.1.1 nobody\r\n")
    assert [answer.code for answer in dialogue.answers] == [550]
    assert dialogue.relay.accepted == []


@in_loop
async def test_recipients_asked_while_the_connection_opens_are_all_answered_in_order():
    dialogue = Dialogue()
    await dialogue.asks("r", "s", "t")
    assert dialogue.hop.heard() == MAIL + rcpt("r") + rcpt("s") + rcpt("t")
    dialogue.hop.says(OK + OK + b"450 later\r\n" + OK)
    assert [answer.code for answer in dialogue.answers] == [250, 450, 250]
    assert [recipient.address.local for recipient in dialogue.relay.accepted] == ["r", "t"]


@in_loop
async def test_a_refused_mail_is_every_recipients_refusal():
    dialogue = Dialogue()
    await dialogue.asks("r")
    dialogue.hop.says(b"550 5.7.1 not from you\r\n" + b"503 MAIL first\r\n")
    await dialogue.asks("s")
    assert [answer.code for answer in dialogue.answers] == [550, 550]


@in_loop
async def test_a_message_that_the_hop_cannot_take_is_refused_without_asking():
    dialogue = Dialogue(Hop(extensions=("PIPELINING",)), body=Body.BINARY)
    await dialogue.asks("r", "s")
    assert [answer.enhanced for answer in dialogue.answers] == ["5.6.3"] * 2 and dialogue.hop.heard() == b""
    dialogue.relay.abort()
    dialogue.hop.says(OK)
    assert dialogue.hop.pool.idle_count == 1


@in_loop
async def test_a_hop_that_cannot_be_reached_is_down_for_all_recipients():
    dialogue = Dialogue()
    dialogue.hop.failing["192.0.2.1"] = trouble()
    await dialogue.asks("r", "s")
    await dialogue.asks("t")
    assert len(dialogue.answers) == 3 and all(answer.temporary for answer in dialogue.answers)
    assert dialogue.relay.down is not None


@in_loop
async def test_a_pooled_connection_that_was_dead_is_replaced_once_without_anybody_noticing():
    dialogue = Dialogue(await warm_hop())
    await dialogue.asks("r")
    dialogue.hop.closes()
    await settle()
    assert dialogue.answers == [] and len(dialogue.hop.connections) == 2
    assert dialogue.hop.heard() == MAIL + rcpt("r")
    dialogue.hop.says(OK + OK)
    assert [answer.code for answer in dialogue.answers] == [250] and dialogue.hop.pool.busy_count == 1


@in_loop
async def test_a_connection_that_is_lost_twice_is_down():
    dialogue = Dialogue(await warm_hop())
    await dialogue.asks("r")
    dialogue.hop.closes()
    await settle()
    dialogue.hop.closes()
    assert dialogue.answers == [reply.NEXT_HOP_LOST] and dialogue.relay.down is not None
    assert dialogue.hop.pool.busy_count == 0


@in_loop
async def test_a_connection_lost_after_a_recipient_was_taken_is_down_and_said_so_to_the_next():
    dialogue = Dialogue(await warm_hop())
    await dialogue.asks("r")
    dialogue.hop.says(OK + OK)
    dialogue.hop.closes()
    await dialogue.asks("s")
    assert [answer.code for answer in dialogue.answers] == [250, 451] and dialogue.relay.down is not None


@in_loop
async def test_the_body_and_the_dot_leave_together_and_the_connection_comes_back():
    dialogue = await Dialogue().in_data()
    assert [answer.code for answer in dialogue.ready] == [354]
    assert dialogue.relay.write([b"first\r\n"], lambda: None)
    dialogue.relay.finish([b"last\r\n"], dialogue.finals.append)
    assert dialogue.hop.heard() == b"first\r\nlast\r\n.\r\n"
    dialogue.hop.says(b"250 2.0.0 queued\r\n")
    assert [[answer.code for answer in finals] for finals in dialogue.finals] == [[250]]
    assert dialogue.hop.pool.idle_count == 1 and dialogue.relay.ended


@in_loop
async def test_a_refused_final_dot_leaves_the_connection_fit_for_the_next_message():
    dialogue = await Dialogue().in_data()
    dialogue.relay.finish([b"x\r\n"], dialogue.finals.append)
    dialogue.hop.says(b"554 5.6.0 no\r\n")
    assert dialogue.finals[0][0].code == 554 and dialogue.relay.down is None
    assert dialogue.hop.pool.idle_count == 1


@in_loop
async def test_a_connection_lost_before_the_final_reply_is_a_temporary_answer():
    dialogue = await Dialogue().in_data()
    dialogue.relay.finish([b"x\r\n"], dialogue.finals.append)
    dialogue.hop.closes()
    assert dialogue.finals == [[reply.NEXT_HOP_LOST]] and dialogue.relay.down is not None
    assert dialogue.hop.pool.busy_count == 0


@in_loop
async def test_a_connection_lost_in_mid_body_shows_itself_at_the_end():
    dialogue = await Dialogue().in_data()
    dialogue.hop.closes()
    assert dialogue.relay.write([b"x"], lambda: None)
    dialogue.relay.finish([b"x\r\n"], dialogue.finals.append)
    assert dialogue.finals == [[reply.NEXT_HOP_LOST]]
    dialogue.relay.abort()
    assert dialogue.hop.pool.busy_count == 0


@in_loop
async def test_lmtp_answers_each_recipient():
    dialogue = await Dialogue(Hop("lmtp://192.0.2.1:24")).in_data("r", "s")
    assert dialogue.relay.splits
    dialogue.relay.finish([b"x\r\n"], dialogue.finals.append)
    dialogue.hop.says(OK)
    assert dialogue.finals == []
    dialogue.hop.says(b"452 4.2.2 full\r\n")
    assert [[answer.code for answer in finals] for finals in dialogue.finals] == [[250, 452]]


@in_loop
async def test_lmtp_recipients_without_an_answer_when_it_breaks_get_a_temporary_one():
    dialogue = await Dialogue(Hop("lmtp://192.0.2.1:24")).in_data("r", "s", "t")
    dialogue.relay.finish([b"x\r\n"], dialogue.finals.append)
    dialogue.hop.says(OK)
    dialogue.hop.closes()
    assert [[answer.code for answer in finals] for finals in dialogue.finals] == [[250, 451, 451]]


@in_loop
async def test_binary_octets_leave_by_one_bdat():
    dialogue = Dialogue(body=Body.BINARY)
    await dialogue.asks("r")
    dialogue.hop.says(OK + OK)
    dialogue.hop.heard()
    dialogue.relay.finish_chunk([b"\0\n.", b"\r"], 4, dialogue.finals.append)
    assert dialogue.hop.heard() == b"BDAT 4 LAST\r\n\0\n.\r"
    dialogue.hop.says(OK)
    assert dialogue.finals[0][0].code == 250


@in_loop
async def test_an_end_before_data_resets_the_transaction_and_keeps_the_connection():
    dialogue = Dialogue()
    await dialogue.asks("r")
    dialogue.hop.says(OK + OK)
    dialogue.hop.heard()
    dialogue.relay.abort()
    dialogue.relay.abort()
    assert dialogue.hop.heard() == b"RSET\r\n"
    dialogue.hop.says(OK)
    assert dialogue.hop.pool.idle_count == 1


@in_loop
async def test_an_end_within_the_body_cuts_the_connection_so_that_the_message_is_discarded():
    dialogue = await Dialogue().in_data()
    dialogue.relay.write([b"x\r\n"], lambda: None)
    dialogue.relay.abort()
    heard = dialogue.hop.transports[dialogue.hop.connections[0]]
    assert heard.aborted and b"\r\n.\r\n" not in heard.take() and dialogue.hop.pool.busy_count == 0


@in_loop
async def test_an_end_while_a_connection_is_awaited_gives_it_back_unused():
    dialogue = Dialogue()
    dialogue.relay.recipient(to("r"), dialogue.answers.append)
    dialogue.relay.abort()
    await settle()
    assert dialogue.hop.heard() == b"" and dialogue.hop.pool.idle_count == 1 and dialogue.answers == []


@pytest.mark.parametrize("said", [b"450 4.3.0 later\r\n", b"554 5.5.1 no valid recipients\r\n"])
def test_refused_data_is_told_and_leaves_the_connection_fit(said):
    @in_loop
    async def run():
        dialogue = Dialogue()
        await dialogue.asks("r")
        dialogue.hop.says(OK + OK)
        dialogue.relay.begin_data(dialogue.ready.append)
        dialogue.hop.says(said)
        assert dialogue.ready[0].code == int(said[:3])
        dialogue.relay.abort()
        dialogue.hop.says(OK)
        assert dialogue.hop.pool.idle_count == 1

    run()


@pytest.mark.parametrize("said", [b"334 what\r\n", b"250 fine\r\n"])
def test_an_answer_to_data_that_means_nothing_costs_the_connection(said):
    @in_loop
    async def run():
        dialogue = Dialogue()
        await dialogue.asks("r")
        dialogue.hop.says(OK + OK)
        dialogue.relay.begin_data(dialogue.ready.append)
        dialogue.hop.says(said)
        assert len(dialogue.ready) == 1 and dialogue.ready[0].code != 354
        dialogue.relay.abort()
        assert dialogue.hop.pool.idle_count == 0 and dialogue.hop.pool.busy_count == 0

    run()


async def suspended(**more):
    dialogue = Dialogue(**more)
    await dialogue.asks("r")
    dialogue.hop.says(OK + OK)
    dialogue.hop.heard()
    assert dialogue.relay.suspend()
    assert dialogue.hop.heard() == b"RSET\r\n"
    dialogue.hop.says(OK)
    assert dialogue.hop.pool.idle_count == 1
    return dialogue


@in_loop
async def test_a_dawdling_client_gives_the_connection_back_and_gets_another_for_its_body():
    dialogue = await suspended()
    dialogue.relay.begin_data(dialogue.ready.append)
    assert dialogue.hop.heard() == MAIL + rcpt("r")
    dialogue.hop.says(OK + OK)
    assert dialogue.hop.heard() == b"DATA\r\n"
    dialogue.hop.says(b"354 go on\r\n")
    assert [answer.code for answer in dialogue.ready] == [354]


@in_loop
async def test_a_recipient_after_the_pause_keeps_those_from_before_and_no_connection_is_lost():
    dialogue = await suspended()
    await dialogue.asks("s")
    dialogue.hop.says(OK + OK)
    assert [answer.code for answer in dialogue.answers] == [250, 250]
    dialogue.hop.heard()
    dialogue.relay.begin_data(dialogue.ready.append)
    await settle()
    assert dialogue.hop.heard() == MAIL + rcpt("r") + rcpt("s")
    dialogue.hop.says(OK * 3)
    dialogue.hop.says(b"354 go on\r\n")
    dialogue.relay.finish([b"x\r\n"], dialogue.finals.append)
    dialogue.hop.says(OK)
    dialogue.hop.says(OK, 0)  # to the RSET
    assert dialogue.finals[0][0].code == 250
    assert dialogue.hop.pool.busy_count == 0 and dialogue.hop.pool.idle_count == len(dialogue.hop.connections)


@in_loop
async def test_a_recipient_that_is_refused_after_the_pause_makes_the_whole_temporary():
    dialogue = await suspended()
    dialogue.relay.begin_data(dialogue.ready.append)
    dialogue.hop.says(OK + b"550 5.1.1 gone\r\n")
    assert len(dialogue.ready) == 1 and dialogue.ready[0].temporary


@in_loop
async def test_binary_octets_find_a_connection_after_the_pause():
    dialogue = await suspended(body=Body.BINARY)
    dialogue.relay.finish_chunk([b"\0"], 1, dialogue.finals.append)
    dialogue.hop.heard()
    dialogue.hop.says(OK + OK)
    assert dialogue.hop.heard() == b"BDAT 1 LAST\r\n\0"
    dialogue.hop.says(OK)
    assert dialogue.finals[0][0].code == 250


@in_loop
async def test_a_connection_in_use_is_not_given_back():
    dialogue = await Dialogue().in_data()
    assert not dialogue.relay.suspend()
    other = Dialogue()
    await other.asks("r")
    assert not other.relay.suspend()


@in_loop
async def test_a_relay_that_is_over_does_not_keep_alive_whom_it_told():
    dialogue = await Dialogue().in_data()
    told = dialogue.finals.append
    dialogue.relay.finish([b"x\r\n"], told)
    assert dialogue.relay in gc.get_referrers(told)
    dialogue.hop.says(OK)
    assert dialogue.finals and dialogue.relay not in gc.get_referrers(told)
