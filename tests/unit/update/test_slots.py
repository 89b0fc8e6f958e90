"""Slots as values: GRUB's environment read and written, and every step that Linux makes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.update import grubenv
from appliance.update.slots import NAMES, Booted, NoSuchSlot, Slot, Slots
from firmware.builder import grub

FRESH = {"ORDER": "A B", "A_OK": "1", "B_OK": "0", "A_TRY": "1", "B_TRY": "0", "A_NEW": "0", "B_NEW": "0"}
ENVIRONMENTS = st.fixed_dictionaries(
    {"ORDER": st.sampled_from(["A B", "B A"])},
    optional={f"{slot}_{word}": st.sampled_from("0123") for slot in NAMES for word in ("OK", "TRY", "NEW")},
)


@given(ENVIRONMENTS)
def test_what_is_read_and_written_again_is_the_same(values: dict[str, str]) -> None:
    slots = Slots.parse(values)
    assert Slots.parse(slots.values()) == slots
    assert grubenv.parse(grubenv.render(slots.values())) == slots.values()


def test_a_disk_as_it_is_delivered_has_one_good_slot() -> None:
    slots = Slots.parse(grub.FRESH)
    assert slots.wanted() == "A" and slots.slots["A"] == Slot("A", whole=True) and not slots.slots["B"].whole
    assert grubenv.parse(grub.environment(grub.FRESH)) == grub.FRESH


def test_an_update_is_wanted_and_on_trial_until_it_is_good() -> None:
    slots = Slots.parse(FRESH).installed("B")
    assert slots.values() == {
        "ORDER": "B A", "A_OK": "1", "A_TRY": "1", "A_NEW": "0", "B_OK": "1", "B_TRY": "0", "B_NEW": "1",
    }  # fmt: skip
    assert slots.good("B").slots["B"] == Slot("B", whole=True)
    assert slots.good("B").wanted() == "B"


def test_a_new_slot_that_was_passed_over_is_given_up_and_the_old_one_is_wanted() -> None:
    tried = Slots.parse({**Slots.parse(FRESH).installed("B").values(), "B_TRY": "3"})
    settled, passed = tried.settled("A")
    assert passed == ["B"] and settled.order == ("A", "B") and not settled.slots["B"].whole
    assert settled.wanted() == "A"


def test_a_proven_slot_that_was_passed_over_stays_to_be_returned_to() -> None:
    tried = Slots.parse({"ORDER": "B A", "B_TRY": "3"})
    settled, passed = tried.settled("A")
    assert passed == ["B"] and settled.order == ("A", "B") and settled.slots["B"].whole
    assert settled.returned_to("B").wanted() == "B"


def test_a_start_of_the_wanted_slot_settles_nothing() -> None:
    slots = Slots.parse({"ORDER": "B A", "B_TRY": "1", "B_NEW": "1"})
    assert slots.settled("B") == (slots, [])


def test_there_is_no_way_back_to_a_slot_that_never_worked() -> None:
    slots = Slots.parse(FRESH)
    with pytest.raises(NoSuchSlot, match="slot B does not hold"):
        slots.returned_to("B")
    with pytest.raises(NoSuchSlot):
        slots.installed("B").returned_to("B")


@pytest.mark.parametrize("name", ["C", "", "a", "A B"])
def test_a_slot_that_is_not_there_is_refused(name: str) -> None:
    slots = Slots.parse(FRESH)
    for step in (slots.good, slots.bad, slots.installed, slots.returned_to, slots.settled, slots.other):
        with pytest.raises(NoSuchSlot):
            step(name)


def test_tries_that_are_no_number_leave_none() -> None:
    assert Slots.parse({"A_TRY": "many", "B_TRY": "7"}).wanted() == ""


def test_the_kernels_command_line_says_which_slot_runs() -> None:
    line = "mailweir.slot=b rauc.slot=B mailweir.hash=00 mailweir.version=2026.11 panic=5 quiet"
    assert Booted.parse(line) == Booted("B", "2026.11")
    assert Booted.parse("root=/dev/sda1 quiet") is None
    assert Booted.parse("rauc.slot=external") is None


def test_the_environment_is_written_in_place_and_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(grubenv.render({"A_OK": "1", "other": "stays"}))
    before = path.stat().st_ino
    grubenv.write(path, {"A_OK": "0"})
    assert path.stat().st_ino == before and path.stat().st_size == grubenv.SIZE_BYTES
    assert grubenv.read(path) == {"A_OK": "0"}


@pytest.mark.parametrize("octets", [b"", bytes(1024), b"# GRUB Environment Block\nA=1\n", b"x" * 1024])
def test_a_lost_environment_is_an_empty_one(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(octets)
    assert grubenv.read(path) == {}
    with pytest.raises(grubenv.Lost):
        grubenv.parse(octets)


@pytest.mark.parametrize("values", [{"A": "x" * 1024}, {"A": "two\nlines"}, {"A B": "1"}, {"A": "back\\slash"}])
def test_what_cannot_stand_in_the_environment_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="environment"):
        grubenv.render(values)
