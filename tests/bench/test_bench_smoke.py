"""The benchmark's own tools tell the truth: what the generator says it sent is what the sink got, trouble is loud, and
costs are counted for the dead as well. Nothing here is timed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bench import accounting
from tests.bench.accounting import Household
from tests.bench.main import main
from tests.bench.measure import Measurement, Pair
from tests.bench.peer_mailweir import sum_counters
from tests.bench.report import RowResult, as_json, judge, markdown, median_measurement, median_of_ratios
from tests.bench.rows import GOALS, QUICK_ROWS, ROWS, Figure, Goal, Row, named
from tests.bench.toolchain import Toolchain, build
from tests.bench.traffic import Batch, Generator, Sink, Tools, TrafficFailed, reserve_port

MEASURED = Measurement("mailweir", 100, 1000.0, 4.0, 0.2, 50.0, 30.0, 0.0)


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    return build()


@pytest.fixture(scope="module")
def sink(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    sink = Sink(toolchain, Tools.OWN, tmp_path_factory.mktemp("sink"))
    yield sink
    sink.stop()


class Dialogue:
    """A hand-driven connection to the sink."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")

    def say(self, raw_octets: bytes) -> None:
        self._socket.sendall(raw_octets)

    def hear(self) -> bytes:
        """The code of the next reply."""
        while (line := self._replies.readline())[3:4] == b"-":
            pass
        return line[:3]

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


@pytest.mark.parametrize(
    "batch",
    [
        Batch(messages=25, size_bytes=4096, sessions=4),
        Batch(messages=25, size_bytes=4096, sessions=4, per_session=10),
        Batch(messages=25, size_bytes=4096, sessions=4, per_session=10, pipelining=True),
        Batch(messages=3, size_bytes=1 << 20, sessions=2),
        Batch(messages=10, size_bytes=4096, sessions=2, rate_per_s=1000),
    ],
    ids=["new", "reused", "pipelined", "large", "open-loop"],
)
def test_every_message_that_the_generator_counts_is_at_the_sink(
    toolchain: Toolchain, sink: Sink, tmp_path: Path, batch: Batch
) -> None:
    before = sink.messages()
    sent = Generator(toolchain, Tools.OWN, tmp_path).send(sink.port, batch)
    assert sent.messages == batch.messages
    assert sink.messages() - before == batch.messages
    assert sent.p50_us is not None and sent.p99_us is not None and 0 < sent.p50_us <= sent.p99_us


def test_smtp_source_and_smtp_sink_are_counted_alike(toolchain: Toolchain, tmp_path: Path) -> None:
    assert toolchain.smtp_source and toolchain.smtp_sink, "Debian package postfix"
    tmp_path.chmod(0o755)
    sink = Sink(toolchain, Tools.POSTFIX, tmp_path)
    try:
        Generator(toolchain, Tools.POSTFIX, tmp_path).send(sink.port, Batch(20, 4096, sessions=4))
        sink.wait_for(20)
        assert sink.messages() == 20
    finally:
        sink.stop()


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
def test_an_unexpected_reply_at_any_stage_makes_the_generator_fail(
    toolchain: Toolchain, tmp_path: Path, stage: str
) -> None:
    with subprocess.Popen(
        [toolchain.sink, "-a", "127.0.0.1:0", "-t", stage], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline().split(":")[1].rstrip("}\n"))
        with pytest.raises(TrafficFailed, match=r'451 4\.3\.0 Not now(?s:.*)"failed":3'):
            Generator(toolchain, Tools.OWN, tmp_path).send(port, Batch(3, 4096))
        process.terminate()
        assert '"messages":0' in process.stdout.read()


def test_a_refused_connection_makes_the_generator_fail(toolchain: Toolchain, tmp_path: Path) -> None:
    with reserve_port() as holder, pytest.raises(TrafficFailed, match="refused"):
        Generator(toolchain, Tools.OWN, tmp_path).send(holder.getsockname()[1], Batch(1, 4096))


def test_the_message_file_has_exactly_the_size_and_no_line_that_begins_with_a_dot(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    for size_bytes in (1536, 4096, 64 << 10, (64 << 10) + 1, 100_001, 1 << 20):
        file = tmp_path / "message"
        subprocess.run([toolchain.load, "-F", file, "-l", str(size_bytes)], check=True)
        raw_message = file.read_bytes()
        assert len(raw_message.replace(b"\n", b"\r\n")) == size_bytes
        assert b"\n." not in raw_message and raw_message.endswith(b"\n")
        assert max(len(line) for line in raw_message.split(b"\n")) <= 100


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_sink_ends_a_message_at_crlf_dot_crlf_alone_however_it_is_split(sink: Sink, data: st.DataObject) -> None:
    tokens = [b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n..", b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"a"]
    body = b"".join(data.draw(st.lists(st.sampled_from(tokens), max_size=12)))
    whole = body.replace(b"\r\n.\r\n", b"") + b"x\r\n.\r\n"
    while (end := (b"\r\n" + whole).find(b"\r\n.\r\n") + 3) != len(whole):
        whole = whole[end:]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=4)))
    before = sink.messages()
    dialogue = Dialogue(sink.port)
    dialogue.say(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
    assert [dialogue.hear() for _ in range(5)] == [b"220", b"250", b"250", b"250", b"354"]
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        dialogue.say(whole[start:stop])
    dialogue.say(b"NOOP\r\nQUIT\r\n")
    assert [dialogue.hear() for _ in range(3)] == [b"250", b"250", b"221"]
    dialogue.close()
    assert sink.messages() == before + 1


def test_cpu_of_a_child_that_is_dead_and_waited_for_is_counted(tmp_path: Path) -> None:
    assert _cpu_of_a_dead_child(tmp_path) > 0.05


def test_cpu_is_counted_from_proc_where_there_is_no_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "_make_group", lambda name: None)
    assert _cpu_of_a_dead_child(tmp_path) > 0.05


def _cpu_of_a_dead_child(folder: Path) -> float:
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    parent = (
        f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {burn!r}])\n"
        "print('waited', flush=True)\ntime.sleep(600)"
    )
    household, log = Household("test"), folder / "log"
    try:
        household.spawn([sys.executable, "-c", parent], log)
        while "waited" not in log.read_text():
            assert not household.has_died()
        memory = household.memory()
        assert 0 < memory.largest_pss_kib <= memory.pss_kib <= memory.rss_kib
        return household.cpu_s()
    finally:
        household.stop()
        assert household.has_died()


def test_a_stopped_household_leaves_no_process_that_ignores_sigterm(tmp_path: Path) -> None:
    household, log = Household("test"), tmp_path / "log"
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
    pid = household.spawn([sys.executable, "-c", stubborn], log)
    while "ready" not in log.read_text():
        assert not household.has_died()
    household.stop(grace_s=0.1)
    assert not Path(f"/proc/{pid}").exists()


def test_ratios_are_medians_of_pairs_and_not_ratios_of_medians() -> None:
    costs = [(1.0, 3.0), (2.0, 2.0), (10.0, 50.0)]
    pairs = [Pair(replace(MEASURED, cpu_ms=ours), replace(MEASURED, cpu_ms=its)) for ours, its in costs]
    assert median_of_ratios(pairs, Figure.CPU_PEER_TO_OURS) == 3.0
    assert median_of_ratios(pairs, Figure.CPU_OURS_TO_PEER) == pytest.approx(1 / 3)


def test_a_field_that_was_not_always_measured_has_no_median() -> None:
    several = [replace(MEASURED, fsyncs=1.0, copies=None), replace(MEASURED, fsyncs=3.0, copies=0.0)]
    assert median_measurement(several).fsyncs == 2.0
    assert median_measurement(several).copies is None


@pytest.mark.parametrize(("at_least", "value", "reached"), [(True, 2.9, False), (True, 3.0, True), (False, 3.1, False)])
def test_a_goal_is_reached_at_its_limit_and_missed_beyond_it(at_least: bool, value: float, reached: bool) -> None:
    goal = Goal("4K-s10-new", "haproxy", Figure.CPU_PEER_TO_OURS, 3.0, at_least)
    assert goal.reached(value) is reached


def test_every_goal_that_is_a_ratio_has_a_row_that_measures_it() -> None:
    measured = {(row.id, peer) for row in ROWS for peer in row.peers}
    assert {(goal.where, goal.peer) for goal in GOALS if goal.figure is not Figure.PROBE} <= measured
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_the_report_says_which_goals_are_reached_missed_or_not_measured() -> None:
    row = Row(4096, 10, ("haproxy",))
    result = RowResult(row, {"haproxy": [Pair(MEASURED, replace(MEASURED, service="haproxy", cpu_ms=0.1))]})
    words = {(judged.goal.where, judged.goal.peer): judged.word for judged in judge([result], [], "mailweir")}
    assert words["4K-s10-new", "haproxy"] == "MISSED"
    assert words["1M-s10-new", "haproxy"] == "not measured"
    text = markdown([result], [], ["a note"], ["a machine"], "mailweir")
    assert "| haproxy | 1,000 | 4 | 0.100 | 0.50 |" in text and "- a note" in text
    assert as_json([result], [], [], [], "mailweir")["rows"][0]["cpu_peer_to_ours"] == {"haproxy": 0.5}


def test_rows_are_picked_by_shell_patterns_on_their_names() -> None:
    assert [row.id for row in named("4K-s10-new", ROWS)] == ["4K-s10-new"]
    assert {row.id for row in named("*-tls,*-queued", ROWS)} == {row.id for row in ROWS if row.tls or row.queued}
    assert named("", QUICK_ROWS) == list(QUICK_ROWS)


def test_counters_are_summed_over_workers_and_unknown_ones_left_out() -> None:
    page = (
        "# HELP mailweir_fsyncs Flushes\n# TYPE mailweir_fsyncs counter\n"
        'mailweir_fsyncs_total{worker="0"} 2\nmailweir_fsyncs_total{worker="1"} 3.0\n'
        "mailweir_fsyncs_created 1.7e9\nmailweir_sessions 9\n"
    )
    assert sum_counters(page) == {"fsyncs": 5.0}


@given(st.lists(st.tuples(st.sampled_from(["mailweir_fsyncs_total", "x", ""]), st.sampled_from(" {}"), st.text())))
def test_no_page_of_metrics_upsets_the_reader(parts: list[tuple[str, str, str]]) -> None:
    page = "\n".join("".join(line) for line in parts)
    assert set(sum_counters(page)) <= {"fsyncs", "copies"}


def test_the_whole_benchmark_runs_us_and_a_peer_and_tells_what_both_cost(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    words = ["--quick", "--rows", "4K-s10-new", "--peers", "haproxy", "--json", str(file)]
    # Not below tmp_path, whose name is too long for a Unix socket's.
    with tempfile.TemporaryDirectory(prefix="mwb-", dir="/var/tmp") as folder:
        assert main([*words, "--folder", folder]) == 0
        assert not list(Path(folder).iterdir())
    told = json.loads(file.read_text())
    [pair] = told["rows"][0]["pairs"]["haproxy"]
    assert pair["ours"]["service"] == "mailweir" and pair["its"]["service"] == "haproxy"
    assert pair["ours"]["messages"] == pair["its"]["messages"] == 200
    assert pair["ours"]["cpu_ms"] > 0 and pair["its"]["cpu_ms"] > 0 and pair["ours"]["fsyncs"] is not None
