"""A spool on a simulated disk, driven by hand: no thread, no clock, no loop."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from appliance.config import schema
from appliance.core.address import parse_address
from appliance.core.envelope import Body, Envelope, Notify, Recipient
from appliance.core.errors import GatewayError
from appliance.spool.meta import Entry, EntryMeta
from appliance.spool.spool import Spool
from tests.support.simulated_disk import HandSyncer, SimulatedDisk

SEGMENT_BYTES = 256 << 10


class Answer:
    """What a `done` was told."""

    def __init__(self) -> None:
        self.calls: list[GatewayError | None] = []

    def __call__(self, error: GatewayError | None) -> None:
        self.calls.append(error)

    @property
    def durable(self) -> bool:
        return self.calls == [None]


def meta(entry_id: str, recipients: int = 1, **more: object) -> EntryMeta:
    envelope = Envelope(
        parse_address(b"sender@example.org"),
        [
            Recipient(parse_address(b"user%d@example.test" % n), Notify.FAILURE | Notify.DELAY, "rfc822;x@y.example")
            for n in range(recipients)
        ],
        Body.EIGHT_BIT,
        envid="QQ314159",
    )
    return EntryMeta(entry_id, envelope, 1_700_000_000.0, True, {"ip": "192.0.2.1"}, **more)  # type: ignore[arg-type]


class Timers:
    """`loop.call_later` by hand: what is due at once goes to the loop, the rest waits for `ring`."""

    def __init__(self, calls: list[Callable[[], None]]) -> None:
        self._calls = calls
        self.waiting: list[Timer] = []

    def __call__(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self, call)
        if delay_s <= 0:
            self._calls.append(call)
        else:
            self.waiting.append(timer)
        return timer

    def ring(self) -> None:
        self._calls += [timer.call for timer in self.waiting]
        self.waiting.clear()


class Timer:
    def __init__(self, timers: Timers, call: Callable[[], None]) -> None:
        self.call = call
        self._timers = timers

    def cancel(self) -> None:
        self._timers.waiting.remove(self)


class Bench:
    """One life of a spool; `cut_power` begins the next."""

    def __init__(
        self,
        disk: SimulatedDisk | None = None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        quota_bytes: int = 1 << 26,
        gathers: bool = False,
    ) -> None:
        """`gathers`: commits may wait for company, as they do on a loop; `timers` are rung by the test then."""
        self.disk = disk or SimulatedDisk()
        self.syncer = HandSyncer()
        self.now_s = 0.0
        self._config = schema.Spool(
            segment=schema.Size(segment_bytes), quota=schema.Size(quota_bytes), keep_free=schema.Size(0)
        )
        self._calls: list[Callable[[], None]] = []
        self.timers = Timers(self._calls)
        self.spool = Spool(
            Path("/nowhere"),
            self._config,
            loop_call_soon=self._calls.append,
            later=self.timers if gathers else None,
            disk=self.disk,
            syncer=self.syncer,
            clock=lambda: self.now_s,
        )
        self.recovered = self.spool.open()

    def run_loop(self) -> None:
        """What the loop would run now; jobs of the sync thread stay undone."""
        while self._calls:
            self._calls.pop(0)()

    def settle(self, *, background: bool = True) -> None:
        """Lets everything happen that is under way, the alarm included; the making and giving up of files by choice."""
        for _ in range(10_000):
            self.run_loop()
            if any(background or job.urgent for job in self.syncer.jobs):
                self.syncer.work_off(background=background)
            elif self.syncer.ring is not None:
                ring, self.syncer.ring = self.syncer.ring, None
                self.now_s += 0.05
                ring()
            else:
                return
        raise AssertionError("the spool never comes to rest")

    def settle_failing(self) -> None:
        """Lets one batch fail; the spool goes on trying, so there is no coming to rest."""
        self.run_loop()
        if self.syncer.ring is not None and not any(job.urgent for job in self.syncer.jobs):
            ring, self.syncer.ring = self.syncer.ring, None
            ring()
            self.run_loop()
        self.syncer.work_off()

    def put(self, entry_id: str, octets: bytes, recipients: int = 1, pieces: int = 1) -> tuple[Entry, Answer]:
        """Commits a message, without waiting."""
        draft = self.spool.begin(len(octets))
        step = max(1, -(-len(octets) // pieces))
        for start in range(0, len(octets), step):
            draft.write(memoryview(octets)[start : start + step])
        answer = Answer()
        return draft.commit(meta(entry_id, recipients), answer), answer

    def keep(self, entry_id: str, octets: bytes = b"Subject: x\r\n\r\nbody\r\n", recipients: int = 1) -> Entry:
        """Commits a message and waits until it is durable."""
        entry, answer = self.put(entry_id, octets, recipients)
        self.settle()
        assert answer.durable
        return entry

    def octets(self, entry_id: str) -> bytes:
        with self.spool.read(entry_id) as reading:
            return b"".join(reading.chunks())

    def files(self, suffix: str = ".seg") -> list[str]:
        return sorted(name for name in self.disk.files if name.endswith(suffix))

    def again(self, disk: SimulatedDisk) -> Bench:
        quota, segment = int(self._config.quota), int(self._config.segment)
        return Bench(disk, quota_bytes=quota, segment_bytes=segment)

    def cut_power(self, seed: int = 0) -> Bench:
        return self.again(self.disk.after_cut(random.Random(seed)))

    def ids(self) -> set[str]:
        return {entry.id for entry in self.recovered}
