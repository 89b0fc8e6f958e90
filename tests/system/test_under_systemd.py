"""The gateway under a systemd that is played: ready, alive, and with sockets that outlive it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.conditions import until
from tests.support.gateway import Gateway, toml
from tests.support.package import ROOT, package_environment
from tests.support.sink import Sink

_PASSED = 3


class Systemd:
    """Hears what the service says, and keeps the descriptors that it is given."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.kept: dict[str, int] = {}
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(0.2)

    def hear(self) -> list[str]:
        while True:
            try:
                text, descriptors, _, _ = socket.recv_fds(self._socket, 500, 4)
            except TimeoutError:
                return self.said
            lines = dict(line.split("=", 1) for line in text.decode().splitlines())
            if "FDSTORE" in lines:
                self.kept[lines["FDNAME"]] = descriptors[0]
            self.said.append(text.decode())

    def start(self, gateway: Gateway, watchdog_s: float) -> subprocess.Popen[bytes]:
        environment = package_environment() | {
            "NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
            "LISTEN_FDS": str(len(self.kept)), "LISTEN_FDNAMES": ":".join(self.kept),
        }  # fmt: skip

        def pass_on() -> None:
            for place, descriptor in enumerate([os.dup2(it, 100 + at) for at, it in enumerate(self.kept.values())]):
                os.dup2(descriptor, _PASSED + place)

        # LISTEN_PID is known only in the child; a line of shell writes it.
        command = [sys.executable, "-m", "appliance.cli.main", "run", "--config", str(gateway.config_file)]
        return subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *command], cwd=ROOT, env=environment, preexec_fn=pass_on,
            close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    for descriptor in made.kept.values():
        os.close(descriptor)


def stopped(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=30)


def test_a_client_that_comes_while_the_gateway_starts_anew_waits_and_is_served(systemd: Systemd) -> None:
    with Sink() as sink:
        gateway = Gateway([sink.url])
        gateway.config_file.write_text(toml(gateway.config))
        first = systemd.start(gateway, 60)
        until(lambda: "READY=1" in systemd.hear(), "the gateway to be ready")
        assert len(systemd.kept) == 1
        assert stopped(first) == 0
        assert "STOPPING=1" in systemd.hear()
        # Nobody listens but systemd.
        early = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
        systemd.said.clear()
        second = systemd.start(gateway, 60)
        assert early.recv(3) == b"220"
        early.close()
        until(lambda: "READY=1" in systemd.hear(), "the gateway to be ready again")
        assert not any("FDSTORE" in text for text in systemd.said), "it has the socket, and needs no other"
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@example.test", "b@example.test", b"Subject: x\r\n\r\nx\r\n").code == 250
        assert stopped(second) == 0


def test_systemd_hears_nothing_more_when_a_worker_hangs(systemd: Systemd) -> None:
    gateway = Gateway()
    gateway.config_file.write_text(toml(gateway.config))
    process = systemd.start(gateway, 6)
    until(lambda: "WATCHDOG=1" in systemd.hear(), "a sign of life")
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGSTOP)
    try:

        def silent() -> bool:
            systemd.said.clear()
            end = 0
            while end < 15 and "WATCHDOG=1" not in systemd.hear():  # three seconds, longer than the two of a beat
                end += 1
            return end == 15

        until(silent, "silence", patience_s=60)
    finally:
        os.kill(int(worker), signal.SIGCONT)
    systemd.said.clear()
    until(lambda: "WATCHDOG=1" in systemd.hear(), "life again")
    assert stopped(process) == 0
