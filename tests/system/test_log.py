"""What log and trace say of a message, in names and units that a person and a program can rely on."""

from __future__ import annotations

import re

from tests.support.client import Client
from tests.support.conditions import until
from tests.support.gateway import Gateway
from tests.support.sink import Sink, say, times

BODY = b"Subject: x\r\n\r\n"


def test_a_next_hop_is_called_by_its_configured_name_and_every_time_has_one_unit() -> None:
    with Sink() as sink, Gateway([sink.url]) as gateway:
        sink.script["BODY"] = times(1, say("451 4.2.0 Later"), say("250 2.0.0 Ok"))
        with Client(gateway.port) as client:
            client.hello()
            waited = client.message("a@s.test", "b@example.test", BODY)
            passed = client.message("a@s.test", "b@example.test", BODY)
        sink.wait_for(2)
        for event in (
            gateway.wait_for_event("message", id=waited.id),
            gateway.wait_for_event("message", id=passed.id),
            gateway.wait_for_event("delivery", id=waited.id),
        ):
            assert event["hop"] == "hop"
            assert "ms" not in event and re.fullmatch(r"\d+\.\d{1,3}", str(event["duration_ms"])), event
            if "at_s" in event:
                assert re.fullmatch(r"\d+\.\d{1,6}", str(event["at_s"])), event
        assert not [event for event in gateway.events() if "hop:" in str(event)]

        def traced() -> bool:
            found = gateway.cli("trace", waited.id, status=None)
            return bool(found) and len(found[0]["deliveries"]) > 0

        until(traced, "the attempt in the trace")
        (found,) = gateway.cli("trace", waited.id)
        for row in (found, *found["deliveries"]):
            assert row["hop"] == "hop"
            assert re.fullmatch(r"\d+\.\d{1,6}", str(row["at_s"]))
            assert round(row["duration_ms"], 3) == row["duration_ms"]


def test_mail_to_a_bare_postmaster_goes_to_the_one_configured_or_to_that_of_the_first_domain() -> None:
    for more, expected in (({}, "postmaster@example.test"), ({"postmaster": "anna@example.test"}, "anna@example.test")):
        with Sink() as sink, Gateway([sink.url], more) as gateway, Client(gateway.port) as client:
            client.hello()
            assert client.message("a@s.test", "postmaster", BODY).code == 250
            assert expected in sink.taken[0].recipients[0]


def test_every_metric_without_labels_is_there_from_the_beginning() -> None:
    with Gateway() as gateway:
        text = gateway.metrics()
        unlabelled = [
            f"mailweir_{name}"
            for name in (
                "sessions_total",
                "recipients_total",
                "body_copies_total",
                "received_bytes_total",
                "sent_bytes_total",
                "fsyncs_total",
                "spool_written_bytes_total",
                "spool_used_bytes",
                "held_bytes",
                "log_dropped_total",
                "tracking_dropped_total",
            )
        ]
        assert [name for name in unlabelled if f'\n{name}{{worker="0"}} ' not in text] == []
