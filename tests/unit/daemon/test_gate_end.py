"""The end of the health gate's unit: what systemd says of it, and what is made of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.daemon.health import unfinished
from appliance.update.health import Seen, Verdict
from appliance.update.keeper import Keeper


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "grubenv", tmp_path / "cmdline", tmp_path / "record.json", tmp_path / "health.json")


@pytest.mark.parametrize("result", ["timeout", "signal", "exit-code", "oom-kill"])
def test_a_gate_that_was_ended_while_it_looked_is_unwell(keeper: Keeper, result: str) -> None:
    keeper.tell_health(None)
    verdict = unfinished(keeper, result, stopping=False)
    assert verdict is not None and not verdict.well and result in verdict.reason


@pytest.mark.parametrize("well", [True, False])
def test_a_gate_that_has_told_its_verdict_is_not_asked_again(keeper: Keeper, well: bool) -> None:
    keeper.tell_health(Verdict((Seen("message", well=well, text="x"),)))
    assert unfinished(keeper, "signal", stopping=False) is None


def test_a_machine_that_goes_down_meanwhile_is_no_fault_of_the_slot(keeper: Keeper) -> None:
    keeper.tell_health(None)
    assert unfinished(keeper, "signal", stopping=True) is None
