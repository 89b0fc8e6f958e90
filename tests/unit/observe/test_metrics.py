"""Counters, their way over the control socket, and what Prometheus reads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.observe.exposition import render
from appliance.observe.metrics import FAMILIES, LATENCY_BOUNDS_S, Counters


def samples(raw: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(raw.decode())
        for sample in family.samples
    }


def test_what_is_counted_is_what_prometheus_reads() -> None:
    counters = Counters()
    counters.sessions_open = 3
    counters.messages["ram", "accept"] += 2
    counters.refusals[550] += 1
    counters.scanner_wait["clamd"].observe(0.5)
    counters.tls_handshakes["in", "TLSv1.3"] += 4
    counters.gauge("queue_messages", lambda: {"active": 7, "held": 1})
    counters.gauge("held_bytes", lambda: 99)
    read = samples(render({"0": counters.snapshot()}))
    assert read["mailweir_sessions_open", (("worker", "0"),)] == 3
    assert read["mailweir_messages_total", (("action", "accept"), ("path", "ram"), ("worker", "0"))] == 2
    assert read["mailweir_refusals_total", (("code", "550"), ("worker", "0"))] == 1
    assert read["mailweir_scanner_wait_seconds_sum", (("scanner", "clamd"), ("worker", "0"))] == 0.5
    assert read["mailweir_tls_handshakes_total", (("outcome", "TLSv1.3"), ("side", "in"), ("worker", "0"))] == 4
    assert read["mailweir_queue_messages", (("state", "active"), ("worker", "0"))] == 7
    assert read["mailweir_held_bytes", (("worker", "0"),)] == 99


def test_a_snapshot_survives_json_and_the_workers_stay_apart() -> None:
    one, two = Counters(), Counters()
    one.sessions_total, two.sessions_total = 5, 6
    one.hop_latency["inside"].observe(0.003)
    sent = {name: json.loads(json.dumps(each.snapshot())) for name, each in (("0", one), ("1", two))}
    read = samples(render(sent))
    assert read["mailweir_sessions_total", (("worker", "0"),)] == 5
    assert read["mailweir_sessions_total", (("worker", "1"),)] == 6


def test_latencies_fall_into_cumulative_buckets() -> None:
    counters = Counters()
    for seconds in (0.0001, 0.0005, 0.003, 1000.0):
        counters.hop_latency["inside"].observe(seconds)
    read = samples(render({"0": counters.snapshot()}))
    buckets = [
        read["mailweir_next_hop_seconds_bucket", (("hop", "inside"), ("le", bound), ("worker", "0"))]
        for bound in (*map(str, LATENCY_BOUNDS_S), "+Inf")
    ]
    assert buckets == [2, 2, 2, *[3] * 13, 4]
    assert read["mailweir_next_hop_seconds_count", (("hop", "inside"), ("worker", "0"))] == 4


def test_a_snapshot_does_not_change_with_the_counters() -> None:
    counters = Counters()
    counters.hop_latency["inside"].observe(0.1)
    before = counters.snapshot()
    taken = json.dumps(before)
    counters.hop_latency["inside"].observe(0.1)
    counters.refusals[451] += 1
    assert json.dumps(before) == taken


def test_a_worker_of_another_version_is_shown_as_far_as_it_goes() -> None:
    read = samples(render({"old": {"sessions_total": 1, "unheard_of": 2}, "new": Counters().snapshot()}))
    assert read["mailweir_sessions_total", (("worker", "old"),)] == 1
    assert ("mailweir_fsyncs_total", (("worker", "old"),)) not in read


def test_names_of_hops_cannot_break_out_of_their_label() -> None:
    counters = Counters()
    counters.hop_latency['a"}\nevil 1\\'].observe(0.1)
    read = samples(render({"0": counters.snapshot()}))
    assert not any(name == "evil" for name, _ in read)
    assert read["mailweir_next_hop_seconds_count", (("hop", 'a"}\nevil 1\\'), ("worker", "0"))] == 1


@pytest.mark.parametrize("name", ["sessions_open", "no_such_gauge"])
def test_a_gauge_must_be_one_that_nobody_counts(name: str) -> None:
    with pytest.raises(KeyError):
        Counters().gauge(name, lambda: 1)


def test_every_counter_has_a_family_and_every_family_a_page_entry() -> None:
    page = render({"0": Counters().snapshot()}).decode()
    assert {slot for slot in Counters.__slots__ if not slot.startswith("_")} <= {family.name for family in FAMILIES}
    for family in FAMILIES:
        assert f"# TYPE {family.metric}" in page


def test_counting_does_not_load_the_prometheus_library() -> None:
    modules = "appliance.observe.exposition, appliance.observe.scrape"
    check = f"import {modules}, sys; print('prometheus_client' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", check]) == b"False\n"
