"""A real `mailweir sysd` process, with a `systemctl` that only takes notes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.control.protocol import ControlError
from appliance.control.sysd_client import Sysd
from tests.support.conditions import until

ROOT = Path(__file__).parents[2]


class SysdProcess:
    """Its store is `folder/store`, to be started, killed and started again."""

    def __init__(self, folder: Path, factory: str) -> None:
        self.store, self.socket = folder / "store", folder / "run" / "sysd.sock"
        self.link = self.store / "current" / "mailweir.toml"
        self.client = Sysd(self.socket)
        self._factory = folder / "factory.toml"
        self._factory.write_text(factory)
        self._notes = folder / "systemctl.notes"
        tools = folder / "bin"
        tools.mkdir()
        fails = '[ "$2" != broken.service ] || { echo "it is broken" >&2; exit 1; }'
        (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {self._notes}\n{fails}\n')
        (tools / "systemctl").chmod(0o755)
        self._environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Returns when it answers."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "appliance.cli.main", "sysd", "--store", str(self.store),
             "--socket", str(self.socket), "--factory", str(self._factory), *options],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

        def answers() -> bool:
            assert process.poll() is None, f"sysd ended with {process.returncode}"
            try:
                return bool(self.client.status())
            except ControlError:
                return False

        until(answers, "sysd to answer")

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def notes(self) -> list[str]:
        """What `systemctl` was called with."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def cli(self, *arguments: str) -> tuple[int, str, str]:
        """Status, output and complaints of `mailweir config ARGUMENTS`."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("MAILWEIR_SYSD", str(self.socket))
            status = main(["config", *arguments])
        return status, out.getvalue(), err.getvalue()
