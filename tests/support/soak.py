"""Mixed load for as long as wanted, and what it leaves behind: memory of the workers, messages in the spool.

Rounds of the same mix follow each other: small and large messages through the gateway, in clear and under TLS, a
reload and a next hop that stalls in the middle, odd clients, a next hop that is down and what was queued meanwhile.
After each round, with nothing under way, the workers' memory is taken down. Bulk comes from the benchmark's
generator, so that a million messages take minutes. Called by `scripts/soak` and its test.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from appliance.config.state import tracking_file
from tests.bench.toolchain import build
from tests.bench.traffic import Batch, Generator, Sink, TlsMode, Tools, TrafficFailed, reserve_port
from tests.support.crash_gateway import ROOT, Gateway
from tests.support.soak_oddities import meet, oddities

ROUNDS_MIN, ROUNDS_MAX = 8, 100
MESSAGES_A_ROUND_MIN = 300
GROWTH_MAX_KIB = 8192
"""By so much may a worker's memory grow over the second half, as its trend goes."""
DRAIN_S = 120.0
STALL_S = 0.2

# Shares of a round's messages, sizes, sessions, messages a session, pipelining.
_MIX = (
    (0.552, Batch(1, 4 << 10, 20, 10, pipelining=True)),
    (0.05, Batch(1, 4 << 10, 10, 5, tls=TlsMode.STARTTLS)),
    (0.002, Batch(1, 1 << 20, 4, 1, tls=TlsMode.STARTTLS)),
    (0.10, Batch(1, 1536, 10, 1)),
    (0.08, Batch(1, 64 << 10, 10, 5)),
    (0.005, Batch(1, 1 << 20, 2, 2)),
    (0.001, Batch(1, 3 << 20, 2, 1, pipelining=True)),
)
_STALLED = (0.05, Batch(1, 4 << 10, 50, 5))
_QUEUED = (0.16, Batch(1, 4 << 10, 50, 5))
_MORE = """
[tls]
self_signed = true

[[domain]]
name = "example.test"
next_hop = "smtp"

[scan.patterns]
files = ["{patterns}"]
"""


class Sample(NamedTuple):
    """After a round."""

    round: int
    messages: int
    elapsed_s: float
    memory_kib: tuple[int, ...]
    """Resident, of each worker."""
    supervisor_kib: int = 0
    segments: int = 0
    """Files of all spools, those that wait for their next life included."""
    tracking_kib: int = 0
    """The data base with its companions."""


class _StallingSink(Sink):
    def signal(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)


class Soak:
    """One soak: `run`, then `samples` and `problems`."""

    def __init__(self, folder: Path, messages: int) -> None:
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self._folder = folder
        self._rounds = min(ROUNDS_MAX, max(ROUNDS_MIN, messages // MESSAGES_A_ROUND_MIN))
        self._a_round = max(1, messages // self._rounds)
        self._toolchain = build()
        self._generator = Generator(self._toolchain, Tools.OWN, folder)
        self._expected = 0
        self._taken_before = 0
        self._holder: socket.socket | None = reserve_port()
        self._port: int = self._holder.getsockname()[1]
        self._sink: _StallingSink | None = None
        self._gateway = Gateway(
            folder,
            smtp_port=self._port,
            lmtp_port=self._port,
            more=_MORE.format(patterns=ROOT / "tests/data/patterns-1000.txt"),
            tracking=True,
            log_level="warning",
        )

    async def run(self) -> None:
        """All rounds; the first problem ends them."""
        began_s = time.monotonic()
        try:
            self._sink_up()
            await self._gateway.start()
            workers = self._gateway.worker_pids()
            for number in range(1, self._rounds + 1):
                await self._round()
                await self._settled()
                if self._gateway.worker_pids() != workers:
                    raise TrafficFailed(f"a worker ended: {self._gateway.errors()}")
                self.samples.append(self._sample(number, time.monotonic() - began_s, workers))
                print(line(self.samples[-1]), flush=True)
            self.problems += growth(self.samples)
            if await self._gateway.stop():
                self.problems.append(f"did not end clean: {self._gateway.errors()}")
            if spooled := self._gateway.spooled():
                self.problems.append(f"left in the spool: {spooled}")
            defects = self._gateway.events()["defect"]
            if defects:
                self.problems.append(f"{defects} unexpected exceptions in {self._folder}/events.log")
        except TrafficFailed as error:
            self.problems.append(str(error))
        finally:
            self._gateway.end()
            self._sink_down()

    def _sample(self, number: int, elapsed_s: float, workers: Sequence[int]) -> Sample:
        state = self._folder / "state"
        tracking = Path(tracking_file(str(state)))
        return Sample(
            number,
            self._expected,
            elapsed_s,
            tuple(map(resident_kib, workers)),
            resident_kib(self._gateway.pid),
            sum(path.suffix in (".seg", ".spare") for path in state.glob("spool/*/*")),
            sum(path.stat().st_size for path in tracking.parent.glob(f"{tracking.name}*")) >> 10,
        )

    # -- a round

    async def _round(self) -> None:
        for number, (share, batch) in enumerate(_MIX):
            load = self._send(share, batch)
            if not number:
                self._gateway.reload()
            await load
        await asyncio.gather(self._send(*_STALLED), self._stall())
        await self._meet_oddities()
        self._sink_down()
        await self._send(*_QUEUED)
        self._sink_up()

    def _send(self, share: float, batch: Batch) -> asyncio.Future[None]:
        """A task that has sent its part of the round, each message of it acknowledged."""
        messages = max(1, round(share * self._a_round))
        batch = replace(batch, messages=messages, sessions=min(batch.sessions, messages))

        async def send() -> None:
            sent = await asyncio.to_thread(self._generator.send, self._gateway.port, batch)
            self._expected += sent.messages

        return asyncio.ensure_future(send())

    async def _stall(self) -> None:
        """The next hop takes nothing for a moment."""
        assert self._sink is not None
        self._sink.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(STALL_S)
        finally:
            self._sink.signal(signal.SIGCONT)

    async def _meet_oddities(self) -> None:
        all_of_them = oddities()
        found = await asyncio.gather(*[meet(self._gateway.port, oddity) for oddity in all_of_them])
        wrong = [problem for problem in found if problem]
        if wrong:
            raise TrafficFailed("; ".join(wrong))
        self._expected += sum(oddity.arrives for oddity in all_of_them)

    async def _settled(self) -> None:
        """Waits until the queue is empty and the sink has everything."""
        end_s = time.monotonic() + DRAIN_S
        while await self._gateway.queued() or self._taken() < self._expected:
            if time.monotonic() > end_s:
                left = await self._gateway.some_queued()
                raise TrafficFailed(f"{self._taken()} of {self._expected} messages arrived, still queued: {left}")
            await asyncio.sleep(0.05)
        if self._taken() > self._expected:
            raise TrafficFailed(f"{self._taken()} messages arrived of {self._expected}")

    # -- the sink

    def _taken(self) -> int:
        return self._taken_before + (self._sink.messages() if self._sink is not None else 0)

    def _sink_up(self) -> None:
        if self._holder is not None:
            self._holder.close()
            self._holder = None
        self._sink = _StallingSink(self._toolchain, Tools.OWN, self._folder, self._port)

    def _sink_down(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.stop()
            self._taken_before += sink.messages()
            self._holder = reserve_port(self._port)


def resident_kib(pid: int) -> int:
    """Resident memory of a process."""
    for entry in Path(f"/proc/{pid}/status").read_text().splitlines():
        if entry.startswith("VmRSS:"):
            return int(entry.split()[1])
    raise ProcessLookupError(pid)


def growth(samples: Sequence[Sample]) -> list[str]:
    """Workers whose memory grew over the second half by more than is allowed, by the slope of its trend."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return []
    problems = []
    rounds = [float(sample.round) for sample in half]
    for number in range(len(half[0].memory_kib)):
        slope = statistics.linear_regression(rounds, [float(sample.memory_kib[number]) for sample in half]).slope
        grown_kib = slope * (rounds[-1] - rounds[0])
        if grown_kib > GROWTH_MAX_KIB:
            problems.append(f"worker {number} grew by {grown_kib:.0f} KiB over the second half")
    return problems


def table(samples: Sequence[Sample]) -> Iterator[str]:
    """What was at every tenth of the way, for a person."""
    yield " round   messages   elapsed  segments  tracking MiB  resident MiB: supervisor, workers"
    count = len(samples)
    yield from [line(samples[tenth * count // 10 - 1]) for tenth in range(1, 11) if tenth * count // 10]


def line(sample: Sample) -> str:
    memory = "  ".join(f"{kib / 1024:7.1f}" for kib in (sample.supervisor_kib, *sample.memory_kib))
    head = f"{sample.round:6d} {sample.messages:10d} {sample.elapsed_s:7.0f} s"
    return f"{head} {sample.segments:9d} {sample.tracking_kib / 1024:13.1f}  {memory}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Mixed load; fails if memory or the spool grows.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    messages = parser.parse_args().messages
    folder = Path(tempfile.mkdtemp(prefix="mailweir-soak-"))
    print(f"state in {folder}")
    soak = Soak(folder, messages)
    asyncio.run(soak.run())
    print("\n".join(table(soak.samples)))
    for problem in soak.problems:
        print(f"soak: {problem}", file=sys.stderr)
    if not soak.problems:
        print(f"{soak.samples[-1].messages} messages arrived, the spool is empty, memory is flat")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
