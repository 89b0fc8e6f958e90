"""The queue's runner: what goes together, what is tried when, who is told, and that nothing falls between."""

from __future__ import annotations

import asyncio
from email import message_from_bytes

from appliance.config.schema import Duration
from appliance.core.envelope import Notify
from appliance.core.errors import DnsTrouble, GatewayError, NextHopDown, NullMx
from appliance.core.reply import NEXT_HOP_LOST, OK, Reply
from appliance.delivery.remote import LeftAlone
from appliance.delivery.report import Attempt
from appliance.spool.meta import Entry, Phase
from tests.support.queue_bench import RETRY_S, Bench, config, in_loop

REFUSED = Reply(550, "5.1.1", "No such user")
BUSY = Reply(450, "4.2.1", "Mailbox busy")
START_S = 1_000_000.0


async def running(bench: Bench) -> Bench:
    bench.runner.start()
    await bench.settle()
    return bench


def to_whom(bench: Bench) -> list[str]:
    return [envelope.recipients[0].address.raw for envelope, _ in bench.reports]


def subjects(bench: Bench) -> list[str]:
    return [str(message_from_bytes(octets)["Subject"]) for _, octets in bench.reports]


# -- grouping


@in_loop
async def test_recipients_of_one_domain_share_a_transaction() -> None:
    bench = await running(Bench())
    entry = bench.add("a@x.example", "b@y.example", "c@x.example")
    await bench.settle()
    assert sorted(names for _, names in bench.sent) == [["a@x.example", "c@x.example"], ["b@y.example"]]
    assert bench.spool.removed == [entry.id]
    assert not bench.reports


@in_loop
async def test_a_protected_domain_goes_to_its_hop_and_the_rest_by_mx() -> None:
    bench = await running(Bench())
    bench.add("a@example.test", "b@else.example")
    await bench.settle()
    assert bench.hops.opened == ["hop:inside"]
    assert bench.remote.opened == ["mx:else.example"]


@in_loop
async def test_many_recipients_are_spread_over_transactions_that_every_server_takes() -> None:
    bench = await running(Bench())
    bench.add(*(f"u{number}@x.example" for number in range(250)))
    await bench.settle()
    assert sorted(len(names) for _, names in bench.sent) == [50, 100, 100]
    assert len({name for _, names in bench.sent for name in names}) == 250


@in_loop
async def test_one_connection_serves_many_messages_to_an_mx_host() -> None:
    bench = Bench(config(destinations=1))
    for _ in range(10):
        bench.add("a@x.example")
    await running(bench)
    assert len(bench.sent) == 10
    assert len(bench.remote.opened) < 10


@in_loop
async def test_mail_that_requires_tls_has_its_own_connections() -> None:
    bench = Bench()
    bench.add("a@x.example")
    bench.add("a@x.example", requiretls=True)
    await running(bench)
    assert sorted(bench.remote.requiretls) == [False, True]


# -- outcomes


@in_loop
async def test_a_refusal_is_reported_to_the_sender_and_the_entry_goes() -> None:
    bench = await running(Bench())
    bench.answers["a@x.example"] = REFUSED
    entry = bench.add("a@x.example")
    await bench.settle()
    (envelope, octets), *others = bench.reports
    assert not others
    assert envelope.sender.is_null
    assert to_whom(bench) == ["sender@else.example"]
    assert b"Remote-MTA: dns; mx.x.example\r\n" in octets
    assert b"Status: 5.1.1\r\n" in octets
    assert b"\r\n\r\n.dots\r\n" in octets, "the original comes back as it was, not as it was stored"
    assert bench.spool.removed == [entry.id]


@in_loop
async def test_an_entry_stays_until_its_report_is_spooled() -> None:
    bench = await running(Bench())
    bench.answers["a@x.example"] = REFUSED
    bench.full = True
    entry = bench.add("a@x.example")
    await bench.at(START_S + 100)
    assert bench.spool.removed == []
    bench.full = False
    await bench.at(START_S + 200)
    assert to_whom(bench) == ["sender@else.example"]
    assert bench.spool.removed == [entry.id]
    assert len(bench.sent) == 1, "a refused recipient is not tried again"


@in_loop
async def test_a_report_cut_off_by_a_crash_is_made_after_the_start() -> None:
    bench = Bench()
    entry = bench.entry("a@x.example")
    entry.recipients[0].phase = Phase.FAILED
    entry.recipients[0].reply = "550 5.1.1 No such user"
    bench.store.adopt([entry])
    await running(bench)
    assert b"Status: 5.1.1\r\n" in bench.reports[0][1]
    assert bench.spool.removed == [entry.id]
    assert not bench.sent


@in_loop
async def test_only_the_deferred_recipient_is_tried_again() -> None:
    bench = await running(Bench())
    bench.answers["b@x.example"] = BUSY
    entry = bench.add("a@x.example", "b@x.example")
    await bench.at(START_S + RETRY_S[0] - 1)
    assert len(bench.sent) == 1
    bench.answers.clear()
    await bench.at(START_S + RETRY_S[0])
    assert [names for _, names in bench.sent] == [["a@x.example", "b@x.example"], ["b@x.example"]]
    assert bench.spool.removed == [entry.id]
    assert not bench.reports
    assert [row.outcome for row in bench.rows] == ["delivered", "deferred", "delivered"]


@in_loop
async def test_at_the_end_of_its_life_a_message_is_reported_with_the_last_reply() -> None:
    bench = await running(Bench())
    bench.answers["a@x.example"] = BUSY
    bench.add("a@x.example")
    await bench.at(START_S + 900)
    assert not bench.reports
    await bench.at(START_S + 1500)
    assert b"Status: 4.4.7\r\n" in bench.reports[0][1]
    assert b"450 4.2.1 Mailbox busy" in bench.reports[0][1]
    assert len(bench.store) == 0
    assert bench.rows[-1].outcome == "expired"


@in_loop
async def test_dns_trouble_is_never_a_bounce_before_the_life_time_ends() -> None:
    bench = await running(Bench())
    bench.remote.down["mx:x.example"] = DnsTrouble("no answer")
    bench.add("a@x.example")
    await bench.at(START_S + 990)
    assert not bench.reports
    assert len(bench.store) == 1
    bench.remote.down.clear()
    await bench.at(START_S + 1900)
    assert len(bench.sent) + len(bench.reports) == 1


@in_loop
async def test_a_domain_that_takes_no_mail_fails_at_once() -> None:
    bench = await running(Bench())
    bench.remote.down["mx:x.example"] = NullMx("null MX")
    bench.add("a@x.example", "b@x.example")
    await bench.settle()
    assert bench.reports[0][1].count(b"Status: 5.1.10\r\n") == 2
    assert b"Remote-MTA" not in bench.reports[0][1]
    assert len(bench.store) == 0


@in_loop
async def test_a_next_hop_that_greets_with_a_refusal_bounces_nothing() -> None:
    refusal = NextHopDown("greeting")
    refusal.reply = Reply(554, "5.3.2", "No service")
    bench = await running(Bench())
    bench.hops.down["hop:inside"] = refusal
    bench.add("a@example.test")
    await bench.settle()
    assert not bench.reports
    assert bench.rows[0].outcome == "deferred"
    assert "554 5.3.2 No service" in bench.rows[0].reply


@in_loop
async def test_mail_to_this_hosts_own_name_is_refused_without_any_connection() -> None:
    bench = await running(Bench())
    bench.add("a@gate.example.test")
    await bench.settle()
    assert b"Status: 5.4.4\r\n" in bench.reports[0][1]
    assert not bench.remote.opened


@in_loop
async def test_a_delay_is_told_once() -> None:
    bench = await running(Bench(config(warn_after=Duration(200), lifetime=Duration(5000))))
    bench.answers["a@x.example"] = BUSY
    bench.add("a@x.example")
    await bench.at(START_S + 199)
    assert not bench.reports
    await bench.at(START_S + 4000)
    assert len(bench.reports) == 1
    assert b"Action: delayed\r\n" in bench.reports[0][1]
    assert len(bench.store) == 1


def tried(bench: Bench, entry: Entry, answer: Reply) -> None:
    """An attempt that had `answer`; its report, if there is to be one, waits for its turn."""
    bench.store.retry_now(entry.id)
    ((due, indices),) = bench.store.due(bench.now_s)
    assert due is entry
    bench.clerk.settle(entry, [(index, answer) for index in indices], Attempt(bench.now_s))


async def reports_made(bench: Bench) -> list[bytes]:
    while bench.clerk.busy:
        await asyncio.sleep(0)
    return [octets for _, octets in bench.reports]


@in_loop
async def test_a_delay_that_is_over_before_its_report_is_made_is_not_told() -> None:
    bench = Bench(config(warn_after=Duration(200), lifetime=Duration(5000)))
    entry = bench.add("a@x.example")
    bench.now_s += 300
    tried(bench, entry, BUSY)
    tried(bench, entry, OK)
    assert bench.spool.removed == [entry.id]
    assert await reports_made(bench) == []


@in_loop
async def test_a_recipient_that_is_tried_twice_before_its_delay_is_told_is_told_of_once() -> None:
    bench = Bench(config(warn_after=Duration(200), lifetime=Duration(5000)))
    entry = bench.add("a@x.example")
    bench.now_s += 300
    tried(bench, entry, BUSY)
    tried(bench, entry, BUSY)
    (report,) = await reports_made(bench)
    assert b"Action: delayed\r\n" in report and b"Subject: hello\r\n" in report


@in_loop
async def test_nobody_is_told_of_an_entry_that_was_deleted_before_its_report_was_made() -> None:
    bench = Bench()
    entry = bench.add("a@x.example")
    tried(bench, entry, REFUSED)
    bench.store.delete(entry.id)
    assert await reports_made(bench) == []


@in_loop
async def test_who_asked_not_to_be_told_is_not_told() -> None:
    bench = await running(Bench())
    bench.answers["a@x.example"] = REFUSED
    entry = bench.add("a@x.example", notify=Notify.NEVER)
    await bench.settle()
    assert not bench.reports
    assert bench.spool.removed == [entry.id]


@in_loop
async def test_success_is_reported_when_asked_for_and_the_server_does_not() -> None:
    bench = await running(Bench())
    bench.add("a@x.example", notify=Notify.SUCCESS)
    await bench.settle()
    assert b"Action: relayed\r\n" in bench.reports[0][1]
    bench.remote.extensions = {"DSN": ""}
    bench.add("a@y.example", notify=Notify.SUCCESS)
    await bench.settle()
    assert len(bench.reports) == 1
    assert len(bench.store) == 0


@in_loop
async def test_what_an_lmtp_server_accepts_is_delivered() -> None:
    bench = await running(Bench())
    bench.hops.scheme = "lmtp"
    bench.add("a@example.test", notify=Notify.SUCCESS)
    await bench.settle()
    assert b"Action: delivered\r\n" in bench.reports[0][1]


@in_loop
async def test_a_bounce_that_cannot_be_delivered_is_dropped() -> None:
    bench = await running(Bench())
    bench.answers["a@x.example"] = REFUSED
    entry = bench.add("a@x.example", sender="")
    await bench.settle()
    assert not bench.reports
    assert bench.spool.removed == [entry.id]


@in_loop
async def test_a_bounce_that_cannot_be_delivered_goes_to_the_postmaster_and_no_further() -> None:
    bench = await running(Bench(config(double_bounce="postmaster@example.test")))
    bench.answers = {"a@x.example": REFUSED, "postmaster@example.test": REFUSED}
    bench.add("a@x.example", sender="")
    await bench.settle()
    assert to_whom(bench) == ["postmaster@example.test"]
    bench.add("postmaster@example.test", sender="")
    await bench.settle()
    assert len(bench.reports) == 1


@in_loop
async def test_a_held_entry_waits_for_its_release() -> None:
    bench = await running(Bench())
    entry = bench.entry("a@x.example")
    entry.meta.held = True
    bench.store.add(entry)
    await bench.at(START_S + 500)
    assert not bench.sent
    bench.store.release(entry.id)
    await bench.settle()
    assert len(bench.sent) == 1


# -- trouble


@in_loop
async def test_a_dead_destination_is_tried_once_for_all_its_messages() -> None:
    bench = Bench()
    bench.hops.down["hop:inside"] = NextHopDown("connection refused")
    for _ in range(50):
        bench.add("a@example.test")
    await running(bench)
    assert len(bench.hops.opened) == 1
    assert [row.outcome for row in bench.rows] == ["deferred"], "what nobody tried is no attempt"
    assert bench.spool.updated == ["0000000000000001"], "and writes nothing"
    assert {str(recipient["reply"]) for item in bench.store.listing() for recipient in item["recipients"]} == {
        "451 4.4.1 Next hop not reachable, try again later"
    }


@in_loop
async def test_what_waits_for_a_dead_destination_is_an_attempt_when_that_is_tried_again() -> None:
    bench = Bench()
    bench.hops.down["hop:inside"] = NextHopDown("connection refused")
    bench.add("a@example.test")
    waiting = bench.add("b@example.test")
    await running(bench)
    await bench.at(START_S + 14)
    assert waiting.recipients[0].attempts == 0
    await bench.at(START_S + 15)
    assert waiting.recipients[0].attempts == 1
    assert [row.recipient for row in bench.rows].count("b@example.test") == 1


@in_loop
async def test_a_dead_destination_is_probed_ever_more_rarely() -> None:
    bench = await running(Bench())
    bench.hops.down["hop:inside"] = NextHopDown("connection refused")
    bench.add("a@example.test")
    probes_s: list[float] = []
    for second in range(200):
        before = len(bench.hops.opened)
        await bench.at(START_S + second)
        probes_s += [float(second)] * (len(bench.hops.opened) - before)
    assert probes_s == [0.0, 15.0, 45.0, 105.0, 165.0]


@in_loop
async def test_an_operators_retry_while_a_destination_is_left_alone_is_no_attempt() -> None:
    bench = await running(Bench())
    bench.hops.down["hop:inside"] = NextHopDown("connection refused")
    entry = bench.add("a@example.test")
    await bench.settle()
    (state,) = entry.recipients
    due_s = state.due_s
    for second in range(1, 10):
        bench.now_s = START_S + second
        bench.store.retry_now(entry.id)
        await bench.settle()
    assert len(bench.hops.opened) == len(bench.rows) == state.attempts == 1
    assert state.due_s == due_s
    bench.hops.down.clear()
    await bench.at(START_S + 15)  # the block is over: what was asked for happens now
    assert len(bench.store) == 0 and bench.rows[-1].outcome == "delivered"


@in_loop
async def test_an_operators_retry_that_is_made_is_an_attempt() -> None:
    bench = await running(Bench())
    bench.hops.down["hop:inside"] = NextHopDown("connection refused")
    entry = bench.add("a@example.test")
    await bench.settle()
    bench.now_s = START_S + 16
    bench.store.retry_now(entry.id)
    await bench.settle()
    assert len(bench.hops.opened) == entry.recipients[0].attempts == 2


@in_loop
async def test_a_retry_that_meets_open_breakers_is_no_attempt_and_what_was_due_anyway_is_one() -> None:
    bench = await running(Bench())
    bench.answers["a@example.test"] = Reply(450, "4.2.0", "later")
    entry = bench.add("a@example.test")
    await bench.settle()
    bench.hops.down["hop:inside"] = LeftAlone("breakers open")
    bench.store.retry_now(entry.id)
    await bench.settle()
    assert entry.recipients[0].attempts == 1
    assert len(bench.hops.opened) == 2
    await bench.at(START_S + 15)  # the end of the block, which is time for all that waited
    assert entry.recipients[0].attempts == 2


@in_loop
async def test_when_a_destination_is_back_all_that_waited_goes_at_once() -> None:
    bench = Bench()
    bench.hops.down["hop:inside"] = NextHopDown("connection refused")
    for _ in range(300):
        bench.add("a@example.test")
    await running(bench)
    bench.hops.down.clear()
    await bench.at(START_S + 15)
    assert len(bench.store) == 0
    assert len(bench.sent) == 300


@in_loop
async def test_one_dead_destination_does_not_hold_up_another() -> None:
    bench = Bench(config(deliveries=2))
    bench.remote.down["mx:dead.example"] = NextHopDown("connection refused")
    for _ in range(300):
        bench.add("a@dead.example")
    bench.add("a@alive.example")
    await running(bench)
    assert [names for _, names in bench.sent] == [["a@alive.example"]]


@in_loop
async def test_a_slow_destination_does_not_hold_up_another() -> None:
    bench = Bench(config(destinations=2))
    bench.gate = asyncio.Event()
    for _ in range(1000):
        bench.add("a@slow.example")
    bench.add("a@other.example")
    await running(bench)
    assert ["a@other.example"] in [names for _, names in bench.sent]
    bench.gate.set()
    await bench.settle()
    assert len(bench.sent) == 1001
    assert len(bench.store) == 0


@in_loop
async def test_no_more_deliveries_at_a_time_than_configured() -> None:
    bench = Bench(config(destinations=4, deliveries=10))
    for number in range(200):
        bench.add(f"a@d{number % 5}.example")
    await running(bench)
    assert len(bench.store) == 0
    assert bench.under_way_seen <= 10
    one = Bench(config(destinations=4))
    for _ in range(200):
        one.add("a@x.example")
    await running(one)
    assert 1 < one.under_way_seen <= 4


@in_loop
async def test_half_of_a_hops_connections_stay_for_mail_that_streams_through() -> None:
    bench = Bench(config(destinations=20))
    for _ in range(200):
        bench.add("a@example.test")
    await running(bench)
    assert len(bench.store) == 0
    assert bench.hops.at_once_seen == 10


@in_loop
async def test_a_server_that_bears_few_connections_is_not_taken_for_dead() -> None:
    bench = Bench()
    bench.remote.at_once_max = 2
    for _ in range(100):
        bench.add("a@x.example")
    await running(bench)
    assert len(bench.store) == 0
    assert {row.outcome for row in bench.rows} == {"delivered"}


@in_loop
async def test_a_connection_lost_in_mid_transaction_defers_and_the_next_message_gets_a_new_one() -> None:
    bench = Bench(config(destinations=1))
    bench.answers["lost@x.example"] = NEXT_HOP_LOST
    first = bench.add("lost@x.example")
    bench.add("a@x.example")
    real_send = bench.send

    async def send(connection, meta, recipients, message):  # type: ignore[no-untyped-def]
        replies = await real_send(connection, meta, recipients, message)
        if meta.id == first.id:
            connection.trouble = NEXT_HOP_LOST
        return replies

    bench.runner._lanes._send = send
    await running(bench)
    assert sorted((row.recipient, row.outcome) for row in bench.rows) == [
        ("a@x.example", "delivered"),
        ("lost@x.example", "deferred"),
    ]
    assert len(bench.remote.opened) == 2
    assert bench.remote.at_once == 0


@in_loop
async def test_a_failure_of_the_spool_while_sending_defers() -> None:
    bench = await running(Bench())
    bench.answers["a@x.example"] = GatewayError("disk")
    bench.add("a@x.example")
    await bench.settle()
    assert [row.outcome for row in bench.rows] == ["deferred"]


@in_loop
async def test_a_defect_met_with_one_message_defers_it_and_spares_the_others() -> None:
    bench = Bench()
    bench.answers["odd@x.example"] = ZeroDivisionError("a defect")
    bench.add("odd@x.example")
    bench.add("a@x.example")
    bench.remote.down["mx:worse.example"] = ZeroDivisionError("another defect")
    bench.add("a@worse.example")
    await running(bench)
    assert sorted((row.recipient, row.outcome) for row in bench.rows) == [
        ("a@worse.example", "deferred"),
        ("a@x.example", "delivered"),
        ("odd@x.example", "deferred"),
    ]
    bench.answers.clear()
    bench.remote.down.clear()
    await bench.at(START_S + 100)
    assert len(bench.store) == 0


@in_loop
async def test_an_entry_deleted_by_hand_is_not_sent() -> None:
    bench = Bench(config(destinations=1))
    bench.gate = asyncio.Event()
    bench.add("a@x.example")
    second = bench.add("a@x.example")
    await running(bench)
    bench.store.delete(second.id)
    bench.gate.set()
    await bench.settle()
    assert [entry_id for entry_id, _ in bench.sent] == ["0000000000000001"]
    assert len(bench.store) == 0


# -- life


@in_loop
async def test_an_idle_runner_waits_long_and_is_woken_by_new_mail() -> None:
    bench = await running(Bench())
    assert bench.waits_for_s == 300.0
    bench.add("a@x.example")
    await bench.settle()
    assert len(bench.sent) == 1


@in_loop
async def test_closing_lets_a_transaction_end_and_gives_the_rest_back() -> None:
    bench = Bench(config(destinations=1))
    bench.gate = asyncio.Event()
    first, second = bench.add("a@x.example"), bench.add("a@x.example")
    await running(bench)
    closing = asyncio.create_task(bench.runner.close(3600.0))
    await asyncio.sleep(0)
    bench.gate.set()
    await closing
    assert bench.spool.removed == [first.id]
    assert [entry.id for entry, _ in bench.store.due(bench.now_s)] == [second.id]


@in_loop
async def test_closing_cuts_off_what_does_not_end_and_keeps_its_recipients() -> None:
    bench = Bench()
    bench.gate = asyncio.Event()
    entry = bench.add("a@x.example", "b@x.example")
    await running(bench)
    await bench.runner.close(0.0)
    assert [(found.id, indices) for found, indices in bench.store.due(bench.now_s)] == [(entry.id, [0, 1])]
    assert bench.remote.at_once == 0


@in_loop
async def test_a_clock_set_back_does_not_keep_a_destination_blocked() -> None:
    bench = await running(Bench())
    bench.remote.down["mx:x.example"] = NextHopDown("connection refused")
    bench.add("a@x.example")
    await bench.settle()
    bench.remote.down.clear()
    bench.now_s -= 365 * 86400
    bench.wake()
    await bench.at(bench.now_s + 3600)
    assert len(bench.sent) == 1


@in_loop
async def test_what_a_closed_runner_had_put_aside_is_due_for_the_next_one() -> None:
    bench = await running(Bench())
    bench.gate = asyncio.Event()
    for _ in range(200):
        bench.add("a@example.test")
    await bench.settle()
    assert len(bench.store.due(bench.now_s, 1_000)) == 0, "nothing was put aside"
    await bench.runner.close(0.0)
    assert len(bench.store.due(bench.now_s, 1_000)) == 200
