"""Measures one row: us and each peer in turn, A B A B, under the same load against the same sink.

A measurement is one batch of messages through one service, all of it delivered, with what that cost. Ratios are made of
neighbours in time, so that what else the machine does falls on both. Called by `main`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten

from tests.bench.accounting import MemorySampler
from tests.bench.peers import SERVICES
from tests.bench.rows import Row
from tests.bench.service import Place, Service, ServiceFailed
from tests.bench.toolchain import MissingTool, Toolchain, make_certificate
from tests.bench.traffic import Batch, Generator, Sink, Tools, TrafficFailed, reserve_port

MIB = 1 << 20
_DRAIN_TIMEOUT_S = 180.0
_RETRY_INTERVAL_S = 3.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One batch through one service. None: not measured, or not told by the service."""

    service: str
    messages: int
    messages_per_s: float  # accepted
    mib_per_s: float
    cpu_ms: float  # a message, user and system, all processes, with delivery and bookkeeping
    peak_pss_mib: float
    largest_pss_mib: float
    written_bytes: float  # a message, to block devices
    p50_us: int | None = None
    p99_us: int | None = None
    fsyncs: float | None = None  # a message
    copies: float | None = None  # of body chunks, a message
    accept_cpu_ms: float | None = None  # queued: until all was accepted
    drain_s: float | None = None  # queued: from next hop up to the last message there


@dataclass(frozen=True, slots=True)
class Pair:
    """Us and a peer, one right after the other."""

    ours: Measurement
    its: Measurement


class Bench:
    """What all rows share: tools, certificate, the folder that everything is kept in."""

    def __init__(self, toolchain: Toolchain, folder: Path, subject: str, rounds: int) -> None:
        self.toolchain = toolchain
        self.folder = folder
        self.subject = subject  # the service that stands for "us"
        self.rounds = rounds
        self.notes: list[str] = []
        self._certificate, self._key = make_certificate(folder)
        self._serial = 0

    def place(self, next_hop_port: int, tls: bool = False) -> Place:
        self._serial += 1
        return Place(self.folder / f"service-{self._serial}", next_hop_port, self._certificate, self._key, tls)

    def note(self, text: str) -> None:
        """For the report, and to be seen at once."""
        print(f"bench: {text}", file=sys.stderr, flush=True)
        self.notes.append(shorten(" ".join(text.split()), width=300, placeholder=" ..."))

    @contextmanager
    def service(self, name: str, next_hop_port: int, tls: bool = False) -> Iterator[Service]:
        """A running service, stopped at the end of the context."""
        service = SERVICES[name](self.place(next_hop_port, tls))
        service.start()
        try:
            yield service
        finally:
            service.stop()

    def measure_row(self, row: Row) -> dict[str, list[Pair]]:
        """Pairs by peer. A peer that cannot run is left out with a note.

        Raises:
            ServiceFailed, TrafficFailed: the subject itself does not work.
        """
        pairs: dict[str, list[Pair]] = {}
        for peer in row.peers:
            if peer == self.subject:
                continue
            try:
                pairs[peer] = self._measure_queued(row, peer) if row.queued else self._measure_passing(row, peer)
            except (MissingTool, ServiceFailed, TrafficFailed) as error:
                self.note(f"{row.id}: {peer} left out: {error}")
        return pairs

    def _measure_passing(self, row: Row, peer: str) -> list[Pair]:
        with ExitStack() as stack:
            sink = Sink(self.toolchain, row.tools, self.folder)
            stack.callback(sink.stop)
            ours = stack.enter_context(self.service(self.subject, sink.port, row.tls))
            its = stack.enter_context(self.service(peer, sink.port, row.tls))
            generator = Generator(self.toolchain, row.tools, self.folder)
            for service in (ours, its):
                warm_up = max(row.messages_for(service.name) // 5, 2 * row.sessions)
                pass_batch(service, generator, sink, batch_of(row, service, warm_up))
                service.settle()

            def measure(service: Service) -> Measurement:
                return pass_batch(service, generator, sink, batch_of(row, service))

            return self._pairs(row, lambda: measure(ours), lambda: measure(its))

    def _measure_queued(self, row: Row, peer: str) -> list[Pair]:
        with ExitStack() as stack:
            reserved = reserve_port()
            stack.callback(lambda: reserved.close())
            port = int(reserved.getsockname()[1])
            ours = stack.enter_context(self.service(self.subject, port, row.tls))
            its = stack.enter_context(self.service(peer, port, row.tls))
            generator = Generator(self.toolchain, row.tools, self.folder)

            def measure(service: Service, batch: Batch) -> Measurement:
                nonlocal reserved
                accepted = accept_batch(service, generator, batch)
                reserved.close()
                try:
                    return drain(service, Sink(self.toolchain, Tools.OWN, self.folder, port), accepted)
                finally:
                    reserved = reserve_port(port)

            for service in (ours, its):
                measure(service, batch_of(row, service, row.sessions))
            of_ours, of_its = batch_of(row, ours), batch_of(row, its)
            return self._pairs(row, lambda: measure(ours, of_ours), lambda: measure(its, of_its))

    def _pairs(self, row: Row, ours: Callable[[], Measurement], its: Callable[[], Measurement]) -> list[Pair]:
        pairs = []
        for _ in range(self.rounds):
            pairs.append(Pair(ours(), its()))
            last = pairs[-1]
            print(
                f"bench: {row.id}: {last.ours.service} {last.ours.cpu_ms:.3f} ms, "
                f"{last.its.service} {last.its.cpu_ms:.3f} ms CPU a message",
                file=sys.stderr,
                flush=True,
            )
        return pairs


def batch_of(row: Row, service: Service, messages: int = 0) -> Batch:
    """The row's batch for this service, or one like it with another number of messages."""
    return Batch(
        messages=messages or row.messages_for(service.name),
        size_bytes=row.size_bytes,
        sessions=row.sessions,
        per_session=row.per_session,
        pipelining=row.pipelining,
        tls=service.batch_tls(),
    )


@dataclass(frozen=True, slots=True)
class _Account:
    """Running totals of a service at one moment."""

    cpu_s: float
    written_bytes: int
    counters: dict[str, float]

    @classmethod
    def opened(cls, service: Service) -> _Account:
        """Before a batch. To tell its counters costs the service something, so they come first here and last below."""
        counters = service.counters()
        return cls(service.household.cpu_s(), service.household.written_bytes(), counters)

    @classmethod
    def closed(cls, service: Service) -> _Account:
        """After a batch."""
        cpu_s, written_bytes = service.household.cpu_s(), service.household.written_bytes()
        return cls(cpu_s, written_bytes, service.counters())


def _measurement(
    service: Service, batch: Batch, elapsed_s: float, before: _Account, after: _Account, memory: MemorySampler
) -> Measurement:
    def counted(name: str) -> float | None:
        if name not in after.counters:
            return None
        return (after.counters[name] - before.counters.get(name, 0.0)) / batch.messages

    return Measurement(
        service=service.name,
        messages=batch.messages,
        messages_per_s=batch.messages / elapsed_s,
        mib_per_s=batch.messages * batch.size_bytes / MIB / elapsed_s,
        cpu_ms=(after.cpu_s - before.cpu_s) * 1000 / batch.messages,
        peak_pss_mib=memory.peak.pss_kib / 1024,
        largest_pss_mib=memory.peak.largest_pss_kib / 1024,
        written_bytes=(after.written_bytes - before.written_bytes) / batch.messages,
        fsyncs=counted("fsyncs"),
        copies=counted("copies"),
    )


def pass_batch(service: Service, generator: Generator, sink: Sink, batch: Batch) -> Measurement:
    """Sends the batch through and waits until all of it is at the sink and the service has settled.

    Raises:
        TrafficFailed: a message was refused or did not arrive.
    """
    arrived = sink.messages()
    before = _Account.opened(service)
    with MemorySampler(service.household) as memory:
        sent = generator.send(service.port, batch)
        sink.wait_for(arrived + batch.messages)
        service.settle()
    measured = _measurement(service, batch, sent.elapsed_s, before, _Account.closed(service), memory)
    return replace(measured, p50_us=sent.p50_us, p99_us=sent.p99_us)


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A batch in the queue of a service, and the state of its accounts before and after intake."""

    batch: Batch
    before: _Account
    measurement: Measurement


def accept_batch(service: Service, generator: Generator, batch: Batch) -> _Accepted:
    """Sends the batch while the next hop is down.

    Raises:
        TrafficFailed: a message was refused.
    """
    before = _Account.opened(service)
    with MemorySampler(service.household) as memory:
        sent = generator.send(service.port, batch)
        service.settle()
    measured = _measurement(service, batch, sent.elapsed_s, before, _Account.closed(service), memory)
    return _Accepted(batch, before, replace(measured, p50_us=sent.p50_us, p99_us=sent.p99_us))


def _retry_until(service: Service, sink: Sink, messages: int) -> None:
    # Asked again, for what a queue has under way at that moment is put off afterwards.
    deadline_s = time.monotonic() + _DRAIN_TIMEOUT_S
    while True:
        service.retry_queue()
        try:
            return sink.wait_for(messages, timeout_s=_RETRY_INTERVAL_S)
        except TrafficFailed:
            if time.monotonic() > deadline_s:
                raise


def drain(service: Service, sink: Sink, accepted: _Accepted) -> Measurement:
    """Lets the queue empty itself into the sink, which it stops; costs then cover intake and delivery.

    Raises:
        TrafficFailed: a message did not arrive.
    """
    try:
        began_s = time.monotonic()
        _retry_until(service, sink, accepted.batch.messages)
        drain_s = time.monotonic() - began_s
        service.settle()
    finally:
        sink.stop()
    after = _Account.closed(service)
    messages = accepted.batch.messages
    return replace(
        accepted.measurement,
        accept_cpu_ms=accepted.measurement.cpu_ms,
        cpu_ms=(after.cpu_s - accepted.before.cpu_s) * 1000 / messages,
        written_bytes=(after.written_bytes - accepted.before.written_bytes) / messages,
        drain_s=drain_s,
    )
