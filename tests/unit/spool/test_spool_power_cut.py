"""Whatever was under way when the power went: what was acknowledged is there, what was removed is not.

Random operations run against a model on a disk that loses unsynced sectors and directory changes; power is cut at
random operations of the disk, several lives in a row.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random

import pytest

from appliance.core.errors import GatewayError
from appliance.spool import draft, journal
from appliance.spool.draft import Draft
from tests.support.simulated_disk import PowerCut
from tests.support.spool_fixture import Answer, Bench, meta

LIVES = int(os.environ.get("MAILWEIR_POWER_CUTS", "400"))


def octets_of(entry_id: str, size: int) -> bytes:
    return (hashlib.sha256(entry_id.encode()).digest() * (size // 32 + 1))[:size]


class Model:
    """What must, may and must not be there."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.bench = Bench(segment_bytes=32 << 10, quota_bytes=2 << 20)
        self.sizes: dict[str, int] = {}
        self.answers: dict[str, Answer] = {}
        self.kept: set[str] = set()
        """Acknowledged and never asked to be removed."""
        self.doubtful: set[str] = set()
        """Not acknowledged before a cut, or removed without an answer: may be there or not."""
        self.gone: set[str] = set()
        self.removals: dict[str, Answer] = {}
        self.attempts: dict[str, int] = {}
        """Lowest number of attempts that must be remembered."""
        self.updates: list[tuple[str, int, Answer]] = []
        self.drafts: list[Draft] = []
        self.count = 0

    def step(self) -> None:
        action = self.chance.choices(
            (self.put, self.remove, self.update, self.write_draft, self.commit_draft, self.settle, self.loop),
            (6, 5, 3, 3, 2, 2, 3),
        )[0]
        with contextlib.suppress(GatewayError):
            action()
        self.learn()

    def learn(self) -> None:
        """Takes the answers that have come."""
        for entry_id in [e for e, answer in self.answers.items() if answer.calls]:
            if self.answers.pop(entry_id).durable:
                self.kept.add(entry_id)
                self.attempts[entry_id] = 0
        for entry_id in [e for e, answer in self.removals.items() if answer.durable]:
            del self.removals[entry_id]
            self.doubtful.discard(entry_id)
            self.gone.add(entry_id)
        for entry_id, attempts, answer in self.updates:
            if answer.durable:
                self.attempts[entry_id] = max(attempts, self.attempts[entry_id])
        self.updates = [update for update in self.updates if not update[2].calls]

    def new_id(self, size: int) -> str:
        self.count += 1
        entry_id = f"m{self.count}"
        self.sizes[entry_id] = size
        return entry_id

    def put(self) -> None:
        size = self.chance.choice((0, 10, 500, 3000, 9000, 40_000))
        entry_id = self.new_id(size)
        writing = self.bench.spool.begin(size)
        writing.write(octets_of(entry_id, size))
        self.answers[entry_id] = answer = Answer()
        writing.commit(meta(entry_id), answer)

    def write_draft(self) -> None:
        if not self.drafts or self.chance.random() < 0.3:
            self.drafts.append(self.bench.spool.begin())
        self.chance.choice(self.drafts).write(b"d" * self.chance.randrange(6000))

    def commit_draft(self) -> None:
        if self.drafts:
            writing = self.drafts.pop(self.chance.randrange(len(self.drafts)))
            if self.chance.random() < 0.2:
                writing.abandon()
                return
            entry_id = self.new_id(-writing.size_bytes)
            self.answers[entry_id] = answer = Answer()
            writing.commit(meta(entry_id), answer)

    def remove(self) -> None:
        if self.kept:
            entry_id = self.chance.choice(sorted(self.kept))
            self.kept.discard(entry_id)
            self.doubtful.add(entry_id)
            answer = None
            if self.chance.random() < 0.5:
                answer = self.removals[entry_id] = Answer()
            self.bench.spool.remove(entry_id, answer)

    def update(self) -> None:
        if self.kept:
            entry_id = self.chance.choice(sorted(self.kept))
            state = self.bench.spool._entries[entry_id].recipients[0]
            state.attempts += 1
            answer = Answer()
            self.updates.append((entry_id, state.attempts, answer))
            self.bench.spool.update(entry_id, answer)

    def loop(self) -> None:
        self.bench.run_loop()
        if self.chance.random() < 0.5:
            self.bench.syncer.work_off()

    def settle(self) -> None:
        self.bench.settle()

    def live_until_the_power_goes(self) -> None:
        self.bench.disk.operations_left = self.chance.randrange(120)
        with contextlib.suppress(PowerCut):
            while True:
                self.step()
        # What a callback had learnt before the cut was learnt by the client too.
        self.learn()

    def begin_the_next_life(self) -> None:
        submitted = self.kept | self.doubtful | set(self.answers)
        self.bench = self.bench.cut_power(self.chance.randrange(1 << 30))
        found = self.bench.ids()
        assert self.kept <= found, f"lost: {self.kept - found}"
        assert not self.gone & found, f"came back: {self.gone & found}"
        assert found <= submitted, f"never sent: {found - submitted}"
        for entry in self.bench.recovered:
            size = self.sizes[entry.id]
            expected = octets_of(entry.id, size) if size > 0 else b"d" * -size
            assert self.bench.octets(entry.id) == expected
            assert entry.recipients[0].attempts >= self.attempts.get(entry.id, 0)
        # What was in doubt is now known, until the next removal.
        for entry in self.bench.recovered:
            self.kept.add(entry.id)
            self.attempts[entry.id] = entry.recipients[0].attempts
        self.gone |= submitted - found
        self.doubtful.clear()
        self.answers.clear()
        self.removals.clear()
        self.updates.clear()
        self.drafts.clear()


@pytest.mark.parametrize("seed", range(LIVES // 8))
def test_a_power_cut_loses_nothing_acknowledged_and_brings_nothing_removed_back(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "INLINE_BYTES", 2048)
    monkeypatch.setattr(journal, "_MIN_CHUNK_BYTES", 512)
    model = Model(seed)
    for _ in range(8):
        model.live_until_the_power_goes()
        model.begin_the_next_life()
    model.bench.settle()
    assert model.bench.ids() == set(model.bench.spool._entries)


def fill_empty_and_move(bench: Bench, stuck: bytes) -> None:
    """Two messages stay while many come and go, so that they are moved out of segment after segment."""
    bench.keep("stuck", stuck, recipients=2)
    entry = bench.keep("also stuck", stuck[:100])
    entry.recipients[0].attempts = 7
    bench.spool.update("also stuck")
    for n in range(14):
        bench.keep(f"m{n}", os.urandom(6000))
        bench.spool.remove(f"m{n}")
        bench.settle()


def test_no_point_in_the_moving_of_a_message_is_a_bad_one_to_lose_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "INLINE_BYTES", 1024)
    monkeypatch.setattr(journal, "_MIN_CHUNK_BYTES", 512)
    stuck = os.urandom(3000)
    bench = Bench(segment_bytes=32 << 10)
    bench.disk.operations_left = whole = 1 << 30
    fill_empty_and_move(bench, stuck)
    moved_at = bench.spool._entries["stuck"].commit_generations
    assert len(moved_at) > 1, "nothing was moved"
    chance = random.Random(1)
    for cut_at in range(whole - bench.disk.operations_left):
        bench = Bench(segment_bytes=32 << 10)
        bench.disk.operations_left = cut_at
        with contextlib.suppress(PowerCut):
            fill_empty_and_move(bench, stuck)
        known = bench.spool._entries
        for _ in range(4):
            after = bench.cut_power(chance.randrange(1 << 30))
            for entry_id, octets in (("stuck", stuck), ("also stuck", stuck[:100])):
                if entry_id in known and known[entry_id].durable:
                    assert after.octets(entry_id) == octets


def test_no_page_with_acknowledged_octets_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.settle()
    synced: dict[int, int] = {}
    plain_write, plain_sync = bench.disk.write, bench.disk.sync
    ends: dict[int, int] = {}

    def write(fd: int, buffers: list[bytes], offset: int) -> None:
        assert offset >= synced.get(fd, 0), "a page that holds synced records is written again"
        ends[fd] = max(ends.get(fd, 0), -(-(offset + sum(map(len, buffers))) // 4096) * 4096)
        plain_write(fd, buffers, offset)

    def sync(fd: int) -> None:
        plain_sync(fd)
        synced[fd] = ends.get(fd, 0)

    monkeypatch.setattr(bench.disk, "write", write)
    monkeypatch.setattr(bench.disk, "sync", sync)
    for n in range(30):
        bench.keep(f"m{n}", bytes(n * 100))
    assert max(synced.values()) >= 30 * 4096
