"""What a release leaves behind, the next one takes up; what a later one left, an earlier one does not write over."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.conditions import free_port, until
from tests.support.gateway import Gateway
from tests.support.left_behind import DATA, FOR_EVER, NAMES, WAITING, left_by, unpack
from tests.support.package import ROOT, package_environment
from tests.support.sink import Sink
from tests.support.sysd_of_console import SysdOfConsole

RELEASES = sorted(path.name.removeprefix("left-by-").removesuffix(".tar.xz") for path in DATA.glob("left-by-*.tar.xz"))


def test_there_is_a_release_to_be_read() -> None:
    assert "0.1.0" in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_queue_and_records_of_an_earlier_release_are_taken_up(release: str, tmp_path: Path) -> None:
    state, _ = unpack(left_by(release), tmp_path)
    sink = Sink(port=free_port())
    gateway = Gateway([sink.url], FOR_EVER)
    shutil.copytree(state, gateway.state)
    with gateway:
        (entry,) = gateway.queue()
        assert [it["action"] for it in gateway.cli("trace", "--since", "3650d")] == ["accept", "accept"]
        sink.start()
        try:
            sink.wait_for(1)
            until(lambda: gateway.queue() == [], f"{entry['id']} to leave")
        finally:
            sink.stop()
    assert sink.taken[0].body == WAITING


@pytest.mark.parametrize("release", RELEASES)
def test_the_configurations_history_of_an_earlier_release_is_taken_up(release: str, tmp_path: Path) -> None:
    _, store = unpack(left_by(release), tmp_path / "left")
    sysd = SysdOfConsole(tmp_path, "version = 1\n")
    shutil.copytree(store, sysd.store, symlinks=True)
    sysd.start()
    try:
        assert NAMES[1] in sysd.client.text().text and NAMES[0] in sysd.client.text(1).text
        assert [it.number for it in sysd.client.history().revisions] == [2, 1]
        back = sysd.client.return_to(1)
        sysd.client.commit(back.revision)
        sysd.client.confirm()
        assert NAMES[0] in sysd.client.text().text
    finally:
        sysd.kill()


def test_a_gateway_does_not_start_on_what_a_later_release_wrote(tmp_path: Path) -> None:
    with Gateway() as gateway:
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@example.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250
        gateway.stop()
        marker = gateway.state / "formats.json"
        marker.write_text(json.dumps({**json.loads(marker.read_text()), "spool": 99}))
        before = {path: path.read_bytes() for path in gateway.state.rglob("*") if path.is_file()}
        words = [sys.executable, "-m", "appliance.cli.main", "run", "--config", str(gateway.config_file)]
        done = subprocess.run(words, cwd=ROOT, env=package_environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "a later release wrote here (spool in form 99" in done.stderr
        assert {path: path.read_bytes() for path in gateway.state.rglob("*") if path.is_file()} == before
