"""Runs generators and sinks: ours in C, or Postfix's smtp-source and smtp-sink, and reads what they counted.

A `Sink` listens and counts, `send` sends a number of messages and says how that went. Both name the tool they used.
Knows nothing of the service in between. Called by `measure` and `probes`.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.bench.toolchain import MissingTool, Toolchain

RECIPIENT = "user@example.test"
SENDER = "alice@sender.example"
_COUNTERS = struct.Struct("=6Q")  # struct counters of sink.c
_POSTFIX_COUNT = re.compile(rb"mesg=(\d+)")


class Tools(Enum):
    """Whose generator and sink."""

    OWN = "load.c/sink.c"
    POSTFIX = "smtp-source/smtp-sink"


class TlsMode(Enum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class TrafficFailed(Exception):
    """Messages were refused or lost, or a tool did not start: the measurement is void."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What to send."""

    messages: int
    size_bytes: int
    sessions: int = 1
    per_session: int = 1  # messages on one connection
    pipelining: bool = False
    tls: TlsMode = TlsMode.NONE
    rate_per_s: int = 0  # 0: as fast as answers come


@dataclass(frozen=True, slots=True)
class Sent:
    """How it went. Latency is from connect (or MAIL on a reused connection) to the last 250; None when not measured."""

    messages: int
    elapsed_s: float
    p50_us: int | None
    p99_us: int | None


def free_port() -> int:
    """A port above 10000 on 127.0.0.1 that was free a moment ago."""
    with reserve_port() as holder:
        return int(holder.getsockname()[1])


def reserve_port(port: int = 0) -> socket.socket:
    """Holds a port without listening: connections are refused, and nobody else gets it. The caller closes it."""
    while True:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        if holder.getsockname()[1] > 10_000:
            return holder
        holder.close()


def wait_for_greeting(
    port: int, tls: bool = False, timeout_s: float = 30.0, has_died: Callable[[], bool] = lambda: False
) -> bool:
    """True when a server on 127.0.0.1:`port` greets with 220 (or merely accepts, under implicit TLS) in time."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s and not has_died():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
                if tls or probe.recv(512).startswith(b"220"):
                    return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


class Sink:
    """A next hop that counts and throws away. The caller stops it."""

    def __init__(
        self, toolchain: Toolchain, tools: Tools, folder: Path, port: int = 0, read_limit_bytes_per_s: int = 0
    ) -> None:
        self.tools = tools
        self._counter_file = folder / f"sink-{time.monotonic_ns()}"
        self.port = port or free_port()
        if tools is Tools.POSTFIX:
            if toolchain.smtp_sink is None:
                raise MissingTool("smtp-sink is not installed (Debian package postfix)")
            command = [str(toolchain.smtp_sink), "-c"]
            command += ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to stay root
            command += [f"127.0.0.1:{self.port}", "4096"]
        else:
            command = [str(toolchain.sink), "-a", f"127.0.0.1:{self.port}", "-c", str(self._counter_file)]
            command += ["-r", str(read_limit_bytes_per_s)] if read_limit_bytes_per_s else []
        self._log = folder / f"{self._counter_file.name}.log"
        # smtp-sink's running count on standard output is its counter file; ours maps the file itself.
        output_file = self._counter_file if tools is Tools.POSTFIX else self._log
        with open(output_file, "ab") as output, open(self._log, "ab") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        if not wait_for_greeting(self.port, has_died=lambda: self._process.poll() is not None):
            self.stop()
            raise TrafficFailed(f"{tools.value}: no sink on port {self.port}: {self._log.read_text()}")

    def messages(self) -> int:
        """Whole messages so far."""
        if self.tools is Tools.OWN:
            return int(_COUNTERS.unpack(self._counter_file.read_bytes())[0])
        with open(self._counter_file, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - 200))
            counts = _POSTFIX_COUNT.findall(file.read())
        return int(counts[-1]) if counts else 0

    def wait_for(self, messages: int, timeout_s: float = 120.0) -> None:
        """Returns once `messages` have arrived in all.

        Raises:
            TrafficFailed: they have not within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while (have := self.messages()) < messages:
            if time.monotonic() > deadline_s:
                raise TrafficFailed(f"the sink has {have} of {messages} messages")
            time.sleep(0.005)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Generator:
    """Sends batches to one port. Keeps message files for smtp-source in `folder`."""

    def __init__(self, toolchain: Toolchain, tools: Tools, folder: Path) -> None:
        self.tools = tools
        self._toolchain = toolchain
        self._folder = folder

    def send(self, port: int, batch: Batch) -> Sent:
        """Sends the whole batch.

        Raises:
            TrafficFailed: any message was not accepted.
        """
        if self.tools is Tools.POSTFIX:
            return self._send_by_smtp_source(port, batch)
        command = [str(self._toolchain.load), "-a", f"127.0.0.1:{port}", "-s", str(batch.sessions)]
        command += ["-m", str(batch.messages), "-n", str(batch.per_session), "-l", str(batch.size_bytes)]
        command += ["-T", batch.tls.value, "-f", SENDER, "-t", RECIPIENT]
        command += ["-P"] if batch.pipelining else []
        command += ["-r", str(batch.rate_per_s)] if batch.rate_per_s else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TrafficFailed(f"load: {done.stderr.strip()} {done.stdout.strip()}")
        said = json.loads(done.stdout)
        return Sent(said["accepted"], said["elapsed_s"], said["p50_us"], said["p99_us"])

    def _send_by_smtp_source(self, port: int, batch: Batch) -> Sent:
        if batch.tls is not TlsMode.NONE or batch.pipelining or batch.rate_per_s or self._toolchain.smtp_source is None:
            raise TrafficFailed("smtp-source is not installed or cannot do this")
        file = self._folder / f"message-{batch.size_bytes}"
        if not file.exists():
            subprocess.run([self._toolchain.load, "-F", file, "-l", str(batch.size_bytes)], check=True)
        command = [str(self._toolchain.smtp_source), "-s", str(batch.sessions), "-m", str(batch.messages)]
        command += ["-f", SENDER, "-t", RECIPIENT, "-F", str(file), "-C", "3"]
        command += ["-d"] if batch.per_session > 1 else []
        began_s = time.monotonic()
        done = subprocess.run([*command, f"127.0.0.1:{port}"], capture_output=True, text=True, check=False)
        elapsed_s = time.monotonic() - began_s
        # It names an unexpected reply on standard error, and then ends with status 1.
        if done.returncode or done.stderr:
            raise TrafficFailed(f"smtp-source: {done.stderr.strip()}")
        return Sent(batch.messages, elapsed_s, None, None)


class IdleSessions:
    """Connections that have said EHLO and now say nothing. A context: closed at its end."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> IdleSessions:
        for _ in range(self._count):
            session = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            self._sockets.append(session)
            self._converse(session, b"", b"220")
            self._converse(session, b"EHLO idle.bench.example\r\n", b"250")
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sockets:
            session.close()

    @staticmethod
    def _converse(session: socket.socket, command: bytes, expected: bytes) -> None:
        session.sendall(command)
        reply = b""
        while not re.search(rb"(?m)^\d{3}(?: .*)?\r\n\Z", reply):
            waiting = select.poll()
            waiting.register(session, select.POLLIN)
            waiting.poll(30_000)
            more = session.recv(4096)
            if not more:
                raise TrafficFailed("an idle session was closed")
            reply += more
        if not reply.startswith(expected):
            raise TrafficFailed(f"an idle session got {reply!r}")
