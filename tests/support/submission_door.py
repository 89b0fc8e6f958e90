"""Both submission doors on loopback, with everything behind them real: an event loop in a thread of its own.

Messages go to the spool and stay there, so that a test can look at what was accepted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from appliance.config import schema
from appliance.daemon.rooms import Lasting, Rooms, build_lasting, build_rooms
from appliance.intake.login_gate import LoginGate
from appliance.intake.shared_counts import SharedCounts
from appliance.intake.submission import SubmissionListener
from appliance.intake.users import User, hashed
from appliance.intake.users_file import edited
from appliance.observe.events import EventLog

PASSWORD = "correct horse"
HASH = hashed(PASSWORD)
LOGIN = "bob@example.test"

T = TypeVar("T")


class LastWords:
    """A sink for the log that keeps the events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def encode(self, at_s: float, level: int, name: str, fields: dict[str, object]) -> bytes:
        self.events.append((name, dict(fields)))
        return b""

    def write(self, entries: Any) -> int:
        entries.clear()
        return 0

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for found, fields in self.events if found == name]


class Door:
    """What a test sees of the doors."""

    rooms: Rooms
    lasting: Lasting

    def __init__(self, config: schema.Config) -> None:
        self.config = config
        self.log = LastWords()
        self.ports: dict[str, int] = {}
        self.listeners: dict[str, SubmissionListener] = {}
        self.loop: asyncio.AbstractEventLoop
        self.client_context = ssl.create_default_context()
        self.client_context.check_hostname = False
        self.client_context.verify_mode = ssl.CERT_NONE

    def on_loop(self, work: Callable[[], T]) -> T:
        """Calls `work` in the doors' thread."""

        async def called() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(10)

    def message(self, reply: bytes) -> bytes:
        """What lies in the spool of the message that was accepted with `reply`, dot-stuffed, with our header field."""
        message_id = reply.decode().partition("[")[2].partition("]")[0]

        def read() -> bytes:
            with self.lasting.spool.read(message_id) as reading:
                return b"".join(reading.chunks())

        return self.on_loop(read)

    def body(self, reply: bytes) -> bytes:
        """As `message`, without our own header field."""
        rest = self.message(reply)
        assert rest.startswith(b"Received:")
        end = rest.index(b"\r\n")
        while rest[end + 2 : end + 3] in (b" ", b"\t"):
            end = rest.index(b"\r\n", end + 2)
        return rest[end + 2 :]

    def queued(self) -> int:
        return self.on_loop(lambda: len(self.lasting.queue))

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        self.loop = asyncio.get_running_loop()
        counts = SharedCounts(1)
        counts.attach(0)
        self.lasting = build_lasting(self.config, 0, 1, counts, EventLog(self.log))
        self.rooms = build_rooms(self.config, self.lasting)
        gate = LoginGate(self.config.submission, counts.failures)
        servers = []
        for listen in self.config.listen:
            listener = SubmissionListener(listen, lambda: self.rooms.site, time.monotonic(), gate)
            implicit = self.rooms.site.tls if listen.kind is schema.ListenKind.SUBMISSIONS else None
            listening = socket.create_server(("127.0.0.1", 0))
            # Room for more than one of our reads, so that a test can have the next one waiting already.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            server = await self.loop.create_server(listener.make_session, sock=listening, ssl=implicit)
            self.ports[listen.name] = listening.getsockname()[1]
            self.listeners[listen.name] = listener
            servers.append(server)
        ready.set()
        await stop.wait()
        for server in servers:
            server.close()
        for listener in self.listeners.values():
            listener.cut()
        await self.rooms.close(0.0)
        self.lasting.spool.close()
        gate.close()

    @contextlib.contextmanager
    def open(self, loop_name: str) -> Iterator[Door]:
        ready, stop = threading.Event(), asyncio.Event()
        factory = uvloop.new_event_loop if loop_name == "uvloop" else asyncio.new_event_loop

        def run() -> None:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(self._serve(ready, stop))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert ready.wait(20)
            yield self
        finally:
            self.loop.call_soon_threadsafe(stop.set)
            thread.join(20)
        assert not thread.is_alive()


def config(directory: Path, **more: Any) -> schema.Config:
    """A gateway with both doors and two logins, of which `ann` is disabled."""
    users_file = directory / "users.toml"
    with edited(str(users_file)) as users:
        users[LOGIN] = User(name=LOGIN, hash=HASH, addresses=[LOGIN])
        users["ann@example.test"] = User(name="ann@example.test", hash=HASH, disabled=True)
    base = schema.Config(
        hostname="mx.example.test",
        state=str(directory),
        listen=[
            schema.Listen(name="submission", address="127.0.0.1:0", kind=schema.ListenKind.SUBMISSION),
            schema.Listen(name="submissions", address="127.0.0.1:0", kind=schema.ListenKind.SUBMISSIONS),
        ],
        tls=schema.Tls(self_signed=True),
        delivery=schema.Delivery(path=schema.Path.SPOOL),
        next_hop=[schema.NextHop(name="inside", servers=[schema.HopServer(url="smtp://127.0.0.1:1")])],
        domain=[schema.Domain(name="example.test", next_hop="inside")],
        submission=schema.Submission(users_file=str(users_file), failures_before_lockout=3),
        spool=schema.Spool(segment=schema.Size(4 << 20), keep_free=schema.Size(0)),
        tracking=schema.Tracking(enabled=False),
        scan=schema.Scan(patterns=schema.Patterns(enabled=False)),
        limits=schema.Limits(errors_per_session=6, idle_commands=100_000, message_size=schema.Size(2 << 20)),
    )
    return msgspec.structs.replace(base, **more)


class Wire:
    """A client that sends octets and reads replies."""

    def __init__(self, door: Door, name: str = "submission", source: str = "127.0.0.1") -> None:
        self._door = door
        self.socket: socket.socket = socket.create_connection(
            ("127.0.0.1", door.ports[name]), 10, source_address=(source, 0)
        )
        if name == "submissions":
            self.wrap()
        self._buffer = b""
        self.greeting = self.reply()

    def wrap(self) -> None:
        self.socket = self._door.client_context.wrap_socket(self.socket)

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def line(self) -> bytes:
        while b"\n" not in self._buffer:
            octets = self.socket.recv(65536)
            if not octets:
                return b""
            self._buffer += octets
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def reply(self) -> bytes:
        """The next reply, all its lines; empty if the server has closed."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return b"".join(lines)

    def ask(self, command: bytes) -> bytes:
        self.send(command + b"\r\n")
        return self.reply()

    def starttls(self) -> None:
        assert self.ask(b"EHLO client.example").startswith(b"250-mx.example.test\r\n")
        assert self.ask(b"STARTTLS").startswith(b"220 2.0.0 ")
        self.wrap()

    def login(self, name: str = LOGIN, password: str = PASSWORD) -> bytes:
        return self.ask(b"AUTH PLAIN " + plain(name, password))

    def close(self) -> None:
        self.socket.close()


def plain(name: str, password: str) -> bytes:
    return base64.b64encode(f"\0{name}\0{password}".encode())
