"""Mailweir itself as a service under test, with everything on that a gateway has on: 1,000 patterns, tracking, a log
file, metrics; and variants with one thing changed, shown apart. Called by `peers`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.bench.service import Service, ServiceFailed
from tests.bench.toolchain import ROOT, need_program
from tests.bench.traffic import free_port
from tests.support.package import package_environment

PATTERNS = ROOT / "tests/data/patterns-1000.txt"

_CONFIGURATION = """\
version = 1
hostname = "mailweir.bench.example"
state = "{folder}/state"

[[listen]]
name = "smtp"
address = "127.0.0.1:{port}"

[[next_hop]]
name = "sink"
servers = [{{ url = "smtp://127.0.0.1:{next_hop_port}" }}]
connections = 100
breaker_reset = "1s"

[[domain]]
name = "example.test"
next_hop = "sink"

# One address sends everything here; what the limits cost to count stays on.
[limits]
sessions_per_address = 5000
sessions_per_minute = 100000000
messages_per_session = 1000000
messages_per_minute = 100000000
recipients_per_minute = 100000000
message_size = "100MiB"

[metrics]
address = "127.0.0.1:{metrics_port}"
"""

_TLS = """
[tls]
certificate = "{certificate}"
key = "{key}"
"""

_CLAMD = """\
LocalSocket {folder}/clamd.sock
DatabaseDirectory {folder}/signatures
Foreground yes
StreamMaxLength 100M
MaxFileSize 100M
MaxScanSize 100M
"""

# Family in the metrics -> name in our report; summed over labels and workers.
_COUNTED = {"mailweir_fsyncs": "fsyncs", "mailweir_body_copies": "copies"}
_METRICS_PATIENCE_S = 15.0
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*$", re.ASCII)


class Mailweir(Service):
    name = "mailweir"
    settle_s = 1.3  # tracking is written in batches of a second
    extra = ""  # further tables of the configuration
    log_to = "{folder}/events.log"

    def launch(self) -> None:
        self._metrics_port = free_port()
        self._file = self.place.folder / "mailweir.toml"
        self._file.write_text(self.configuration())
        command: list[str | Path] = [sys.executable, "-m", "appliance.cli.main", "run", "--config", self._file]
        self.household.spawn(command, self.log, env=package_environment())

    def configuration(self) -> str:
        """The configuration file's text."""
        folder = self.place.folder
        text = _CONFIGURATION.format(
            folder=folder,
            port=self.port,
            next_hop_port=self.place.next_hop_port,
            metrics_port=self._metrics_port,
        )
        text += f'\n[log]\nto = "{self.log_to.format(folder=folder)}"\n'
        if PATTERNS.exists():
            text += f'\n[scan.patterns]\nfiles = ["{PATTERNS}"]\n'
        if self.place.tls:
            text += _TLS.format(certificate=self.place.certificate, key=self.place.key)
        return text + self.extra.format(folder=folder)

    def retry_queue(self) -> None:
        command: list[str | Path] = [sys.executable, "-m", "appliance.cli.main"]
        command += ["queue", "retry", "--all", "--config", self._file]
        self.run_command(command)

    def counters(self) -> dict[str, float]:
        deadline_s = time.monotonic() + _METRICS_PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=10) as answer:
                    return sum_counters(answer.read().decode())
            except OSError as error:  # it may listen for mail a moment before it listens here
                if time.monotonic() > deadline_s or self.household.has_died():
                    raise ServiceFailed(f"{self.name} does not tell its metrics: {error}") from error
                time.sleep(0.05)


class MailweirDigest(Mailweir):
    name = "mailweir+digest"
    extra = "\n[scan.digest]\nenabled = true\n"


class MailweirBare(Mailweir):
    """Nothing but the message path: no tracking, no log file. What it writes to the disk, the path writes."""

    name = "mailweir-untracked"
    extra = "\n[tracking]\nenabled = false\n"
    log_to = "/dev/null"


class MailweirClamd(Mailweir):
    """With a clamd that knows one test signature. clamd's own CPU is not counted: it is another service's."""

    name = "mailweir+clamd"
    extra = '\n[scan.clamd]\nenabled = true\naddress = "unix:{folder}/clamd.sock"\n'

    def launch(self) -> None:
        folder = self.place.folder
        (folder / "signatures").mkdir()
        (folder / "signatures/test.hdb").write_text("44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n")
        (folder / "clamd.conf").write_text(_CLAMD.format(folder=folder))
        with open(folder / "clamd.log", "wb") as log:
            self._clamd = subprocess.Popen(
                [need_program("clamd", "clamav-daemon"), "--config-file", folder / "clamd.conf"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_for_clamd(folder / "clamd.sock")
        super().launch()

    def _wait_for_clamd(self, socket_path: Path) -> None:
        while not socket_path.exists():
            if self._clamd.poll() is not None:
                raise ServiceFailed(f"clamd ended: {(self.place.folder / 'clamd.log').read_text()[-500:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        super().stop()
        if hasattr(self, "_clamd"):
            self._clamd.terminate()
            self._clamd.wait()


def sum_counters(metrics_text: str) -> dict[str, float]:
    """The counts that the benchmark shows, out of a page in Prometheus' text format; absent ones are left out."""
    sums: dict[str, float] = {}
    for line in metrics_text.splitlines():
        sample = _SAMPLE.match(line)
        name = _COUNTED.get(sample[1].removesuffix("_total")) if sample else None
        if sample and name:
            sums[name] = sums.get(name, 0.0) + float(sample[2])
    return sums
