"""HAProxy as a TCP proxy, the limit of what a process in user space can do: plain, or terminating TLS.

Default buffers and settings, one thread a core as it would choose by itself. Called by `peers`.
"""

from __future__ import annotations

import os

from tests.bench.service import Service
from tests.bench.toolchain import need_program
from tests.bench.traffic import TlsMode

_CONFIGURATION = """\
global
    nbthread {threads}
    maxconn 8000
defaults
    mode tcp
    timeout connect 10s
    timeout client 5m
    timeout server 5m
frontend mail
    bind 127.0.0.1:{port}{tls}
    default_backend next_hop
backend next_hop
    server sink 127.0.0.1:{next_hop_port}
"""


class Haproxy(Service):
    name = "haproxy"
    tls_mode = TlsMode.IMPLICIT  # it cannot speak STARTTLS

    def launch(self) -> None:
        program = need_program("haproxy", "haproxy")
        tls = ""
        if self.place.tls:
            both = self.place.folder / "both.pem"
            both.touch(mode=0o600)
            both.write_bytes(self.place.certificate.read_bytes() + self.place.key.read_bytes())
            tls = f" ssl crt {both}"
        file = self.place.folder / "haproxy.cfg"
        file.write_text(
            _CONFIGURATION.format(
                threads=os.cpu_count() or 1, port=self.port, tls=tls, next_hop_port=self.place.next_hop_port
            )
        )
        self.household.spawn([program, "-db", "-f", file], self.log)
