"""The queue hands out what is due, once, and lets nothing go that is not settled."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config import schema
from appliance.core.address import NULL_SENDER
from appliance.queue.store import Deferral, QueueStore
from appliance.spool.meta import Entry, Phase
from tests.support.spool_fixture import Bench

START_S = 1_700_000_000.0  # when the fixture's messages are received
BUSY = "450 4.2.0 Mailbox busy"


class House:
    """A queue over a spool on a simulated disk, with a clock of its own."""

    def __init__(self, bench: Bench | None = None, **more: object) -> None:
        self.bench = bench or Bench()
        self.now_s = START_S
        self.woken = 0
        self.store = QueueStore(
            self.bench.spool,
            schema.Queue(**more),  # type: ignore[arg-type]
            clock=lambda: self.now_s,
            chance=lambda: 0.5,
            wake=self.wake,
        )
        self.store.adopt(self.bench.recovered)

    def wake(self) -> None:
        self.woken += 1

    def receive(self, entry_id: str = "a", recipients: int = 1) -> Entry:
        entry = self.bench.keep(entry_id, recipients=recipients)
        self.store.add(entry)
        return entry

    def due(self, limit: int = 100) -> list[tuple[str, list[int]]]:
        return [(entry.id, indices) for entry, indices in self.store.due(self.now_s, limit)]

    def after_power_cut(self) -> House:
        self.bench.settle()
        return House(self.bench.cut_power())


def test_a_new_entry_is_due_at_once_and_wakes_the_runner() -> None:
    house = House()
    before = house.woken
    house.receive(recipients=2)
    assert house.woken > before
    assert house.due() == [("a", [0, 1])]


def test_what_is_out_for_delivery_is_not_handed_out_again() -> None:
    house = House()
    house.receive()
    house.due()
    house.now_s += 10 * 86_400
    assert house.due() == [] and house.store.next_due_s() is None


def test_a_deferred_recipient_comes_back_by_the_schedule() -> None:
    house = House()
    entry = house.receive()
    house.due()
    assert house.store.deferred(entry, 0, BUSY, house.now_s) is Deferral.LATER
    assert house.store.next_due_s() == START_S + 60
    house.now_s += 59
    assert house.due() == []
    house.now_s += 1
    assert house.due() == [("a", [0])]
    house.store.deferred(entry, 0, BUSY, house.now_s)
    assert house.store.next_due_s() == START_S + 60 + 300


def test_only_the_recipients_that_are_due_are_handed_out() -> None:
    house = House()
    entry = house.receive(recipients=3)
    house.due()
    house.store.delivered(entry, 0, "250 ok")
    house.store.deferred(entry, 1, BUSY, house.now_s)
    house.store.give_back(entry, [2], house.now_s + 5)
    house.now_s += 5
    assert house.due() == [("a", [2])]
    assert entry.recipients[2].attempts == 0
    house.now_s += 55
    assert house.due() == [("a", [1])]


def test_an_entry_leaves_when_all_are_final_and_reported() -> None:
    house = House()
    entry = house.receive(recipients=2)
    house.due()
    house.store.delivered(entry, 0, "250 ok")
    assert not house.store.finish(entry)
    house.store.failed(entry, 1, "550 5.1.1 no such user")
    assert house.store.unreported(entry) == [0, 1]
    assert not house.store.finish(entry)
    house.store.reported(entry, [0, 1])
    assert house.store.finish(entry)
    assert len(house.store) == 0 and house.after_power_cut().store.listing() == []


def test_a_failure_whose_dsn_was_lost_in_a_crash_is_handed_out_again() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.failed(entry, 0, "550 5.1.1 no such user")
    after = house.after_power_cut()
    assert after.due() == [("a", [])]
    again = after.store.entry("a")
    assert after.store.unreported(again) == [0]
    assert again.recipients[0].reply == "550 5.1.1 no such user"


def test_an_entry_whose_dsn_could_not_be_made_is_handed_out_a_minute_later() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.failed(entry, 0, "550 no")
    assert house.due() == []
    for _ in range(3):
        house.now_s += 60
        assert house.due() == [("a", [])]
        assert house.due() == []


def test_attempts_and_next_try_survive_a_crash() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.deferred(entry, 0, BUSY, house.now_s)
    after = house.after_power_cut()
    assert after.due() == [] and after.store.next_due_s() == START_S + 60


def test_what_was_out_for_delivery_at_a_crash_is_due_again() -> None:
    house = House()
    house.receive()
    house.due()
    assert house.after_power_cut().due() == [("a", [0])]


def test_a_recipient_whose_life_is_over_fails() -> None:
    house = House(lifetime=schema.Duration(100))
    entry = house.receive()
    house.due()
    house.store.deferred(entry, 0, BUSY, house.now_s)
    house.now_s += 100
    house.due()
    assert house.store.deferred(entry, 0, BUSY, house.now_s) is Deferral.EXPIRED
    state = entry.recipients[0]
    assert (state.phase, state.attempts, state.reply) == (Phase.FAILED, 2, BUSY)
    assert house.store.unreported(entry) == [0]


def test_a_bounce_is_given_up_earlier() -> None:
    house = House(bounce_lifetime=schema.Duration(60), retry=[schema.Duration(60)])
    entry = house.receive()
    entry.meta.envelope.sender = NULL_SENDER
    house.now_s += 60
    house.due()
    assert house.store.deferred(entry, 0, BUSY, house.now_s) is Deferral.EXPIRED


def test_a_delay_is_told_once() -> None:
    house = House()
    entry = house.receive()
    house.now_s += 4 * 3600
    house.due()
    assert house.store.deferred(entry, 0, BUSY, house.now_s) is Deferral.WARN
    house.store.warned(entry, [0])
    house.now_s += 3600
    house.due()
    assert house.store.deferred(entry, 0, BUSY, house.now_s) is Deferral.LATER
    assert house.after_power_cut().store.entry("a").recipients[0].warned


def test_a_held_entry_is_not_due_until_released() -> None:
    house = House()
    house.receive()
    house.store.hold("a", "asked for")
    house.now_s += 86_400
    assert house.due() == [] and house.store.next_due_s() is None
    after = house.after_power_cut()
    after.now_s = house.now_s
    assert after.due() == [] and after.store.describe("a")["hold_reason"] == "asked for"
    before = after.woken
    after.store.release("a")
    assert after.woken > before and after.due() == [("a", [0])]


def test_a_hold_during_a_delivery_stops_the_next_one_only() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.hold("a", "wait")
    house.store.deferred(entry, 0, BUSY, house.now_s)
    house.now_s += 86_400
    assert house.due() == []
    house.store.release("a")
    assert house.due() == [("a", [0])]


def test_retry_now_makes_it_due() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.deferred(entry, 0, BUSY, house.now_s)
    assert house.due() == []
    house.store.retry_now("a")
    assert house.due() == [("a", [0])]


def test_a_deleted_entry_is_gone_and_its_delivery_is_ignored() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.delete("a")
    house.store.delivered(entry, 0, "250 ok")
    assert house.store.deferred(entry, 0, BUSY, house.now_s) is Deferral.LATER
    house.store.give_back(entry, [0], house.now_s)
    house.store.reported(entry, [0])
    assert house.store.finish(entry)
    house.now_s += 86_400
    assert house.due() == [] and house.after_power_cut().store.listing() == []


@pytest.mark.parametrize("call", ["release", "retry_now", "delete", "describe", "entry"])
def test_an_unknown_id_is_a_key_error(call: str) -> None:
    with pytest.raises(KeyError):
        getattr(House().store, call)("nobody")


def test_the_listing_is_json_and_oldest_first() -> None:
    house = House()
    young = house.receive("young")
    young.meta.received_at_s += 10
    house.receive("old", recipients=2)
    listing = json.loads(json.dumps(house.store.listing()))
    assert [row["id"] for row in listing] == ["old", "young"]
    assert listing[0]["recipients"][1]["address"] == "user1@example.test"
    assert listing[0]["state"] == "waiting"


def test_a_clock_that_goes_back_by_years_does_not_put_mail_off_by_years() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.deferred(entry, 0, BUSY, house.now_s)
    house.now_s -= 50 * 365 * 86_400
    assert house.due() == []
    next_s = house.store.next_due_s()
    assert next_s is not None and next_s <= house.now_s + 5 * 3600


def test_a_clock_that_was_wrong_before_a_restart_does_not_either() -> None:
    house = House()
    entry = house.receive()
    house.due()
    house.store.deferred(entry, 0, BUSY, house.now_s + 50 * 365 * 86_400)
    next_s = house.after_power_cut().store.next_due_s()
    assert next_s is not None and next_s <= START_S + 5 * 3600


def test_at_most_so_many_entries_as_asked_for_are_handed_out_and_none_is_forgotten() -> None:
    house = House()
    for n in range(7):
        house.receive(f"m{n}")
    seen = [entry_id for _ in range(4) for entry_id, _ in house.due(limit=2)]
    assert sorted(seen) == [f"m{n}" for n in range(7)]


def test_the_heap_does_not_grow_with_the_retries() -> None:
    house = House()
    house.receive()
    for _ in range(1000):
        house.store.retry_now("a")
        house.store.hold("a", "x")
        house.store.release("a")
    assert len(house.store._heap) < 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("rdDfgHRnx"), st.integers(0, 3), st.integers(0, 2), st.integers(0, 5000))))
def test_every_waiting_recipient_is_handed_out_in_time(operations: list[tuple[str, int, int, int]]) -> None:
    house = House()
    out: dict[str, set[int]] = {}
    for operation, which, index, wait_s in operations:
        entry_id = f"m{which}"
        entry = house.store._queued[entry_id].entry if entry_id in house.store._queued else None
        if operation == "r" and entry is None and entry_id not in out:
            house.receive(entry_id, recipients=3)
            out[entry_id] = set()
        elif operation == "n":
            house.now_s += wait_s
            for taken, indices in house.due():
                assert not out[taken] & set(indices), "handed out twice"
                out[taken] |= set(indices)
        elif entry is not None and operation == "H":
            house.store.hold(entry_id, "")
        elif entry is not None and operation == "R":
            house.store.release(entry_id)
        elif entry is not None and operation == "x":
            house.store.retry_now(entry_id)
        elif entry is not None and index in out[entry_id]:
            out[entry_id].discard(index)
            if operation == "d":
                house.store.delivered(entry, index, "250")
            elif operation == "D":
                house.store.deferred(entry, index, BUSY, house.now_s)
            elif operation == "f":
                house.store.failed(entry, index, "550")
            else:
                house.store.give_back(entry, [index], house.now_s + wait_s)
    expected = {}
    for entry_id, queued in house.store._queued.items():
        states = queued.entry.recipients
        waiting = {i for i, state in enumerate(states) if state.phase is Phase.WAITING} - out[entry_id]
        if not queued.entry.meta.held and (waiting or all(state.phase is not Phase.WAITING for state in states)):
            expected[entry_id] = waiting
    house.now_s += 86_400
    assert {entry_id: set(indices) for entry_id, indices in house.due()} == expected
