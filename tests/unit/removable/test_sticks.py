from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from appliance.removable.sticks import NoStick, Sticks
from tests.support.console import PlainSticks

NAME = "gw-2.mailweir.tar"


@pytest.fixture
def plugged(tmp_path: Path) -> PlainSticks:
    return PlainSticks(tmp_path)


def test_what_was_written_is_listed_and_read_back(plugged: PlainSticks) -> None:
    folder, sticks = plugged.plug(), Sticks(plugged, plugged)

    async def scenario() -> None:
        assert await sticks.write("sda1", "gw-2", b"one") == NAME
        assert await sticks.write("sda1", "gw-2", b"three") == "gw-2-2.mailweir.tar"
        assert {file.name: file.size_bytes for file in await sticks.files("sda1")} == {
            NAME: 3, "gw-2-2.mailweir.tar": 5,
        }  # fmt: skip
        assert await sticks.read("sda1", NAME, 3) == b"one"

    asyncio.run(scenario())
    assert sorted(path.name for path in folder.iterdir()) == ["gw-2-2.mailweir.tar", NAME]
    assert not plugged.mounted


@pytest.mark.parametrize("name", ["../outside.mailweir.tar", "/etc/passwd", "", "a\nb.mailweir.tar", "missing", "pipe"])
def test_nothing_but_a_file_of_the_stick_is_read(plugged: PlainSticks, name: str) -> None:
    folder, sticks = plugged.plug(), Sticks(plugged, plugged)
    (folder.parent / "outside.mailweir.tar").write_text("secret")
    os.mkfifo(folder / "pipe")
    with pytest.raises(NoStick):
        asyncio.run(sticks.read("sda1", name, 100))
    assert not plugged.mounted


def test_links_are_neither_listed_nor_followed(plugged: PlainSticks) -> None:
    folder, sticks = plugged.plug(), Sticks(plugged, plugged)
    (folder / "link.mailweir.tar").symlink_to("/etc/hostname")
    (folder / "folder.mailweir.tar").mkdir()
    assert asyncio.run(sticks.files("sda1")) == []
    with pytest.raises(OSError):
        asyncio.run(sticks.read("sda1", "link.mailweir.tar", 100))


def test_a_file_that_is_too_long_is_refused_and_not_read_whole(plugged: PlainSticks) -> None:
    (plugged.plug() / NAME).write_bytes(b"x" * 101)
    with pytest.raises(NoStick, match="longer than"):
        asyncio.run(Sticks(plugged, plugged).read("sda1", NAME, 100))


@pytest.mark.parametrize("device", ["sda", "sdz1", "../sda1", ""])
def test_a_device_that_is_no_stick_is_not_mounted(plugged: PlainSticks, device: str) -> None:
    plugged.plug("sda1")
    with pytest.raises(NoStick, match="there is no stick"):
        asyncio.run(Sticks(plugged, plugged).read(device, NAME, 100))
    assert not plugged.mounted


def test_two_askers_take_turns(plugged: PlainSticks) -> None:
    plugged.plug("sda1")
    sticks = Sticks(plugged, plugged)

    async def scenario() -> None:
        await asyncio.gather(*(sticks.write("sda1", "gw", b"x") for _ in range(4)))
        assert len(await sticks.files("sda1")) == 4

    asyncio.run(scenario())


def test_what_cannot_be_unmounted_was_not_written(plugged: PlainSticks, monkeypatch: pytest.MonkeyPatch) -> None:
    plugged.plug("sda1")

    async def fails() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(plugged, "unmount", fails)
    with pytest.raises(OSError, match="Input/output"):
        asyncio.run(Sticks(plugged, plugged).write("sda1", "gw", b"x"))
