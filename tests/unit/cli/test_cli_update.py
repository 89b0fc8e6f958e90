"""`mailweir update ...` over a socket, as typed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.control.update_client import Updates
from appliance.update import activity
from appliance.update.activity import Activity
from appliance.update.record import Record
from tests.support.update_bench import UpdateBench

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(tmp_path: Path) -> UpdateBench:
    return UpdateBench(tmp_path)


@pytest.fixture
def typed(bench: UpdateBench, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Exit status, output and complaints of a command; the installer ends as `end` says once it was started."""

    def run(*words: str, end: Activity | None = None) -> tuple[int, str, str]:
        status = 0

        async def scenario(updates: Updates) -> None:
            nonlocal status
            command = asyncio.create_task(
                asyncio.to_thread(main, ["update", *words, "--socket", str(bench.socket)])
            )
            while end is not None and not bench.started and not command.done():
                await asyncio.sleep(0.01)
            if end is not None and bench.started:
                activity.write(bench.run, end)
            status = await command

        bench.talk(scenario)
        return status, *capsys.readouterr()

    return run


def test_status_is_a_table_and_the_reasons_below_it(bench: UpdateBench, typed: Typed) -> None:
    bench.keeper.remember(Record().holds("B", "2.0").failed("B", "2.0", 1.8e9, "message: stuck\x1b[31m"))
    status, said, _ = typed("status")
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert status == 0
    assert lines[:3] == ["SLOT RELEASE STATE TRIES", "A 1.0 good 0 running, starts next", "B 2.0 good 0"]
    assert lines[3].endswith("slot B, release 2.0: message: stuck\\u001b[31m")


def test_status_for_programs(typed: Typed) -> None:
    found = json.loads(typed("status", "--json")[1])
    assert found["booted"] == "A" and [it["name"] for it in found["slots"]] == ["A", "B"]


def test_an_update_is_followed_to_its_end(bench: UpdateBench, typed: Typed) -> None:
    path = bench.sticks.folder / "mailweir-2.0.raucb"
    status, said, _ = typed("install", str(path), end=Activity(activity.INSTALLED, 100, "release 2.0 is in slot B"))
    assert status == 0 and said.splitlines()[-1] == "100 %  installed: release 2.0 is in slot B"


def test_an_update_that_fails_is_status_1_and_says_why(bench: UpdateBench, typed: Typed) -> None:
    path = bench.sticks.folder / "mailweir-2.0.raucb"
    end = Activity(activity.FAILED, text="its signature is not one that this machine trusts")
    status, said, complaint = typed("install", str(path), "--upload", "--json", end=end)
    assert status == 1 and said == "" and "its signature is not one" in complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("http://x.test/a",), "https://"),
        (("/not/there",), "cannot be read"),
        (("/not/there", "--upload"), "No such file"),
    ],
)
def test_what_cannot_be_installed_is_one_sentence(typed: Typed, words: tuple[str, ...], complaint: str) -> None:
    status, said, told = typed("install", *words)
    assert status == 1 and said == "" and complaint in told and len(told.splitlines()) == 1


@pytest.mark.parametrize("words", [["install"], ["odd"], ["status", "extra"], ["install", "x", "--odd"]])
def test_wrong_usage_is_status_2(words: list[str]) -> None:
    assert main(["update", *words]) == 2


def test_the_way_back(typed: Typed) -> None:
    assert typed("rollback")[:2] == (0, "the next start takes slot B\n")
    assert json.loads(typed("rollback", "--json")[1]) == {"slot": "B"}
