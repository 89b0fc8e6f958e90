"""Wherever the power goes, the next start finds the old configuration or the new one, whole, with its secrets.

A life of the store is lived again and again, and cut before each of its file system operations in turn; of what was
not synced all survives, or nothing, or torn parts of it. Then the store is opened again, which is cut too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.config.store import revisions
from appliance.config.store.revision import State
from appliance.config.store.revisions import Store
from tests.support.simulated_files import ALL, NONE, PowerCut, SimulatedFiles, Survival, some

ROOT = Path("/store")
SEEDS = range(4)


def text(number: int, secret: str = "a.key") -> str:
    padding = "# a line of comment\n" * 40
    return f'version = 1\nhostname = "gw{number}.example.test"\n[tls]\nkey = "secrets/{secret}"\n{padding}'


def key(number: int) -> bytes:
    return f"key {number}\n".encode() * 50


class Life:
    """What was asked of a store, and what it must therefore be found with."""

    def __init__(self, files: SimulatedFiles) -> None:
        self.files = files
        self.sure: tuple[str, bytes] | None = None
        """Text and secret of the last confirmed commit whose confirmation returned; None: nothing is in force."""
        self.maybe: tuple[str, bytes] | None = None
        """Of the one whose confirmation was under way."""

    def live(self) -> None:
        store = Store.open(ROOT, self.files, clock=lambda: 1.0)
        self._confirmed(store, 1)
        self._confirmed(store, 2)
        number = store.add(text(3), "anna", "tried", {"a.key": key(3)})
        store.switch_to(number)
        store.roll_back("anna", "no")
        store.discard(store.add(text(4), "anna", "given up", {"a.key": key(4)}))
        self._confirmed(store, 5)
        store.switch_to(store.add(text(6), "anna", "cut off", {"a.key": key(6)}))

    def _confirmed(self, store: Store, number: int) -> None:
        added = store.add(text(number), "anna", "for a test", {"a.key": key(number)})
        store.switch_to(added)
        self.maybe = store.text(added), key(number)
        store.confirm("anna")
        self.sure = self.maybe


def in_force(store: Store) -> tuple[str, bytes] | None:
    if not store.current:
        return None
    secrets = store.secrets(store.current)
    assert len(secrets) == 1, "the secret is missing"
    return store.text(store.current), next(iter(secrets.values()))


def operations_of(live: Callable[[SimulatedFiles], object]) -> int:
    files = SimulatedFiles()
    files.operations_left = whole = 1 << 30
    live(files)
    return whole - files.operations_left


SURVIVALS: list[tuple[str, Callable[[], tuple[Survival, Survival, bool]]]] = [
    ("all", lambda: (ALL, ALL, False)),
    ("nothing unsynced", lambda: (NONE, NONE, False)),
    ("names without octets", lambda: (NONE, ALL, False)),
    ("names with zeros for octets", lambda: (NONE, ALL, True)),
    ("names with half of the octets", lambda: (lambda number: number // 2, ALL, False)),
    ("octets without names", lambda: (ALL, NONE, False)),
    *[
        (
            f"chance {seed}",
            lambda seed=seed: (some(random.Random(seed)), some(random.Random(seed + 99)), bool(seed % 2)),
        )
        for seed in SEEDS
    ],
]


@pytest.mark.parametrize("survival", [survival for _, survival in SURVIVALS], ids=[name for name, _ in SURVIVALS])
def test_no_point_is_a_bad_one_to_lose_the_power(
    survival: Callable[[], tuple[Survival, Survival, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "KEEP", 3)
    operations = operations_of(lambda files: Life(files).live())
    assert operations > 100
    for cut_at in range(operations + 1):
        life = Life(SimulatedFiles())
        life.files.operations_left = cut_at
        with suppress(PowerCut):
            life.live()
        octets, changes, zeros = survival()
        found = life.files.after_cut(octets, changes, zeros=zeros)
        store = Store.open(ROOT, found, clock=lambda: 2.0)
        assert in_force(store) in (life.sure, life.maybe), f"cut before operation {cut_at}"
        assert not store.unconfirmed
        # It is not only found, it works.
        added = store.add(text(7), "anna", "after the cut", {"a.key": key(7)})
        store.switch_to(added)
        store.confirm("anna")
        again = Store.open(ROOT, found.after_cut(NONE, NONE), clock=lambda: 3.0)
        assert in_force(again) == (again.text(added), key(7))


def test_a_start_that_is_cut_off_too_is_made_up_for_by_the_next() -> None:
    life = Life(SimulatedFiles())
    life.live()
    wanted = life.sure

    def start(files: SimulatedFiles) -> None:
        Store.open(ROOT, files, clock=lambda: 2.0)

    files = life.files.after_cut(NONE, NONE)
    files.operations_left = whole = 1 << 30
    start(files)
    for cut_at in range(whole - files.operations_left):
        for seed in range(8):
            files = life.files.after_cut(NONE, NONE)
            files.operations_left = cut_at
            with suppress(PowerCut):
                start(files)
            chance = random.Random(seed)
            store = Store.open(ROOT, files.after_cut(some(chance), some(chance)), clock=lambda: 3.0)
            assert in_force(store) == wanted
            assert not store.unconfirmed


def test_an_unconfirmed_commit_is_rolled_back_at_the_next_start_and_says_so() -> None:
    life = Life(SimulatedFiles())
    life.live()
    store = Store.open(ROOT, life.files.after_cut(ALL, ALL), clock=lambda: 2.0)
    assert in_force(store) == life.sure
    last = store.numbers[-1]
    assert store.state(last) is State.ROLLED_BACK
    outcome = store.outcome(last)
    assert outcome is not None and outcome.reason == "not confirmed before the restart"
    assert f"revision {last} was not confirmed" in store.recovered
    later = Store.open(ROOT, life.files.after_cut(ALL, ALL), clock=lambda: 3.0)
    assert later.state(last) is State.ROLLED_BACK, "it must not be committed again as if it were a proposal"


def test_a_roll_back_is_remembered_after_a_restart() -> None:
    files = SimulatedFiles()
    store = Store.open(ROOT, files, clock=lambda: 1.0)
    first = store.add(text(1), "anna", "", {"a.key": key(1)})
    store.switch_to(first)
    assert store.roll_back("anna", "no") == 0
    again = Store.open(ROOT, files.after_cut(NONE, NONE), clock=lambda: 2.0)
    assert (again.current, again.state(first)) == (0, State.ROLLED_BACK)


@pytest.mark.parametrize("errno", [28, 5, 30])
def test_a_disk_that_fails_at_any_point_leaves_the_old_or_the_new_after_a_restart(errno: int) -> None:
    for fails_at in range(operations_of(lambda files: Life(files).live())):
        life = Life(SimulatedFiles())
        life.files.operations_left = fails_at
        with suppress(PowerCut):
            life.live()
        before = life.files.after_cut(ALL, ALL)
        store = Store.open(ROOT, before, clock=lambda: 2.0)
        sure = in_force(store)
        before.fault = errno
        with pytest.raises(OSError):
            store.add(text(8), "anna", "the disk fails", {"a.key": key(8)})
        before.fault = 0
        assert in_force(Store.open(ROOT, before.after_cut(ALL, ALL), clock=lambda: 3.0)) == sure
        assert in_force(store) == sure
