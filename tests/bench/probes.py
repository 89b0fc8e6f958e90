"""What a ratio cannot say: memory of idle sessions and of large messages in flight, latency added at low load, writes
of the bare message path. Each probe answers with named values; `rows.GOALS` knows which of them have a limit.

Called by `main`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.bench.accounting import MemorySampler
from tests.bench.measure import Bench, pass_batch
from tests.bench.rows import KIB, MIB
from tests.bench.traffic import Batch, Generator, IdleSessions, Sink, Tools

_IDLE_SESSIONS = 1000
_FIRST_SESSIONS = 200
_LATENCY_RATE_PER_S = 50
_LATENCY_MESSAGES = 400
_IN_FLIGHT = Batch(messages=20, size_bytes=25 * MIB, sessions=10)
_SLOW_SINK_BYTES_PER_S = 150 * MIB  # so that the gateway is the faster side, and has to hold back


@dataclass(frozen=True, slots=True)
class Value:
    """One probed figure of one service. `name` is a goal's `where`."""

    name: str
    service: str
    value: float
    unit: str


def idle_sessions(bench: Bench, name: str) -> list[Value]:
    """KiB of PSS that one more session in EHLO costs."""
    sink = Sink(bench.toolchain, Tools.OWN, bench.folder)
    try:
        with bench.service(name, sink.port) as service:
            # The first sessions of each process allocate, and touch for the first time, what serves all that follow.
            with IdleSessions(service.port, _FIRST_SESSIONS):
                before = service.household.memory()
                with IdleSessions(service.port, _IDLE_SESSIONS):
                    after = service.household.memory()
            return [Value("idle session", name, (after.pss_kib - before.pss_kib) / _IDLE_SESSIONS, "KiB")]
    finally:
        sink.stop()


def large_in_flight(bench: Bench, name: str) -> list[Value]:
    """Memory while ten 25 MiB messages pass to a sink that is slower than the client."""
    sink = Sink(bench.toolchain, Tools.OWN, bench.folder, read_limit_bytes_per_s=_SLOW_SINK_BYTES_PER_S)
    try:
        with bench.service(name, sink.port) as service:
            generator = Generator(bench.toolchain, Tools.OWN, bench.folder)
            warm_up = Batch(messages=50, size_bytes=4 * KIB, sessions=10, tls=service.batch_tls())
            pass_batch(service, generator, sink, warm_up)
            before = service.household.memory()
            arrived = sink.messages()
            with MemorySampler(service.household, interval_s=0.05) as memory:
                generator.send(service.port, replace(_IN_FLIGHT, tls=service.batch_tls()))
                sink.wait_for(arrived + _IN_FLIGHT.messages)
            grown_kib = memory.peak.pss_kib - before.pss_kib
            return [
                Value("in flight, largest worker", name, memory.peak.largest_pss_kib / 1024, "MiB"),
                Value("in flight, all processes", name, memory.peak.pss_kib / 1024, "MiB"),
                Value("in flight, growth over idle", name, grown_kib / 1024, "MiB"),
            ]
    finally:
        sink.stop()


def low_load_latency(bench: Bench, name: str) -> list[Value]:
    """Microseconds that the service adds to a 4 KiB message on a new connection, 50 a second, next to no gateway."""
    sink = Sink(bench.toolchain, Tools.OWN, bench.folder)
    batch = Batch(_LATENCY_MESSAGES, 4 * KIB, sessions=20, rate_per_s=_LATENCY_RATE_PER_S)
    added_p50: list[float] = []
    added_p99: list[float] = []
    direct_p50: list[float] = []
    try:
        with bench.service(name, sink.port) as service:
            generator = Generator(bench.toolchain, Tools.OWN, bench.folder)
            generator.send(service.port, replace(batch, messages=50))
            for _ in range(bench.rounds):
                direct = generator.send(sink.port, batch)
                through = generator.send(service.port, batch)
                direct_p50.append(direct.p50_us or 0)
                added_p50.append((through.p50_us or 0) - (direct.p50_us or 0))
                added_p99.append((through.p99_us or 0) - (direct.p99_us or 0))
    finally:
        sink.stop()
    return [
        Value("direct latency p50", name, statistics.median(direct_p50), "µs"),
        Value("added latency p50", name, statistics.median(added_p50), "µs"),
        Value("added latency p99", name, statistics.median(added_p99), "µs"),
    ]


def message_path_writes(bench: Bench, name: str) -> list[Value]:
    """Disk writes a clean message, and copies of body chunks of one that streams."""
    sink = Sink(bench.toolchain, Tools.OWN, bench.folder)
    try:
        with bench.service(name, sink.port) as service:
            generator = Generator(bench.toolchain, Tools.OWN, bench.folder)
            small = Batch(messages=500, size_bytes=4 * KIB, sessions=10, tls=service.batch_tls())
            large = Batch(messages=20, size_bytes=10 * MIB, sessions=2, tls=service.batch_tls())
            pass_batch(service, generator, sink, small)  # what a first message makes (files, caches) is not the path
            measured = [pass_batch(service, generator, sink, batch) for batch in (small, large)]
    finally:
        sink.stop()
    worst_bytes = max(measurement.written_bytes for measurement in measured)
    values = [Value("written by the message path", name, worst_bytes, "bytes a message")]
    if measured[1].copies is not None:
        values.append(Value("body copies on wire", name, measured[1].copies, "a message"))
    return values


Probe = Callable[[Bench, str], list[Value]]

# (probe, services beside us that are worth a look)
PROBES: tuple[tuple[str, Probe, tuple[str, ...]], ...] = (
    ("idle", idle_sessions, ("haproxy", "aiosmtpd")),
    ("in-flight", large_in_flight, ("haproxy", "aiosmtpd")),
    ("latency", low_load_latency, ("haproxy", "postfix-proxy")),
)
BARE_PATH_SERVICE = "mailweir-untracked"
