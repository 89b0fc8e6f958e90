from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from appliance.network import look
from appliance.network.look import Look
from tests.support.certificates import server_context
from tests.support.conditions import free_port
from tests.support.sink import Sink, hang_up, say


def probe(kind: str, target: str) -> dict[str, Any]:
    return asyncio.run(Look().probe(kind, target))


def steps(found: dict[str, Any]) -> dict[str, bool]:
    return {step["what"]: step["ok"] for step in found["steps"]}


def test_a_mail_server_with_tls_works_in_every_step() -> None:
    with Sink(tls=server_context("mail.example.test")) as sink:
        found = probe("smtp", f"127.0.0.1:{sink.port}")
    assert found["ok"]
    assert steps(found) == {"address": True, f"port {sink.port}": True, "banner": True, "EHLO": True, "STARTTLS": True}
    assert found["steps"][-1]["text"].startswith("TLSv1")


def test_a_mail_server_without_tls_works_and_is_told() -> None:
    with Sink() as sink:
        found = probe("smtp", f"127.0.0.1:{sink.port}")
    assert found["ok"] and steps(found)["STARTTLS"] is False


def test_nobody_at_the_port_is_told() -> None:
    port = free_port()
    found = probe("smtp", f"127.0.0.1:{port}")
    assert not found["ok"] and steps(found)[f"port {port}"] is False
    assert "refused" in found["steps"][-1]["text"]


def test_a_server_that_takes_no_mail_is_told_with_its_words() -> None:
    with Sink() as sink:
        sink.script["CONNECT"] = say("554 5.3.2 not today")
        found = probe("smtp", f"127.0.0.1:{sink.port}")
    assert not found["ok"] and found["steps"][-1]["text"] == "554 5.3.2 not today"


def test_a_server_that_hangs_up_is_told() -> None:
    with Sink() as sink:
        sink.script["EHLO"] = hang_up
        assert not probe("smtp", f"127.0.0.1:{sink.port}")["ok"]


def test_a_name_is_looked_up_and_one_that_is_none_is_told() -> None:
    assert probe("dns", "localhost")["ok"]
    found = probe("dns", "nowhere.invalid")
    assert not found["ok"] and "nowhere.invalid is not found" in found["steps"][0]["text"]


@pytest.mark.parametrize(("status", "ok"), [(0, True), (1, False)])
def test_a_ping_tells_what_ping_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, ok: bool) -> None:
    ping = tmp_path / "ping"
    ping.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*"\necho 3 packets\nexit {status}\n')
    ping.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = probe("ping", "192.0.2.1")
    assert found["ok"] is ok
    assert found["steps"][0]["text"].endswith("-- 192.0.2.1; 3 packets")


def test_busybox_pings_where_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_text('#!/bin/sh\necho "$*"\n')
    busybox.chmod(0o755)
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probe("ping", "192.0.2.1")["steps"][0]["text"] == "ping -q -c 3 -W 2 -w 6 -- 192.0.2.1"


def test_a_machine_without_ping_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="there is no ping"):
        probe("ping", "192.0.2.1")


def test_speed_and_duplex_are_told_where_they_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "_SYS_NET", tmp_path)
    for name, speed, duplex in (("eth0", "100\n", "half\n"), ("eth1", "-1\n", "unknown\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "speed").write_text(speed)
        (tmp_path / name / "duplex").write_text(duplex)
    found = {name: (look._speed_mbit(name), look._duplex(name)) for name in ("eth0", "eth1", "eth2")}
    assert found == {"eth0": (100, "half"), "eth1": (0, ""), "eth2": (0, "")}


@pytest.mark.parametrize("target", ["-f", "a b", "", "mail.example.test:x"])
def test_what_is_no_host_is_never_tried(target: str) -> None:
    with pytest.raises(OSError, match="neither name nor address"):
        probe("ping", target)
