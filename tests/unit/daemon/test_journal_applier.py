"""The journal is kept on the disk as long as the configuration says so, and journald is disturbed only by a change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.config.load import parse
from appliance.config.schema import Config
from appliance.daemon import sysd
from appliance.daemon.journal_applier import FLUSHED, SETTINGS, JournalApplier, JournalNotKept
from tests.support.package import ROOT


def keeping(keep_mib: int) -> Config:
    text = 'hostname = "gw.example.test"\n[[listen]]\nname = "in"\naddress = "0.0.0.0:25"\n'
    return parse(f"{text}[log]\nkeep_mib = {keep_mib}\n", "/nowhere/gw.toml")


class Units:
    """journald and the unit that has it on the disk: notes what is asked, and makes and removes journald's mark."""

    def __init__(self, run_dir: Path) -> None:
        self.asked: list[str] = []
        self.fails_at = ""
        self.dies_at = ""
        self.mark = run_dir / FLUSHED
        self.mark.parent.mkdir(parents=True)


class Unit:
    def __init__(self, units: Units, name: str) -> None:
        self._units = units
        self._name = name

    async def restart(self) -> None:
        self._note("restart")
        if self._name == "on disk":
            self._units.mark.touch()

    async def stop(self) -> None:
        self._note("stop")
        self._units.mark.unlink(missing_ok=True)

    def _note(self, what: str) -> None:
        asked = f"{what} {self._name}"
        self._units.asked.append(asked)
        if asked == self._units.fails_at:
            raise OSError(f"{asked} failed")
        if asked == self._units.dies_at:
            raise KeyboardInterrupt


class Box:
    def __init__(self, folder: Path) -> None:
        self.run_dir, self.place, self.disk = folder / "run", folder / "journal", folder / "data"
        self.disk.mkdir()
        self.run_dir.mkdir()
        self.place.symlink_to(self.disk)
        self.units = Units(self.run_dir)
        self.told: list[tuple[str, dict[str, object]]] = []
        self.applier = JournalApplier(
            Unit(self.units, "journald"),
            Unit(self.units, "on disk"),
            lambda *event: self.told.append(event),
            run_dir=self.run_dir,
            place=self.place,
        )

    def apply(self, old: int | None, new: int) -> list[str]:
        """What journald was asked to do."""
        self.units.asked.clear()
        asyncio.run(self.applier.apply(None if old is None else keeping(old), keeping(new)))
        return list(self.units.asked)

    def undo(self, old: int | None, new: int) -> list[str]:
        self.units.asked.clear()
        asyncio.run(self.applier.undo(None if old is None else keeping(old), keeping(new)))
        return list(self.units.asked)

    @property
    def settings(self) -> str:
        path = self.run_dir / SETTINGS
        return path.read_text() if path.exists() else ""

    @property
    def is_as_delivered(self) -> bool:
        return not self.settings and not (self.run_dir / FLUSHED).exists()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


KEPT = "[Journal]\nStorage=persistent\nSystemMaxUse=64M\n"
ON, OFF = ["restart journald", "restart on disk"], ["stop on disk", "restart journald"]


def test_by_default_journald_is_left_alone(box: Box) -> None:
    assert box.apply(None, 0) == box.apply(0, 0) == []
    assert box.is_as_delivered and not box.told


def test_it_is_kept_from_a_commit_on_and_at_each_start(box: Box) -> None:
    assert box.apply(0, 64) == ON
    assert box.settings == KEPT
    assert box.apply(None, 64) == ON, "the start of a box, whose /run was emptied, or one after a commit that broke off"
    assert box.told == [("journal_set", {"keep_mib": 64})] * 2
    assert [path.name for path in (box.run_dir / SETTINGS).parent.iterdir()] == [SETTINGS.name]


def test_a_commit_of_something_else_asks_nothing_of_journald(box: Box) -> None:
    box.apply(0, 64)
    assert box.apply(64, 64) == []


def test_another_size_is_told_and_the_old_one_comes_back_with_a_roll_back(box: Box) -> None:
    box.apply(0, 64)
    assert box.apply(64, 128) == ON and "=128M" in box.settings
    assert box.undo(64, 128) == ON and box.settings == KEPT


def test_turned_off_it_is_in_memory_and_what_was_kept_stays(box: Box) -> None:
    box.apply(0, 64)
    (box.disk / "system.journal").write_bytes(b"LPKSHHRH")
    assert box.apply(64, 0) == OFF
    assert box.is_as_delivered
    assert (box.place / "system.journal").read_bytes() == b"LPKSHHRH"


@pytest.mark.parametrize("step", ON)
def test_a_journald_that_fails_is_the_commits_failure_and_is_undone(box: Box, step: str) -> None:
    box.units.fails_at = step
    with pytest.raises(OSError, match=f"{step} failed"):
        box.apply(0, 64)
    box.units.fails_at = ""
    assert box.undo(0, 64) == OFF
    assert box.is_as_delivered


def test_an_undo_of_what_never_began_asks_nothing_of_journald(box: Box) -> None:
    assert box.undo(0, 64) == box.undo(None, 64) == []


def test_a_start_after_a_change_that_broke_off_sets_what_is_in_force(box: Box) -> None:
    box.apply(0, 64)
    box.units.dies_at = "stop on disk"
    with pytest.raises(KeyboardInterrupt):
        box.apply(64, 0)
    box.units.dies_at = ""
    assert box.apply(None, 0) == OFF
    assert box.is_as_delivered
    assert box.apply(None, 0) == []


@pytest.mark.parametrize("what", ["nothing there", "a folder in memory", "a link to nowhere"])
def test_without_a_disk_it_is_refused_with_the_remedy_before_anything_is_done(box: Box, what: str) -> None:
    if what == "a link to nowhere":
        box.disk.rmdir()
    else:
        box.place.unlink()
    if what == "a folder in memory":
        box.place.mkdir()
    with pytest.raises(JournalNotKept, match="leads to no disk, so nothing can be kept; set log.keep_mib = 0"):
        box.apply(0, 64)
    assert box.is_as_delivered and box.units.asked == []
    assert box.apply(64, 0) == [], "and it can be turned off"


def test_the_settings_come_after_the_images_whatever_folder_they_are_in() -> None:
    images = [path.name for path in (ROOT / "buildroot-overlay/etc/systemd/journald.conf.d").iterdir()]
    assert images and all(name < SETTINGS.name for name in images)


def test_only_an_appliance_has_it_and_before_the_gateway(tmp_path: Path) -> None:
    def names(**more: bool) -> list[str]:
        options = sysd.Options(tmp_path / "store", tmp_path / "socket", **more)
        return [applier.name for applier in sysd._appliers(options, lambda name, fields: None)]

    assert names() == ["gateway"]
    assert names(journal=True) == ["journal", "gateway"]
