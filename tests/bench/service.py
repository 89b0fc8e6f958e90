"""What the benchmark asks of a service under test: start between a port and a next hop, name its cost, stop.

Each peer and Mailweir itself is a subclass. Knows no product. Called by `measure` and `probes`.
"""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.accounting import Household
from tests.bench.toolchain import ROOT
from tests.bench.traffic import TlsMode, free_port, wait_for_greeting


class ServiceFailed(Exception):
    """A service did not start or died; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service lives in one row of the table."""

    folder: Path  # for this service alone; on a disk, readable by other users
    next_hop_port: int  # on 127.0.0.1
    certificate: Path
    key: Path
    tls: bool  # the row is about TLS


class Service(ABC):
    """One service under test. `start` and `stop` once each; a subclass prepares its files and starts its processes."""

    name = ""
    tls_mode = TlsMode.STARTTLS  # how its clients get TLS in a TLS row
    settle_s = 0.3  # after the last message until its bookkeeping is done, which is part of its cost

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port = free_port()
        self.household = Household(self.name)
        self.log = place.folder / "log"

    @abstractmethod
    def launch(self) -> None:
        """Writes configuration below `place.folder` and spawns into `household`.

        Raises:
            MissingTool: the product is not installed.
        """

    def start(self) -> None:
        """Returns when the service greets.

        Raises:
            MissingTool: the product is not installed.
            ServiceFailed: it does not greet.
        """
        self.place.folder.mkdir(parents=True)
        self.place.folder.chmod(0o755)
        try:
            self.launch()
            implicit_tls = self.place.tls and self.tls_mode is TlsMode.IMPLICIT
            if not wait_for_greeting(self.port, implicit_tls, has_died=self.household.has_died):
                tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "no log"
                raise ServiceFailed(f"{self.name} does not greet on port {self.port}:\n{tail}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the service's processes and no others."""
        self.household.stop()

    def batch_tls(self) -> TlsMode:
        """How a generator must speak to it in this row."""
        return self.tls_mode if self.place.tls else TlsMode.NONE

    def settle(self) -> None:
        """Waits until what follows the last message (logs, statistics, removal of queue files) has been paid for."""
        time.sleep(self.settle_s)

    def run_command(self, command: Sequence[str | Path]) -> None:
        """A command of the service's own, not counted as its cost.

        Raises:
            ServiceFailed: it did not end with 0.
        """
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            raise ServiceFailed(f"{self.name}: {Path(command[0]).name}: {done.stderr.strip() or done.stdout.strip()}")

    def retry_queue(self) -> None:
        """Asks for delivery now of all that is queued; services without a queue have nothing to do."""
        return

    def counters(self) -> dict[str, float]:
        """The service's own running counts: `fsyncs` and `copies` of bodies, where it tells them."""
        return {}
