"""The page for updates: what it shows, and what it asks of `sysd`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.console.menu import PAGES
from appliance.control.update_messages import FailureNote, SlotState, StickBundle, UpdateStatus
from tests.support.console import ConsoleBench

UPDATE = next(str(number) for number, page in enumerate(PAGES, 1) if page.title == "update of the box")
"""All lines before it are always shown."""


def status(other: str = "good", activity: str = "idle", percent: int = 0, text: str = "") -> UpdateStatus:
    return UpdateStatus(
        booted="A",
        version="1.0",
        slots=[
            SlotState(name="A", booted=True, wanted=True, state="good", tries=0, version="1.0"),
            SlotState(name="B", booted=False, wanted=False, state=other, tries=0, version="2.0"),
        ],
        failures=[FailureNote(slot="B", version="2.0", at_s=1.8e9, reason="try 3 of 3: message: it did not come out")],
        health="good",
        health_reason="",
        activity=activity,
        percent=percent,
        text=text,
    )


class NotingUpdates:
    """A `desk.Updates`."""

    def __init__(self, other: str = "good", end: str = "installed") -> None:
        self.other, self.end = other, end
        self.notes: list[str] = []
        self.bundles = [StickBundle(device="sdb1", name="mailweir-2.1.raucb", size_bytes=130 << 20)]

    def status(self) -> UpdateStatus:
        return status(self.other)

    def stick_bundles(self) -> list[StickBundle]:
        self.notes.append("look")
        return self.bundles if len(self.notes) > 1 else []

    def install_from_stick(self, device: str, name: str) -> None:
        self.notes.append(f"install {device} {name}")

    def followed(self) -> Iterator[UpdateStatus]:
        yield status(self.other, "installing", 40, "Copying image")
        yield status(self.other, self.end, 100, "the end of it")

    def roll_back(self) -> str:
        self.notes.append("roll back")
        return "B"


@pytest.fixture
def bench(tmp_path: Path) -> ConsoleBench:
    bench = ConsoleBench(tmp_path)
    bench.updates = NotingUpdates()
    return bench


def test_the_slots_and_the_reason_of_a_failure_are_shown(bench: ConsoleBench) -> None:
    text = " ".join(bench.type(UPDATE).split())
    for said in ("Slot A: release 1.0, good (running, starts next)", "Slot B: release 2.0, good", "Health: good",
                 "release 2.0: try 3 of 3: message: it did not come out"):  # fmt: skip
        assert said in text


def test_an_update_from_a_stick_that_is_plugged_in_meanwhile_is_followed_to_its_restart(bench: ConsoleBench) -> None:
    text = bench.type(UPDATE, "1", "y", "1", "y")
    assert "There is no stick with an update" in text and "mailweir-2.1.raucb (130.0 MiB, stick sdb1)" in text
    assert " 40 % installing: Copying image" in text and "100 % installed" in text
    assert bench.updates.notes == ["look", "look", "install sdb1 mailweir-2.1.raucb"]
    assert bench.machine.notes == ["reboot"]


def test_an_update_that_failed_restarts_nothing(bench: ConsoleBench) -> None:
    bench.updates = NotingUpdates(end="failed")
    text = bench.type(UPDATE, "1", "y", "1")
    assert "failed: the end of it" in text and "Restart with it" not in text and bench.machine.notes == []


def test_the_way_back_is_offered_where_there_is_one(bench: ConsoleBench) -> None:
    bench.type(UPDATE, "2", "y")
    assert bench.updates.notes == ["roll back"] and bench.machine.notes == ["reboot"]
    bench.updates = NotingUpdates(other="failed")
    assert "go back to the release" not in bench.type(UPDATE)


def test_a_machine_without_slots_has_no_such_line(bench: ConsoleBench) -> None:
    assert "update of the box" in bench.type()
    bench.updates = None
    assert "update of the box" not in bench.type()
