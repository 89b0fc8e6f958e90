"""A crash test as a whole: senders, a moody sink, a gateway between them that is killed again and again, and the books.

Kills come after random amounts of progress, not of time, so that a slow machine is tested as well as a fast one.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from tests.support.crash_gateway import Gateway
from tests.support.crash_ledger import Ledger, Stock
from tests.support.crash_load import HELD_PHRASE, Sender
from tests.support.crash_sink import DOWN, MOODS, UP, Sink

SENDERS = 24
KILLED_AFTER_STEPS = 150
KILLED_AFTER_STEPS_IN_A_LONG_RUN = 30
LONG_RUN_KILLS = 1_000
KILLS_BETWEEN_BREATHS = 200
"""Then the queue is emptied and the books are looked at, so that each start has no longer queue to recover."""
RELOADED_SHARE, NEWBORN_SHARE = 0.05, 0.15
"""Of kills: in the middle of a reload; of the worker that comes instead of the one killed."""
DRAINED_SHARE, STOPPED_SHARE, ORPHANED_SHARE = 0.3, 0.1, 0.1
"""Of the ends of a whole gateway: killed while it drains, not killed at all, and its supervisor killed alone."""
MOST_WORKERS = 3
STANDSTILL_S = 60.0
"""No progress at all for so long, whatever was killed: the test has failed."""
DRAIN_S = 120.0
_RETRY = '"300ms", "300ms", "300ms", "300ms", "300ms", "2s"'
_MORE = """
[[next_hop]]
name = "stuck"
servers = [{{ url = "smtp://127.0.0.1:{port}" }}]
tls = "none"
breaker_reset = "200ms"

[[domain]]
name = "stuck.test"
next_hop = "stuck"

# Who may relay may also send to several destinations at once.
[relay]
networks = ["127.0.0.0/8"]

[scan.patterns]
files = ["{patterns}"]

[[policy]]
name = "default"

[[policy.rule]]
name = "held"
action = "hold"
tag = "hold"
"""


class CrashRun:
    """One run; `report` afterwards."""

    def __init__(self, folder: Path, *, seed: int, delivery: str) -> None:
        self._chance = random.Random(seed)
        self.ledger = Ledger()
        self.sinks = [Sink(self.ledger, self._chance, lmtp=lmtp) for lmtp in (False, True)]
        self.stuck = Sink(self.ledger, self._chance, lmtp=False)
        """Down but for the breaths, so that its messages outlive the segments they were written to."""
        patterns = folder / "patterns.txt"
        patterns.write_bytes(b"phrase\t-\thold\t" + HELD_PHRASE + b"\n")
        self.gateway = Gateway(
            folder,
            smtp_port=self.sinks[0].port,
            lmtp_port=self.sinks[1].port,
            delivery=delivery,
            retry=_RETRY,
            queue='warn_after = "1s"',
            more=_MORE.format(port=self.stuck.port, patterns=patterns),
            tracking=True,
        )
        self.kills = 0
        self._going = asyncio.Event()
        """Cleared: senders pause, and the sinks stay up."""
        self.left: list[dict[str, Any]] = []
        """Of a run that did not drain, some of what was still queued."""
        self.seed = seed

    async def run(self, kills: int, *, whole: bool) -> None:
        """Kills `kills` times, a worker or the `whole` group, then waits until nobody is owed anything.

        Raises:
            TimeoutError: somebody still is, and `ledger.missing` says what of; or nothing moved any more.
        """
        chance, gateway, ledger = self._chance, self.gateway, self.ledger
        async with AsyncExitStack() as stack:
            stack.callback(gateway.end)
            for sink in (*self.sinks, self.stuck):
                stack.callback(sink.close)
            for sink in self.sinks:
                sink.feel(UP)
            await gateway.start()
            stock = Stock(chance)
            self._going.set()
            senders = [Sender(gateway.port, ledger, stock, chance, self._going) for _ in range(SENDERS)]
            tasks = [asyncio.create_task(sender.run()) for sender in senders]
            tasks += [asyncio.create_task(self._swing(sink)) for sink in self.sinks]
            stack.callback(lambda: [task.cancel() for task in tasks])
            killer = asyncio.create_task(self._kill(kills, whole=whole))
            done, _ = await asyncio.wait([killer, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a defect of the test itself
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._drain()
            assert await gateway.stop() == 0, gateway.errors()

    async def _kill(self, kills: int, *, whole: bool) -> None:
        most = KILLED_AFTER_STEPS if kills < LONG_RUN_KILLS else KILLED_AFTER_STEPS_IN_A_LONG_RUN
        breaths = 0
        while self.kills < kills:
            async with asyncio.timeout(STANDSTILL_S):
                await self.ledger.steps(self._chance.randrange(1, most))
            # Anywhere between two steps.
            await asyncio.sleep(self._chance.random() * 0.01)
            if whole:
                await self._end_and_start()
            else:
                await self._kill_worker()
            if self.kills // KILLS_BETWEEN_BREATHS > breaths:
                breaths += 1
                await self._breathe()
        await self._be_outlived()

    async def _be_outlived(self) -> None:
        """Returns when the last workers have taken a message: of a killed one, tracking may not know the last second.

        Each sender can have read one more answer of a worker that is dead.
        """
        wanted = self.ledger.counts["acknowledged"] + SENDERS + 1
        async with asyncio.timeout(STANDSTILL_S):
            while self.ledger.counts["acknowledged"] < wanted:
                await self.ledger.steps(1)

    async def _kill_worker(self) -> None:
        chance, gateway = self._chance, self.gateway
        if chance.random() < RELOADED_SHARE:
            gateway.reload()
            await asyncio.sleep(chance.random() * 0.1)
        pids = gateway.worker_pids()
        self.kills += gateway.kill_worker(chance)
        if pids and (chance.random() < NEWBORN_SHARE or not self.ledger.counts["killed newborn"]):
            async with asyncio.timeout(STANDSTILL_S):
                await gateway.kill_newborn(pids, chance)
            self.kills += 1
            self.ledger.counts["killed newborn"] += 1

    async def _end_and_start(self) -> None:
        """With more or fewer workers than before, so that spools are left over."""
        chance, gateway = self._chance, self.gateway
        end = chance.random()
        if end < STOPPED_SHARE:
            assert await gateway.stop() == 0, gateway.errors()
            self.ledger.counts["stopped"] += 1
        elif end < STOPPED_SHARE + ORPHANED_SHARE:
            async with asyncio.timeout(STANDSTILL_S):
                await gateway.kill_supervisor()
            self.ledger.counts["orphaned"] += 1
            self.kills += 1
        else:
            if end < STOPPED_SHARE + ORPHANED_SHARE + DRAINED_SHARE:
                gateway.drain()
                await asyncio.sleep(chance.random() * 0.3)
                self.ledger.counts["killed draining"] += 1
            gateway.kill_all()
            self.kills += 1
        gateway.workers = chance.randint(1, MOST_WORKERS)
        self.ledger.counts["leftover spools"] += len(gateway.leftovers())
        await gateway.start()

    async def _breathe(self) -> None:
        self._going.clear()
        await self._drain()
        self.stuck.feel(DOWN)
        self._going.set()

    async def _swing(self, sink: Sink) -> None:
        while True:
            await self._going.wait()
            sink.feel(self._chance.choice(MOODS))
            await self.ledger.steps(self._chance.randrange(20, 600))

    async def _drain(self) -> None:
        for sink in (*self.sinks, self.stuck):
            sink.feel(UP)
        try:
            async with asyncio.timeout(DRAIN_S):
                while self.ledger.open or await self.gateway.queued() or self.gateway.leftovers():
                    self.ledger.counts["released"] += await self.gateway.release_held()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await self.ledger.steps(100)
        except TimeoutError:
            self.left = await self.gateway.some_queued()
            raise

    def report(self) -> str:
        facts = {"kills": self.kills, "messages": self.ledger.sent, "seed": self.seed}
        facts |= dict(sorted(self.ledger.counts.items()))
        facts |= dict(sorted(self.gateway.events().items()))
        return ", ".join(f"{name} {count}" for name, count in facts.items())
