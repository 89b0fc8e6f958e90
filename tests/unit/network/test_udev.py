"""udev's work is waited for, within bounds: on a busy machine the drivers of ports come late."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from appliance.network import look
from appliance.network.udev import settle
from tests.support.package import ROOT


def settled(queue: Path, works_s: float, within_s: float = 10.0) -> tuple[bool, float]:
    """For udev that works so long: what is told, and after how many seconds."""
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        if now_s >= works_s:
            queue.unlink(missing_ok=True)

    return asyncio.run(settle(within_s, queue, sleep)), now_s


def test_where_udev_has_no_work_nothing_is_waited_for(tmp_path: Path) -> None:
    assert settled(tmp_path / "queue", 0.0) == (True, 0.0)


def test_it_goes_on_as_soon_as_udev_is_done(tmp_path: Path) -> None:
    (tmp_path / "queue").touch()
    done, after_s = settled(tmp_path / "queue", 3.0)
    assert done and 3.0 <= after_s < 3.5


def test_udev_that_never_ends_is_not_waited_for_longer_than_was_said(tmp_path: Path) -> None:
    (tmp_path / "queue").touch()
    done, after_s = settled(tmp_path / "queue", 1e9)
    assert not done and after_s == pytest.approx(10.0)


def test_the_ports_are_looked_at_when_udev_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    async def noted(within_s: float) -> bool:
        order.append("udev")
        return True

    def ports() -> list[dict[str, Any]]:
        order.append("ports")
        return []

    monkeypatch.setattr(look, "settle", noted)
    monkeypatch.setattr(look, "_ports", ports)
    asyncio.run(look.Look().ports())
    assert order == ["udev", "ports"]


def test_who_looks_at_the_ports_keeps_no_more_of_pyroute2_than_who_sets_them_up() -> None:
    program = (
        "import asyncio, sys; from appliance.network.look import Look; import appliance.network.apply; "
        "before = {*sys.modules}; asyncio.run(Look().ports()); "
        "print(*[name for name in {*sys.modules} - before if name.startswith('pyroute2')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
