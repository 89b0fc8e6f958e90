"""The image's announcement that the gateway is ready, as the trials wait for it, and as the menus hear of it."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from appliance.console import announced
from firmware.builder import board, machine, trial

SCRIPT = board.OVERLAY / "usr/lib/mailweir/announce"
UNIT = board.OVERLAY / "usr/lib/systemd/system/mailweir-ready.service"


def said(folder: Path) -> str:
    """What the script prints, once somebody has greeted it."""
    (folder / "sleep").symlink_to("/bin/true")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as client:
                client.sendall(b"220 mx.example.test ESMTP Mailweir\r\n")
                client.recv(100)

        greeter = threading.Thread(target=greet)
        greeter.start()
        environment = {
            "MAILWEIR_PORT": str(server.getsockname()[1]), "RUNTIME_DIRECTORY": str(folder),
            "PATH": f"{folder}:{os.environ['PATH']}",
        }  # fmt: skip
        done = subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, timeout=60, check=True)
        greeter.join()
    return done.stdout.decode()


def test_the_line_is_the_one_that_the_trials_wait_for(tmp_path: Path) -> None:
    text = said(tmp_path)
    for found in (machine.READY.search(text), trial.READY.search(text.encode())):
        assert found is not None and str(found["greeting"]).count("220 mx.example.test ESMTP Mailweir") == 1


def test_the_menus_find_the_line_that_was_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = announced.LINE_FILE
    assert f"RuntimeDirectory={where.parent.name}\nRuntimeDirectoryPreserve=yes\n" in UNIT.read_text()
    monkeypatch.setattr(announced, "LINE_FILE", tmp_path / where.name)
    told = announced.Announced("tty1")
    text = said(tmp_path)
    assert told() == [text.strip()] and told() is None
