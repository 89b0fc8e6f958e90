"""Sticks and shells by systemd's units: what `systemctl` is told, and that the units are there and fit."""

from __future__ import annotations

import asyncio
import configparser
import os
from pathlib import Path

import pytest

from appliance.daemon.systemd import SystemdMounts, SystemdShells
from tests.support.package import ROOT

UNITS = ROOT / "buildroot-overlay/usr/lib/systemd/system"


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a `systemctl` was called with that fails for units named broken."""
    tools = tmp_path / "bin"
    tools.mkdir()
    fails = 'case "$*" in *broken*) echo "no such unit" >&2; exit 1;; esac'
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/notes\n{fails}\n')
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tmp_path / "notes"


def test_a_stick_is_linked_and_its_unit_started_and_stopped(notes: Path, tmp_path: Path) -> None:
    mounts = SystemdMounts(tmp_path / "stick")

    async def scenario() -> None:
        for writable, device in ((True, "sda1"), (False, "sdb")):
            place = await mounts.mount(device, writable=writable)
            assert place == tmp_path / "stick" / ("write" if writable else "read")
            assert os.readlink(tmp_path / "stick/device") == f"/dev/{device}"
            await mounts.unmount()

    asyncio.run(scenario())
    assert notes.read_text().splitlines() == [
        "start run-mailweir-stick-write.mount", "stop run-mailweir-stick-write.mount",
        "start run-mailweir-stick-read.mount", "stop run-mailweir-stick-read.mount",
    ]  # fmt: skip


def test_what_systemd_says_against_it_is_the_reason(notes: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such unit"):
        asyncio.run(SystemdMounts(tmp_path / "stick", "broken-{}.mount").mount("sda1", writable=False))


def test_a_shell_takes_the_line_from_the_menu_and_gives_it_back(notes: Path) -> None:
    asyncio.run(SystemdShells().open("ttyS0"))
    assert notes.read_text().split() == ["--no-block", "start", "mailweir-shell@ttyS0.service"]
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read_string((UNITS / "mailweir-shell@.service").read_text())
    menu = "mailweir-console@%i.service"
    assert (UNITS / "mailweir-console@.service").exists()
    assert [unit["Unit"][key] for key in ("Conflicts", "After", "OnSuccess", "OnFailure")] == [menu] * 4
    program = ROOT / "buildroot-overlay/usr/lib/mailweir/shell"
    assert f"--login-program /{program.relative_to(ROOT / 'buildroot-overlay')}" in unit["Service"]["ExecStart"]
    assert os.access(program, os.X_OK)
