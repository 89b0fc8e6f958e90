"""The gate's verdict, and what it makes of the slots: on trial, proven, and after a fall."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.update import record as records
from appliance.update.health import CLEAR_FAILURES, Look, Seen, Unwell, Verdict, conclude, examine, settle
from appliance.update.record import KEPT_FAILURES, Record
from appliance.update.slots import Booted, Slot, Slots

ON_TRIAL = Slots.parse({"ORDER": "B A", "B_NEW": "1", "B_TRY": "2"})
B = Booted("B", "2.0")
GOOD = Verdict((Seen("message", well=True, text="in and out"),))
BAD = Verdict((Seen("message", well=False, text="it did not come out"),))


class Clock:
    """Time passes by sleeping, and by what looks take."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def look(*ends: str | Unwell) -> tuple[Look, list[float]]:
    """A look that ends so, one after the other; the last for ever. And the deadlines that it was given."""
    asked: list[float] = []

    def run(deadline_s: float) -> str:
        end = ends[min(len(asked), len(ends) - 1)]
        asked.append(deadline_s)
        if isinstance(end, Unwell):
            raise end
        return end

    return Look("spool", run), asked


def examined(*looks: Look, within_s: float = 60.0) -> Verdict:
    clock = Clock()
    return examine(looks, within_s, monotonic=clock, sleep=clock.sleep)


def test_a_service_on_its_way_up_is_waited_for() -> None:
    slow, asked = look(Unwell("refused"), Unwell("refused"), "two workers")
    assert examined(slow).well and len(asked) == 3 and set(asked) == {1060.0}


def test_what_never_answers_is_unwell_when_the_time_is_up_and_nothing_is_looked_at_after_it() -> None:
    never, asked = look(Unwell("nobody answers"))
    after, after_asked = look("fine")
    verdict = examined(never, after, within_s=10)
    assert (verdict.well, verdict.reason, len(verdict.seen)) == (False, "spool: nobody answers", 1)
    assert len(asked) == 10 and not after_asked


def test_a_clear_answer_that_is_wrong_three_times_is_enough() -> None:
    wrong, asked = look(Unwell("refused with 550", clear=True))
    assert not examined(wrong).well and len(asked) == CLEAR_FAILURES


def test_no_looks_are_no_verdict() -> None:
    assert not Verdict(()).well and Verdict(()).reason == "the check did not come to an end"


def test_a_healthy_slot_is_good_and_gets_its_tries_back() -> None:
    done = conclude(ON_TRIAL, Record(), B, GOOD, 5.0)
    assert done.slots.slots["B"] == Slot("B", whole=True) and not done.restart and not done.record.failures


def test_an_unhealthy_slot_on_trial_starts_again_and_its_reason_is_kept() -> None:
    done = conclude(ON_TRIAL, Record(), B, BAD, 5.0)
    assert done.restart and done.slots == ON_TRIAL
    (failure,) = done.record.failures
    assert failure.reason == "try 2 of 3: message: it did not come out"
    assert (failure.slot, failure.version, failure.at_s) == ("B", "2.0", 5.0)


def test_an_unhealthy_slot_that_once_was_good_is_left_running() -> None:
    proven = Slots.parse({"ORDER": "B A", "B_TRY": "1"})
    done = conclude(proven, Record(), B, BAD, 5.0)
    assert not done.restart and done.slots == proven and len(done.record.failures) == 1


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Record(), "gave no sign of life"),
        (Record().failed("B", "", 1.0, "message: stuck"), "was not healthy"),
    ],
)
def test_the_slot_that_returns_says_what_became_of_the_other(told: Record, words: str) -> None:
    fallen = Slots.parse({**ON_TRIAL.values(), "B_TRY": "3"})
    slots, record = settle(fallen, told, Booted("A", "1.0"), 9.0)
    assert slots.order == ("A", "B") and not slots.slots["B"].whole
    assert words in record.failures[-1].reason and "back on slot A" in record.failures[-1].reason
    assert record.versions == {"A": "1.0"}


def test_a_whole_life_update_fall_and_next_update() -> None:
    slots, record = Slots.parse({"ORDER": "A B", "B_OK": "0"}), Record().holds("A", "1.0")
    slots, record = slots.installed("B"), record.holds("B", "2.0")
    for nth in "123":
        slots, record = settle(Slots.parse({**slots.values(), "B_TRY": nth}), record, B, 1.0)
        done = conclude(slots, record, B, BAD, 1.0)
        slots, record = done.slots, done.record
        assert done.restart
    slots, record = settle(slots, record, Booted("A", "1.0"), 2.0)
    done = conclude(slots, record, Booted("A", "1.0"), GOOD, 2.0)
    assert [it.reason.partition(":")[0] for it in done.record.failures] == [
        "try 1 of 3", "try 2 of 3", "try 3 of 3", "3 tries, and it was not healthy",
    ]  # fmt: skip
    slots = done.slots.installed("B")
    assert slots.wanted() == "B" and conclude(slots, done.record, Booted("B", "2.1"), GOOD, 3.0).slots.wanted() == "B"


def test_the_record_reads_back_and_forgets_the_oldest(tmp_path: Path) -> None:
    record = Record().holds("A", "1.0")
    for number in range(KEPT_FAILURES + 3):
        record = record.failed("B", "2.0", float(number), f"reason\n{number}\t" + "x" * 1000)
    path = tmp_path / "update" / "record.json"
    records.write(path, record)
    assert records.read(path) == record
    assert [it.at_s for it in record.failures] == [float(number) for number in range(3, KEPT_FAILURES + 3)]
    assert record.failures[0].reason.startswith("reason 3 x") and len(record.failures[0].reason) == 400


@pytest.mark.parametrize("octets", [b"", b"{}", b"[1]", b'{"versions": 1, "failures": []}', b"\xff"])
def test_a_record_that_cannot_be_read_is_an_empty_one(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(octets)
    assert records.read(path) == Record()
    assert records.read(tmp_path / "none") == Record()


def test_a_record_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    records.write(path, Record().holds("A", "1.0"))

    def fails(*_: object) -> None:
        raise OSError("the power went")

    replace: Callable[..., None] = fails
    monkeypatch.setattr(records.os, "replace", replace)
    with pytest.raises(OSError, match="power"):
        records.write(path, Record().holds("A", "2.0"))
    assert records.read(path).versions == {"A": "1.0"} and [it.name for it in tmp_path.iterdir()] == ["record.json"]
