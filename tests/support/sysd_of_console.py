"""A process with `sysd` as it is, on a machine with two made-up ports whose clock may run fast.

`python -m tests.support.sysd_of_console STORE SOCKET FACTORY SPEED`; see `SysdOfConsole`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.config.schema import Log
from appliance.control.protocol import ControlError
from appliance.control.sysd_client import Sysd
from appliance.daemon import sysd as daemon
from appliance.network.look import Look
from tests.support.conditions import until
from tests.support.console import PortsAndProbes
from tests.support.package import ROOT


class FastTimer(daemon.LoopTimer):
    """`speed` seconds a second."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def now_s(self) -> float:
        return super().now_s() * self._speed

    def later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        return super().later(delay_s / self._speed, call)


class Machine(PortsAndProbes):
    """Ports that nobody touches, and real probes."""

    async def probe(self, kind: str, target: str) -> dict[str, Any]:
        return await Look().probe(kind, target)


class SysdOfConsole:
    """The process, from `start` to `kill`."""

    def __init__(self, folder: Path, factory: str, speed: float = 1.0) -> None:
        self.store, self.socket = folder / "store", folder / "run" / "sysd.sock"
        self.link = self.store / "current" / "mailweir.toml"
        self.client = Sysd(self.socket)
        self._factory = folder / "factory.toml"
        self._factory.write_text(factory)
        self._speed = speed
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = [sys.executable, "-m", "tests.support.sysd_of_console"]
        arguments = [str(self.store), str(self.socket), str(self._factory), str(self._speed)]
        self._process = process = subprocess.Popen([*command, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL)

        def answers() -> bool:
            assert process.poll() is None, f"sysd ended with {process.returncode}"
            try:
                return bool(self.client.status().revision)
            except ControlError:
                return False

        until(answers, "sysd to answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def main(store: str, socket: str, factory: str, speed: str) -> int:
    machine = Machine()
    return daemon.run(
        daemon.Options(
            store=Path(store),
            socket=Path(socket),
            factory=Path(factory),
            log=Log(to=f"{store}.log"),
            power=machine,
            service=machine,
            probes=machine,
            timer=FastTimer(float(speed)),
        )
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
