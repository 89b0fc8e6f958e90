"""A real journald with the image's settings keeps on the disk what the configuration says, and forgets it when not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config.load import parse
from appliance.config.schema import Config
from appliance.daemon.journal_applier import JournalApplier
from tests.support.conditions import until
from tests.support.journald import MACHINE_ID, Journald, OnDisk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def keeping(keep_mib: int) -> Config:
    text = 'hostname = "gw.example.test"\n[[listen]]\nname = "in"\naddress = "0.0.0.0:25"\n'
    return parse(f"{text}[log]\nkeep_mib = {keep_mib}\n", "/nowhere/gw.toml")


class Box:
    def __init__(self, folder: Path) -> None:
        self.journald = Journald(folder)
        self.on_disk = OnDisk(self.journald)
        self.disk, self.memory = self.journald.disk, self.journald.memory

    def start(self) -> None:
        asyncio.run(self.journald.restart())

    def apply(self, old: int | None, new: int) -> None:
        paths = {"run_dir": self.journald.run_dir, "place": self.journald.place}
        applier = JournalApplier(self.journald, self.on_disk, lambda name, fields: None, **paths)
        asyncio.run(applier.apply(None if old is None else keeping(old), keeping(new)))

    def say(self, message: str, where: Path) -> None:
        """Ends when the message is in a file below `where`."""
        self.journald.say(message)
        until(lambda: message in self.read(where), message)

    def read(self, where: Path) -> list[str]:
        return self.journald.read(where / MACHINE_ID)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    try:
        box.start()
        yield box
    finally:
        box.journald.close()


def test_the_image_alone_keeps_nothing_on_the_disk(box: Box) -> None:
    box.apply(None, 0)
    box.say("in memory", box.memory)
    box.journald.run("journalctl --flush")
    box.say("still in memory", box.memory)
    assert list(box.disk.iterdir()) == []


def test_what_was_in_memory_goes_to_the_disk_and_the_rest_follows(box: Box) -> None:
    box.say("before", box.memory)
    box.apply(0, 16)
    assert "before" in box.read(box.disk)
    box.say("after", box.disk)
    assert box.read(box.memory) == []
    assert any("max 16.0M" in line for line in box.read(box.disk))


def test_turned_off_it_stays_readable_and_turned_on_it_goes_on_after_it(box: Box) -> None:
    box.apply(0, 16)
    box.say("kept", box.disk)
    box.apply(16, 0)
    box.say("in memory", box.memory)
    assert "kept" in box.read(box.disk) and "in memory" not in box.read(box.disk)
    box.apply(0, 16)
    box.say("kept again", box.disk)
    assert {"kept", "in memory", "kept again"} <= set(box.read(box.disk))


def test_another_size_takes_along_what_there_is(box: Box) -> None:
    box.apply(0, 16)
    box.say("with 16", box.disk)
    box.apply(16, 32)
    box.say("with 32", box.disk)
    assert "with 16" in box.read(box.disk)
    assert any("max 32.0M" in line for line in box.read(box.disk))


def test_the_disk_can_go_before_journald_does(box: Box) -> None:
    box.apply(0, 16)
    box.say("on the disk", box.disk)
    asyncio.run(box.on_disk.stop())
    box.say("when the disk goes", box.memory)
    assert box.journald.open_files(box.disk) == []


def test_the_start_of_a_box_goes_on_where_the_one_before_ended(box: Box) -> None:
    box.apply(0, 16)
    box.say("before the restart", box.disk)
    asyncio.run(box.on_disk.stop())
    asyncio.run(box.journald.stop())
    box.journald.forget()
    box.start()
    box.say("while it starts", box.memory)
    box.apply(None, 16)
    box.say("afterwards", box.disk)
    assert {"before the restart", "while it starts"} <= set(box.read(box.disk))
