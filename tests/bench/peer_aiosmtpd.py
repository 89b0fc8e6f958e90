"""The aiosmtpd relay of `aiosmtpd_relay` as a service under test: one process, uvloop. Called by `peers`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.service import Service


class Aiosmtpd(Service):
    name = "aiosmtpd"

    def launch(self) -> None:
        program = Path(__file__).with_name("aiosmtpd_relay.py")
        command: list[str | Path] = [sys.executable, program, str(self.port), str(self.place.next_hop_port)]
        if self.place.tls:
            command += [self.place.certificate, self.place.key]
        self.household.spawn(command, self.log)
