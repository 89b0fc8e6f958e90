"""What waits: next hops that are down or say "later", delivery reports, holds, and the operator's commands."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from tests.support.client import Answer, Client
from tests.support.conditions import free_port, until
from tests.support.gateway import Gateway
from tests.support.messages import GTUBE, KIB, MIB, body_of
from tests.support.sink import Sink, Taken, say, times

BODY = b"From: <a@example.test>\r\nSubject: queued\r\n\r\n.text\r\n"


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A next hop that is down until the test starts it."""
    sink = Sink(port=free_port())
    yield sink
    sink.reading.set()
    sink.stop()


def send(gateway: Gateway, body: bytes = BODY, *, sender: str = "a@example.test", to: str = "b@example.test") -> str:
    """Sends one message that must be accepted; its id."""
    with Client(gateway.port) as client:
        client.hello()
        answer = client.message(sender, to, body)
        assert answer.code == 250, answer
        return answer.id


def emptied(gateway: Gateway) -> None:
    until(lambda: gateway.metric("mailweir_queue_messages") == 0, "an empty queue")


def field(report: Taken, name: str) -> str:
    found = re.search(rf"^{name}: *(.*?)\r$", report.content.decode(), re.MULTILINE | re.IGNORECASE)
    assert found, f"{name} is not in {report.content!r}"
    return found[1]


def test_what_was_accepted_while_the_next_hop_was_down_arrives_byte_identical(sink: Sink) -> None:
    bodies = [body_of(size_bytes, size_bytes) for size_bytes in (300, 70 * KIB, 3 * MIB)]
    with Gateway([sink.url]) as gateway:
        ids = [send(gateway, body) for body in bodies]
        assert sorted(entry["id"] for entry in gateway.queue()) == sorted(ids)
        sink.start()
        sink.wait_for(3)
        emptied(gateway)
        assert sorted(taken.body for taken in sink.taken) == sorted(bodies)
        assert [sink_line.mail for sink_line in sink.taken] == ["MAIL FROM:<a@example.test>"] * 3


def test_what_was_accepted_survives_a_kill_of_everything(sink: Sink) -> None:
    with Gateway([sink.url]) as gateway:
        bodies = [body_of(4 * KIB, seed) for seed in range(20)]
        for body in bodies:
            send(gateway, body)
        gateway.kill()
        sink.start()
        gateway.start()
        sink.wait_for(20)
        emptied(gateway)
        assert sorted(taken.body for taken in sink.taken) == sorted(bodies)


def test_what_waits_survives_a_restart(sink: Sink) -> None:
    with Gateway([sink.url]) as gateway:
        send(gateway)
        gateway.stop()
        gateway.start()
        assert len(gateway.queue()) == 1
        sink.start()
        assert sink.wait_for(1)[0].body == BODY


@pytest.mark.parametrize("stage", ["DATA", "BODY"])
def test_a_4xx_of_the_next_hop_is_a_debt_of_the_queue(stage: str, sink: Sink) -> None:
    sink.script[stage] = times(2, say("451 4.3.0 not now"), say("354 go on" if stage == "DATA" else "250 ok"))
    sink.start()
    with Gateway([sink.url]) as gateway:
        send(gateway)
        assert sink.wait_for(1)[0].body == BODY
        emptied(gateway)


def test_without_spooling_a_next_hop_that_is_down_is_the_clients_451(sink: Sink) -> None:
    with Gateway([sink.url], {"delivery": {"spool_when_down": False}}) as gateway, Client(gateway.port) as client:
        client.hello()
        assert client.envelope("a@s.test", "b@example.test")[1].code == 451
        assert not gateway.queue()


def test_with_every_body_spooled_the_next_hop_still_says_which_recipients_it_has(sink: Sink) -> None:
    sink.start()
    sink.script["RCPT"] = lambda recipient: "550 5.1.1 Who?" if "nobody" in recipient else "250 2.1.5 Ok"
    with Gateway([sink.url], {"delivery": {"path": "spool"}}) as gateway, Client(gateway.port) as client:
        client.hello()
        answers = client.envelope("a@s.test", ["nobody@example.test", "b@example.test"])
        assert [answer.code for answer in answers] == [250, 550, 250] and "Who?" in answers[1].text
        assert client.say("DATA").code == 354
        assert not sink.commands["DATA"]
        client.send(BODY + b".\r\n")
        answer = client.answer()
        assert answer.code == 250
        (taken,) = sink.wait_for(1)
        assert len(taken.recipients) == 1 and "b@example.test" in taken.recipients[0]
        assert gateway.wait_for_event("message", id=answer.id)["path"] == "spool"
        emptied(gateway)
        assert not gateway.events("report")
        sink.stop()  # whom to ask? The mail is taken for the queue
        assert client.message("a@s.test", "nobody@example.test", BODY).code == 250


def test_a_refused_recipient_gives_a_failure_report_to_the_sender(sink: Sink) -> None:
    with Gateway([sink.url]) as gateway:
        send(gateway, to="gone@example.test")
        sink.script["RCPT"] = lambda line: "550 5.1.1 no such user" if "gone@" in line else "250 ok"
        sink.start()
        report = sink.wait_for(1)[0]
        emptied(gateway)
    assert report.mail.startswith("MAIL FROM:<>") and report.recipients[0].startswith("RCPT TO:<a@example.test>")
    assert field(report, "Action") == "failed" and field(report, "Status") == "5.1.1"
    assert field(report, "Final-Recipient") == "rfc822;gone@example.test"
    assert "no such user" in field(report, "Diagnostic-Code")
    assert b"multipart/report" in report.content and b"Subject: queued" in report.content


def test_a_bounce_that_bounces_ends(sink: Sink) -> None:
    with Gateway([sink.url]) as gateway:
        send(gateway, sender="")
        sink.script["RCPT"] = say("550 5.1.1 no such user")
        sink.start()
        emptied(gateway)
    assert not sink.taken


def test_a_delay_is_reported_once_and_the_end_of_life_as_failure(sink: Sink) -> None:
    queue = {"retry": ["300ms"], "warn_after": "500ms", "lifetime": "2s"}
    with Sink() as reports:
        more = {
            "queue": queue,
            "domain": [{"name": "example.test", "next_hop": "hop"}, {"name": "senders.test", "next_hop": "reports"}],
            "next_hop": [
                {"name": "hop", "servers": [{"url": sink.url}], "tls": "none", "breaker_reset": "200ms"},
                {"name": "reports", "servers": [{"url": reports.url}], "tls": "none"},
            ],
        }
        with Gateway([], more) as gateway:
            send(gateway, sender="a@senders.test")
            reports.wait_for(2)
            emptied(gateway)
        assert [field(report, "Action") for report in reports.taken] == ["delayed", "failed"]
        assert field(reports.taken[1], "Status").startswith("4.4")


def test_success_is_reported_where_it_was_asked_for_and_the_next_hop_cannot(sink: Sink) -> None:
    sink.extensions = ["PIPELINING"]
    with Gateway([sink.url]) as gateway:
        with Client(gateway.port) as client:
            client.hello()
            client.say("MAIL FROM:<a@example.test> RET=HDRS ENVID=four2")
            client.say("RCPT TO:<b@example.test> NOTIFY=SUCCESS ORCPT=rfc822;b@old.test")
            client.say("DATA")
            client.send(BODY.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            assert client.answer().code == 250
        sink.start()
        _, report = sink.wait_for(2)
        emptied(gateway)
    assert field(report, "Action") == "relayed"
    assert field(report, "Original-Recipient") == "rfc822;b@old.test"
    assert field(report, "Original-Envelope-Id") == "four2"


def test_a_success_that_the_next_hop_cannot_report_is_reported_for_it() -> None:
    sink = Sink(port=free_port(), extensions=["PIPELINING"])
    sink.start()
    try:
        with Gateway([sink.url]) as gateway:
            with Client(gateway.port) as client:
                client.hello()
                client.say("MAIL FROM:<a@example.test> ENVID=up1")
                client.say("RCPT TO:<b@example.test> NOTIFY=SUCCESS")
                client.say("DATA")
                client.send(b"Subject: x\r\n\r\n.\r\n")
                assert client.answer().code == 250
            message, report = sink.wait_for(2)
            emptied(gateway)
        assert message.recipients == ["RCPT TO:<b@example.test>"]
        assert field(report, "Action") == "relayed"
        assert field(report, "Original-Envelope-Id") == "up1"
    finally:
        sink.stop()


def test_dsn_parameters_go_on_to_a_next_hop_that_knows_them(sink: Sink) -> None:
    sink.start()
    with Gateway([sink.url]) as gateway, Client(gateway.port) as client:
        client.hello()
        client.say("MAIL FROM:<a@example.test> RET=FULL ENVID=x+2By")
        client.say("RCPT TO:<b@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@old.test")
        client.say("DATA")
        client.send(b"Subject: x\r\n\r\n.\r\n")
        assert client.answer().code == 250
    assert sink.taken[0].mail == "MAIL FROM:<a@example.test> RET=FULL ENVID=x+2By"
    assert sink.taken[0].recipients == ["RCPT TO:<b@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@old.test"]


@pytest.mark.parametrize("size_bytes", [2 * KIB, 300 * KIB])
def test_a_message_that_policy_holds_waits_for_its_release(size_bytes: int, sink: Sink) -> None:
    sink.start()
    policy = [{"name": "default", "rule": [{"action": "hold", "match": "GTUBE", "name": "look at it"}]}]
    body = body_of(size_bytes, 5) + GTUBE + b"\r\n"
    with Gateway([sink.url], {"policy": policy}) as gateway:
        entry_id = send(gateway, body)
        (entry,) = gateway.queue()
        assert (entry["id"], entry["state"], entry["hold_reason"]) == (entry_id, "held", "look at it")
        gateway.ask("queue.retry", entry_id)
        assert gateway.queue() and not sink.taken
        assert gateway.ask("queue.release", entry_id)["done"] == [entry_id]
        assert sink.wait_for(1)[0].body == body
        emptied(gateway)


def test_a_streamed_message_can_be_held_only_where_its_bytes_are_kept(sink: Sink) -> None:
    sink.start()
    policy = [{"name": "default", "rule": [{"action": "hold", "match": "GTUBE"}]}]
    body = body_of(3 * MIB, 5) + GTUBE + b"\r\n"
    with Gateway([sink.url], {"policy": policy}) as gateway, Client(gateway.port) as client:
        client.hello()
        assert client.message("a@s.test", "b@example.test", body).code == 451
        assert not gateway.queue() and not sink.seen
    with Gateway([sink.url], {"policy": policy, "delivery": {"keep_bytes": True}}) as gateway:
        entry_id = send(gateway, body)
        assert [entry["state"] for entry in gateway.queue()] == ["held"]
        gateway.ask("queue.release", entry_id)
        assert sink.wait_for(1)[0].body == body


def test_the_operator_lists_shows_holds_retries_and_deletes_on_the_live_gateway(sink: Sink) -> None:
    with Gateway([sink.url], {"queue": {"retry": ["1h"]}, "workers": {"count": 2}}) as gateway:
        ids = [send(gateway) for _ in range(4)]
        assert sorted(entry["id"] for entry in gateway.cli("queue", "list")["entries"]) == sorted(ids)
        until(lambda: all(entry["recipients"][0]["attempts"] for entry in gateway.queue()), "a first try of each")
        shown = gateway.cli("queue", "show", ids[0])
        assert shown["recipients"][0]["address"] == "b@example.test" and shown["sender"] == "a@example.test"
        assert gateway.cli("queue", "hold", ids[1])["done"] == [ids[1]]
        assert gateway.cli("queue", "delete", ids[2])["done"] == [ids[2]]
        gateway.cli("queue", "show", ids[2], status=1)
        sink.start()

        def retried() -> bool:
            gateway.cli("queue", "retry", "--all")
            return len(sink.taken) >= 2

        until(retried, "the retried messages")
        assert [entry["id"] for entry in gateway.queue()] == [ids[1]]
        gateway.cli("queue", "release", ids[1])
        sink.wait_for(3)


def test_a_retry_while_the_breaker_is_open_counts_no_attempt(sink: Sink) -> None:
    queue = {"queue": {"retry": ["1h"]}}
    with Gateway([sink.url], queue) as gateway:
        gateway.config["next_hop"][0]["breaker_reset"] = "8s"
        gateway.reload()
        entry_id = send(gateway)

        def attempts() -> int:
            return int(gateway.queue()[0]["recipients"][0]["attempts"])

        until(lambda: attempts() == 1, "the first try in vain")
        for _ in range(3):
            assert gateway.ask("queue.retry", entry_id)["done"] == [entry_id]
        until(lambda: gateway.queue()[0]["state"] == "waiting", "the retry to be over")
        assert attempts() == 1
        sink.start()
        sink.wait_for(1)  # not in an hour: it was asked for
        assert gateway.wait_for_event("delivery", outcome="delivered")["attempt"] == 2
        assert len(gateway.events("delivery")) == 2


def test_trace_tells_what_became_of_a_message(sink: Sink) -> None:
    with Gateway([sink.url]) as gateway:
        entry_id = send(gateway)
        sink.start()
        sink.wait_for(1)

        def traced() -> bool:
            return "delivered" in str(gateway.cli("trace", entry_id, status=None))

        until(traced, "the delivery in the trace")
        assert gateway.cli("trace", "--to", "b@example.test")[0]["id"] == entry_id


def test_the_id_of_every_refusal_leads_to_who_decided_and_what_would_have_had_to_differ(sink: Sink) -> None:
    sink.start()
    sink.script["RCPT"] = lambda recipient: "550 5.1.1 Who?" if "nobody" in recipient else "250 2.1.5 Ok"
    with Gateway([sink.url], {"limits": {"message_size": 1000}}) as gateway, Client(gateway.port) as client:
        client.hello()
        cases = {"relay.networks": client.envelope("a@s.test", "x@elsewhere.test")[1]}
        client.say("RSET")
        cases["the next hop: 550 5.1.1 Who?"] = client.envelope("a@s.test", "nobody@example.test")[1]
        client.say("RSET")
        body = b"Subject: x\r\n\r\n"
        cases["limits.message_size"] = client.message("a@s.test", "b@example.test", body + b"x\r\n" * 500)
        spam = client.message("a@s.test", "b@example.test", body + GTUBE + b"\r\n")
        cases["had patterns/GTUBE not been found"] = spam
        cases["accept: decided by default"] = client.message("a@s.test", "b@example.test", body)
        for expected, answer in cases.items():
            assert answer.id, answer

            def explained(expected: str = expected, answer: Answer = answer) -> bool:
                found = gateway.cli("trace", answer.id, status=None)
                return bool(found) and expected in "\n".join(found[0]["why"])

            until(explained, f"{expected!r} in the trace")


def test_a_reload_changes_the_next_hop_for_new_sessions_and_keeps_the_open_one(sink: Sink) -> None:
    sink.start()
    with Sink() as other, Gateway([sink.url]) as gateway, Client(gateway.port) as old:
        old.hello()
        gateway.config["next_hop"][0]["servers"] = [{"url": other.url}]
        gateway.reload()
        send(gateway)
        other.wait_for(1)
        assert old.message("a@s.test", "b@example.test", BODY).code == 250
        assert len(sink.taken) == 1
        gateway.config["next_hop"] = []
        gateway.write_config()
        gateway.signal(signal.SIGHUP)
        send(gateway)
        other.wait_for(2)
