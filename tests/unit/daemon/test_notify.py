"""systemd hears that a role is ready, and that it is alive."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from appliance.daemon.notify import notify, watchdog_interval_s


@pytest.mark.parametrize("address", ["file", "abstract"])
def test_a_state_reaches_the_socket_that_systemd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    path = str(tmp_path / "notify") if address == "file" else f"@{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1")
        listener.settimeout(10)
        assert listener.recv(100) == b"READY=1"


def test_without_systemd_or_with_a_dead_one_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [("30000000", "", 10.0), ("30000000", "7", 10.0), ("30000000", "8", None), ("", "", None), ("x", "", None)],
)
def test_the_watchdog_is_shown_life_three_times_in_its_time(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_interval_s(7) == expected
