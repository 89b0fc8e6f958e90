"""`update.*` over a socket: who may, what is refused, uploads, downloads, sticks, and the way back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.control.access import Asker
from appliance.control.protocol import RequestRefused
from appliance.control.update_client import Updates
from appliance.update import grubenv, install
from appliance.update.incoming import NotTaken
from appliance.update.record import Record
from appliance.update.slots import Slots
from tests.support.update_bench import ROOT, WEB, UpdateBench


@pytest.fixture
def bench(tmp_path: Path) -> UpdateBench:
    return UpdateBench(tmp_path)


def test_the_status_tells_slots_health_and_failures(bench: UpdateBench) -> None:
    bench.boot(ORDER="B A", A_OK="1", B_OK="1", B_NEW="1", B_TRY="1")
    bench.keeper.remember(Record().holds("B", "2.0").failed("B", "1.9", 1.0, "old").failed("B", "1.9", 2.0, "new"))
    found = bench.ask("update.status")
    assert [(it.name, it.booted, it.wanted, it.state, it.version) for it in found.slots] == [
        ("A", True, False, "good", "1.0"),
        ("B", False, True, "on trial", "2.0"),
    ]
    assert [it.reason for it in found.failures] == ["new", "old"] and found.activity == "idle"


@pytest.mark.parametrize(
    ("values", "known", "state"),
    [
        ({"B_OK": "0"}, False, "empty"),
        ({"B_OK": "0"}, True, "failed"),
        ({"B_OK": "1", "B_TRY": "3"}, True, "failed"),
        ({"B_OK": "1", "B_TRY": "2"}, True, "good"),
    ],
)
def test_the_other_slots_state_in_words(bench: UpdateBench, values: dict[str, str], known: bool, state: str) -> None:
    bench.boot(ORDER="A B", **values)
    if known:
        bench.keeper.remember(Record().holds("B", "2.0"))
    assert bench.ask("update.status").slots[1].state == state


def test_a_machine_that_is_no_appliance_says_so(bench: UpdateBench) -> None:
    (bench.folder / "cmdline").write_text("quiet")
    for request in ("update.status", "update.roll_back"):
        assert "there is nothing to update" in bench.refusal(request)
    assert "there is nothing to update" in bench.refusal("update.install", path="/x")


def test_a_file_is_handed_to_the_installer_which_is_started(bench: UpdateBench) -> None:
    path = bench.sticks.folder / "mailweir-2.0.raucb"
    bench.ask("update.install", path=str(path), way_back=False, author="anna")
    assert bench.started == [install.Request(str(path), way_back=False)] and bench.now().state == "installing"
    assert bench.events[-1] == ("update_begun", {"author": "anna (root)", "from": str(path)})
    assert "an update is under way" in bench.refusal("update.install", path=str(path))
    assert "an update is under way" in bench.refusal("update.roll_back")


@pytest.mark.parametrize(
    ("asker", "args", "words"),
    [
        (ROOT, {}, "name one of"),
        (ROOT, {"path": "/x", "url": "https://x.test/"}, "name one of"),
        (ROOT, {"path": "/not/there"}, "cannot be read"),
        (ROOT, {"path": "/etc"}, "is no file"),
        (ROOT, {"url": "http://x.test/"}, "https://"),
        (ROOT, {"upload": "none"}, "no such upload"),
        (ROOT, {"odd": 1}, "wrong arguments"),
        (WEB, {"path": "/etc/hosts"}, "files below /run/mailweir only"),
        (WEB, {"path": "/run/mailweir/../../etc/hosts"}, "files below|cannot be read"),
        (WEB, {"stick": "sdb1", "name": "x.raucb"}, "may not use sticks"),
    ],
)
def test_what_cannot_be_installed_is_refused_with_a_sentence(
    bench: UpdateBench, asker: Asker, args: dict[str, Any], words: str
) -> None:
    assert re.search(words, bench.refusal("update.install", asker, **args))
    assert bench.started == [] and not bench.now().busy


def test_an_installer_that_does_not_start_is_told(bench: UpdateBench) -> None:
    bench.error = OSError(1, "no such unit")
    path = bench.sticks.folder / "mailweir-2.0.raucb"
    assert "no such unit" in bench.refusal("update.install", path=str(path))
    assert (bench.now().state, bench.now().text) == ("failed", "the installer did not start: no such unit")


def test_an_upload_comes_in_pieces_over_the_socket(bench: UpdateBench, tmp_path: Path) -> None:
    octets = bytes(range(256)) * 5000
    (tmp_path / "mine.raucb").write_bytes(octets)
    told: list[int] = []

    async def scenario(updates: Updates) -> None:
        await asyncio.to_thread(updates.install_upload, tmp_path / "mine.raucb", told.append)
        assert (bench.folder / "incoming").read_bytes() == octets
        bench.end()
        last = [it.activity for it in await asyncio.to_thread(lambda: list(updates.followed()))]
        assert last == ["installed"]

    bench.talk(scenario)
    assert bench.started == [install.Request(str(bench.folder / "incoming"), remove=True)]
    assert told[-1] == 100 and len(told) == 3


def test_an_upload_is_its_owners_and_gives_way_to_the_next(bench: UpdateBench) -> None:
    first = bench.ask("update.upload", size_bytes=4)["upload"]
    assert "no such upload" in bench.refusal("update.append", WEB, upload=first, offset=0, data="YWJjZA==")
    second = bench.ask("update.upload", WEB, size_bytes=4)["upload"]
    assert "no such upload" in bench.refusal("update.append", upload=first, offset=0, data="YWJjZA==")
    assert bench.ask("update.append", WEB, upload=second, offset=0, data="YWJjZA==") == {"size_bytes": 4}
    assert "at most 512 MiB" in bench.refusal("update.upload", size_bytes=1 << 40)


def test_half_an_upload_is_not_installed(bench: UpdateBench) -> None:
    upload = bench.ask("update.upload", size_bytes=8)["upload"]
    bench.ask("update.append", upload=upload, offset=0, data="YWJjZA==")
    assert "4 of 8 octets are missing" in bench.refusal("update.install", upload=upload)
    assert bench.started == []


def followed(bench: UpdateBench, state: str) -> Callable[[Updates], Awaitable[None]]:
    async def wait(updates: Updates) -> None:
        while bench.now().state != state:
            await asyncio.sleep(0.01)

    return wait


def test_a_download_is_installed_when_it_is_there(bench: UpdateBench) -> None:
    async def scenario(updates: Updates) -> None:
        await asyncio.to_thread(updates.install_url, "https://updates.example.test/x.raucb")
        await asyncio.wait_for(followed(bench, "installing")(updates), 10)

    bench.talk(scenario)
    assert bench.started == [install.Request(str(bench.folder / "incoming"), remove=True)]


def test_a_download_that_fails_says_why(bench: UpdateBench) -> None:
    def fails(url: str, path: Path, told: Callable[[int], None]) -> Path:
        raise NotTaken("the server said 404")

    async def scenario(updates: Updates) -> None:
        await asyncio.to_thread(updates.install_url, "https://updates.example.test/x.raucb")
        await asyncio.wait_for(followed(bench, "failed")(updates), 10)

    bench.fetched = fails
    bench.talk(scenario)
    assert bench.now().text == "the server said 404" and bench.started == []


def test_a_stick_stays_mounted_until_the_installer_is_done(bench: UpdateBench) -> None:
    async def scenario(updates: Updates) -> None:
        (found,) = await asyncio.to_thread(updates.stick_bundles)
        assert (found.device, found.name, found.size_bytes) == ("sdb1", "mailweir-2.0.raucb", 6)
        await asyncio.to_thread(updates.install_from_stick, "sdb1", found.name)
        while not bench.started:
            await asyncio.sleep(0.01)
        assert bench.sticks.mounts == 1
        with pytest.raises(RequestRefused, match="an update is under way"):
            await asyncio.to_thread(updates.stick_bundles)
        bench.end()
        # A mounted stick is not shown: whoever looks again waits until it is free.
        assert await asyncio.to_thread(updates.stick_bundles) == [found]
        assert bench.sticks.mounts == 0

    bench.talk(scenario)
    assert bench.started == [install.Request(str(bench.sticks.folder / "mailweir-2.0.raucb"))]


def test_a_file_that_is_not_on_the_stick_is_told(bench: UpdateBench) -> None:
    async def scenario(updates: Updates) -> None:
        await asyncio.to_thread(updates.install_from_stick, "sdb1", "../../etc/passwd")
        await asyncio.wait_for(followed(bench, "failed")(updates), 10)

    bench.talk(scenario)
    assert "no update '../../etc/passwd'" in bench.now().text and bench.started == []


def test_an_upload_under_way_when_sysd_ended_is_told_by_the_next(bench: UpdateBench) -> None:
    bench.ask("update.upload", size_bytes=8)
    bench.requests = bench.new()
    assert (bench.now().state, bench.now().text) == ("failed", "it was interrupted; begin again")


def test_the_next_start_can_be_sent_back_to_a_release_that_worked(bench: UpdateBench) -> None:
    assert bench.ask("update.roll_back", WEB) == {"slot": "B"}
    assert Slots.parse(grubenv.read(bench.folder / "grubenv")).order == ("B", "A")


def test_there_is_no_way_back_to_an_empty_slot(bench: UpdateBench) -> None:
    bench.boot(ORDER="A B", B_OK="0")
    assert "slot B does not hold a release that worked" in bench.refusal("update.roll_back")


@pytest.mark.parametrize(
    ("slot", "good", "words"),
    [("B", True, "only the slot that runs"), ("C", False, "there is no slot 'C'"), ("A", False, "no other slot")],
)
def test_marks_that_leave_nothing_to_start_are_refused(bench: UpdateBench, slot: str, good: bool, words: str) -> None:
    bench.boot(ORDER="A B", B_OK="0")
    assert words in bench.refusal("update.mark", slot=slot, good=good)


def test_a_slot_is_marked_by_hand(bench: UpdateBench) -> None:
    bench.ask("update.mark", slot="B", good=False, author="anna")
    assert not bench.keeper.slots().slots["B"].whole
    assert bench.events[-1] == ("slot_marked", {"author": "anna (root)", "slot": "B", "good": False})
