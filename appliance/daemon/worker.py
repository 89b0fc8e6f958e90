"""One worker of `mtad`: an event loop with listeners, spool, queue and control socket, from start to drained.

Signals: SIGTERM drains (a second one, or the drain time-out, cuts), SIGHUP reloads configuration and certificates
without ending a session. Forked by `daemon.mtad`, which gives it sockets that are bound already; without that parent it
drains, for it would hold ports and spool against the next one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from appliance.config.check import refuse_errors
from appliance.config.load import load
from appliance.config.schema import Config, Listen, ListenKind
from appliance.control.client import ask_async
from appliance.control.protocol import ControlError, RequestRefused, worker_socket, worker_sockets
from appliance.control.queue_requests import queue_handlers
from appliance.control.server import ControlServer
from appliance.core.errors import ConfigError
from appliance.daemon.certificate_watch import CertificateWatch
from appliance.daemon.check_door import CheckDoor
from appliance.daemon.pulse import Pulse
from appliance.daemon.rooms import Lasting, Rooms, build_lasting, build_rooms
from appliance.intake.listener import Listener
from appliance.intake.shared_counts import SharedCounts
from appliance.observe.events import ERROR, WARNING, EventLog
from appliance.observe.exposition import render
from appliance.observe.scrape import MetricsServer
from appliance.spool.removal import remove_spool

if TYPE_CHECKING:
    from appliance.intake.login_gate import LoginGate
    from appliance.intake.submission import SubmissionListener

SWEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What the supervisor shares with all workers."""

    counts: SharedCounts
    pulse: Pulse
    workers: int


class Worker:
    """See the module."""

    def __init__(
        self,
        config: Config,
        path: str,
        number: int,
        sockets: list[tuple[Listen, socket.socket]],
        shared: Shared,
    ) -> None:
        """`path` is the configuration file to read again on SIGHUP; empty for the demonstration."""
        self._config = config
        self._path = path
        self._number = number
        self._sockets = sockets
        self._counts = shared.counts
        self._workers = shared.workers
        self._pulse = shared.pulse
        self._listeners: list[Listener | SubmissionListener] = []
        self._servers: list[asyncio.Server | None] = []
        self._stop = asyncio.Event()
        self._parent_pid = os.getppid()
        self._rooms: Rooms
        self._lasting: Lasting
        self._events: EventLog
        self._watch: CertificateWatch
        self._background: set[asyncio.Task[None]] = set()
        self._retired: list[Rooms] = []
        self._gate: LoginGate | None = None
        self._check = CheckDoor(lambda: self._rooms, lambda: self._config)

    def run(self) -> int:
        """Until drained; returns the exit status."""
        return uvloop.run(self._main())

    async def _main(self) -> int:
        loop = asyncio.get_running_loop()
        self._events = EventLog.open(self._config.log)
        self._events.attach(loop)
        self._events.bridge()
        self._counts.attach(self._number)
        try:
            self._lasting = build_lasting(self._config, self._number, self._workers, self._counts, self._events)
            self._rooms = build_rooms(self._config, self._lasting)
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor hears of it and tries again
            self._events.event("worker_failed", {"worker": self._number, "reason": str(error)}, ERROR)
            self._events.close()
            return 1
        self._gauges()
        self._watch = CertificateWatch(self._events, time.monotonic())
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        control = ControlServer(worker_socket(self._config.state, self._number), self._handlers())
        await control.open()
        await self._listen()
        self._rooms.runner.start()
        # The supervisor blocked it for the fork; one that came meanwhile is heard now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        sweeper = asyncio.create_task(self._sweep())
        metrics = await self._serve_metrics()
        # What was made at start lives to the end: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        # A message makes no cycles that last; with the defaults the collector looked at each one twice.
        gc.set_threshold(20_000, 20, 50)
        self._events.event("worker_ready", {"worker": self._number, "pid": os.getpid()})
        await self._stopped()
        await self._drain()
        self._check.close()
        sweeper.cancel()
        if metrics is not None:
            await metrics.close()
        await control.close()
        await self._rooms.close(self._config.timeouts.drain)
        for rooms in self._retired:
            await rooms.close(0.0)
        if self._gate is not None:
            self._gate.close()
        self._lasting.spool.close()
        if not self._sockets and self._lasting.spool.spent:
            remove_spool(self._lasting.spool.directory)
        if self._lasting.tracking is not None:
            self._lasting.tracking.close()
        self._events.event("worker_stopped", {"worker": self._number})
        self._events.close()
        return 0

    async def _stopped(self) -> None:
        """Until a signal comes; one that only tends a leftover spool ends when that is empty, and takes it away."""
        while not self._sockets and not self._stop.is_set():
            if not len(self._lasting.queue):
                self._events.event("leftover_spool_empty", {"worker": self._number})
                return
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self._stop.wait()
            except TimeoutError:
                continue
        await self._stop.wait()

    def _gauges(self) -> None:
        counters, lasting = self._lasting.counters, self._lasting
        counters.gauge("queue_messages", lambda: {"all": len(lasting.queue)})
        counters.gauge("spool_used_bytes", lambda: lasting.spool.bytes_live)
        counters.gauge("held_bytes", lambda: lasting.buffers.owned_bytes)
        counters.gauge("log_dropped", lambda: lasting.events.dropped)
        counters.gauge("tracking_dropped", lambda: lasting.tracking.dropped if lasting.tracking is not None else 0)

    async def _listen(self) -> None:
        for listen, sock in self._sockets:
            listener = self._make_listener(listen)
            self._listeners.append(listener)
            self._servers.append(await self._open_door(listen, sock, listener))

    async def _open_door(
        self, listen: Listen, sock: socket.socket, listener: Listener | SubmissionListener
    ) -> asyncio.Server | None:
        implicit = self._rooms.site.tls if listen.kind is ListenKind.SUBMISSIONS else None
        if implicit is None and listen.kind is ListenKind.SUBMISSIONS:
            # A reload took the certificate away since the socket was made: never speak in clear there.
            self._events.event("no_certificate", {"worker": self._number, "listen": listen.name}, ERROR)
            return None
        timeout_s = self._config.timeouts.tls_handshake if implicit is not None else None
        # A copy of the socket, for a server closes what it is given.
        make_session: Callable[[], Any] = listener.make_session
        return await asyncio.get_running_loop().create_server(
            make_session, sock=sock.dup(), ssl=implicit, ssl_handshake_timeout=timeout_s, backlog=1024
        )

    async def _reopen_tls_doors(self) -> None:
        """Where TLS comes first, the server has the context, and a new configuration brings another one."""
        for place, (listen, sock) in enumerate(self._sockets):
            if listen.kind is ListenKind.SUBMISSIONS and not self._listeners[place].draining:
                server = self._servers[place]
                if server is not None:
                    server.close()
                self._servers[place] = await self._open_door(listen, sock, self._listeners[place])

    def _make_listener(self, listen: Listen) -> Listener | SubmissionListener:
        now_s = time.monotonic()
        if listen.kind is ListenKind.SMTP:
            return Listener(listen, lambda: self._rooms.site, now_s)
        # Imported only where they are wanted: aiosmtpd and argon2 with their company take memory.
        from appliance.intake.login_gate import LoginGate
        from appliance.intake.submission import SubmissionListener

        if self._gate is None:
            self._gate = LoginGate(self._config.submission, self._counts.failures)  # one for both doors
        return SubmissionListener(listen, lambda: self._rooms.site, now_s, self._gate)

    async def _serve_metrics(self) -> MetricsServer | None:
        """The first worker serves the metrics of all."""
        if self._number or not self._config.metrics.address:
            return None
        server = MetricsServer(self._config.metrics.address, self._collect)
        try:
            await server.start()
        except ConfigError as error:
            self._events.event("metrics_failed", {"reason": str(error)}, ERROR)
            return None
        return server

    async def _collect(self) -> Mapping[str, dict[str, Any]]:
        snapshots = {}
        for path in worker_sockets(self._config.state):
            number = path.stem.removeprefix("worker-")
            try:
                snapshots[number] = await ask_async(path, "stats")
            except ControlError as error:
                self._events.event("worker_mute", {"worker": number, "reason": str(error)}, WARNING)
        return snapshots

    def _handlers(self) -> dict[str, Any]:
        async def stats(args: dict[str, Any]) -> object:
            counters, spool = self._lasting.counters, self._lasting.spool
            counters.fsyncs, counters.spool_bytes = spool.fsyncs, spool.bytes_written
            return counters.snapshot()

        async def metrics(args: dict[str, Any]) -> object:
            return render(await self._collect()).decode()

        async def reload(args: dict[str, Any]) -> object:
            try:
                refuse_errors(load(self._path), self._path, files=False)
            except ConfigError as error:
                raise RequestRefused(str(error)) from error
            await self._reloaded()
            return {"worker": self._number}

        others = {**queue_handlers(self._lasting.queue), **self._check.handlers()}
        return {"stats": stats, "metrics": metrics, "reload": reload, **others}

    async def _sweep(self) -> None:
        while True:
            self._pulse.beat(self._number, time.monotonic())
            await asyncio.sleep(SWEEP_S)
            self._notice_orphanhood()
            now_s = time.monotonic()
            for listener in self._listeners:
                listener.sweep(now_s)
            self._watch.look(self._rooms.certificate, self._config.tls.look_every, now_s)
            for rooms in (self._rooms, *self._retired):
                for pool in rooms.pools.values():
                    pool.sweep(now_s)
            if self._retired and await self._close_unused():
                gc.collect()  # rooms refer to each other in circles, and pattern data bases are large

    def _notice_orphanhood(self) -> None:
        parent_pid = os.getppid()
        if parent_pid != self._parent_pid:
            self._parent_pid = parent_pid
            self._events.event("supervisor_lost", {"worker": self._number}, ERROR)
            self._stop.set()

    async def _drain(self) -> None:
        """Stops accepting, lets transactions end, cuts what is open after the drain time."""
        for server in filter(None, self._servers):
            server.close()
        for listener in self._listeners:
            listener.drain()
        end_s = time.monotonic() + self._config.timeouts.drain
        self._stop.clear()
        while any(listener.sessions for listener in self._listeners) and time.monotonic() < end_s:
            try:
                async with asyncio.timeout(0.05):
                    await self._stop.wait()
                break  # a second signal: enough
            except TimeoutError:
                continue
        for listener in self._listeners:
            listener.cut()

    # -- reload

    def _reload(self) -> None:
        task = asyncio.create_task(self._reload_quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _reload_quietly(self) -> None:
        with suppress(RequestRefused):
            await self._reloaded()

    async def _reloaded(self) -> None:
        """New sessions get the new configuration; a bad one leaves everything as it is.

        Raises:
            RequestRefused: it is bad; said in the log, too.
        """
        self._events.reopen()
        try:
            config = load(self._path) if self._path else self._config
            if self._rooms.certificate is not None:
                self._rooms.certificate.refresh()
            rooms = build_rooms(config, self._lasting)
        except ConfigError as error:
            self._events.event("reload_refused", {"reason": str(error)}, ERROR)
            raise RequestRefused(str(error)) from error
        self._check.close()
        old, self._rooms, self._config = self._rooms, rooms, config
        for listener in self._listeners:
            listener.refresh()
        await self._reopen_tls_doors()
        await old.runner.close(self._config.timeouts.drain)
        rooms.runner.start()
        self._events.event("reloaded", {"worker": self._number})
        self._retire(old)

    def _retire(self, old: Rooms) -> None:
        """Sessions that began with `old` go on with it; it is closed when the last of them is gone."""
        self._retired.append(old)

    async def _close_unused(self) -> bool:
        """Closes what no session has any more; whether there was any."""
        before = len(self._retired)
        in_use = {id(session.site) for listener in self._listeners for session in listener.sessions}
        for old in [rooms for rooms in self._retired if id(rooms.site) not in in_use]:
            self._retired.remove(old)
            await old.close(0.0)
        return len(self._retired) < before
