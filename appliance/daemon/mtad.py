"""The MTA's supervisor: binds the sockets, forks the workers, restarts those that die, passes signals on, and tells
systemd that it goes well for as long as all workers' hearts beat.

Plain and single-threaded, without an event loop, so that a fork is clean and nothing here can hang. The sockets are
shared by all workers: when one dies, connections waiting to be accepted are taken by the others.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec

from appliance.config.check import refuse_errors
from appliance.config.load import load
from appliance.config.schema import Config, Listen
from appliance.core.errors import ConfigError
from appliance.daemon import demo
from appliance.daemon.apart import apart
from appliance.daemon.notify import is_watched, notify, watchdog_interval_s
from appliance.daemon.pulse import Pulse
from appliance.daemon.sockets import bind_all
from appliance.intake.shared_counts import SharedCounts
from appliance.tls.certificates import self_signed
from appliance.update.formats import claim

RESTART_PAUSE_S = float(os.environ.get("MAILWEIR_RESTART_PAUSE_S", "1"))
"""A worker that dies sooner than this after its start is started again this much later. Tests that kill lower it."""
_LOOK_S = 0.2  # until all workers have begun


def run(path: str | None) -> int:
    """Runs the gateway until SIGTERM or SIGINT; `None` runs the demonstration.

    Returns the exit status: 0 after a clean end.

    Raises:
        ConfigError: the configuration cannot be used, or a socket not be bound.
    """
    if path is None:
        return demo.run(_serve)
    config = load(path)
    for warning in apart(lambda: refuse_errors(config, path)):
        print(f"{path}: warning: {warning.key}: {warning.text}; {warning.remedy}", file=sys.stderr)
    return _serve(config, path, _nothing)


def _nothing() -> None:
    return


def _serve(config: Config, path: str, ready: Callable[[], None]) -> int:
    state = Path(config.state)
    try:
        state.mkdir(mode=0o750, parents=True, exist_ok=True)
        claim(state)
    except OSError as error:
        raise ConfigError(f'state = "{state}": {error.strerror}; create it or name another directory') from error
    make_certificate(config)
    sockets = bind_all(config)
    return Supervisor(config, path, sockets).run(ready)


def make_certificate(config: Config) -> None:
    """The self-signed certificate, if one is wanted and not there: once, and not by a worker.

    Raises:
        ConfigError: it cannot be written.
    """
    if config.tls.self_signed and not config.tls.certificate:
        apart(lambda: self_signed(config.state, config.hostname, time.time()))


def leftover_spools(state: Path, workers: int) -> list[int]:
    """Spools of a time with more workers. Each gets a worker without listeners, which ends when all is delivered."""
    found = [int(path.name) for path in Path(state, "spool").glob("*") if path.name.isdigit()]
    return sorted(number for number in found if number >= workers)


class Supervisor:
    """See the module."""

    def __init__(self, config: Config, path: str, sockets: list[tuple[Listen, socket.socket]]) -> None:
        self._config = config
        self._path = path
        self._sockets = sockets
        self._workers = config.workers.count or os.cpu_count() or 1
        self._leftovers = leftover_spools(Path(config.state), self._workers)
        columns = max([self._workers, *(number + 1 for number in self._leftovers)])
        self._counts = SharedCounts(columns)
        self._pulse = Pulse(columns)
        self._pids: dict[int, tuple[int, float]] = {}
        self._stopping = False
        self._failed = False
        self._told_ready = False
        self._silent: list[int] = []

    def run(self, ready: Callable[[], None]) -> int:
        """Forks and waits; `ready` is called once the workers run."""
        # Imported once, before the forks: workers share the pages, and one that died is back in milliseconds.
        import appliance.daemon.worker  # noqa: F401

        # What is there now is never looked at by a worker's collector, which would write to all of these pages.
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        for number in (*range(self._workers), *self._leftovers):
            self._start(number)
        ready()
        if is_watched():
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
        while self._pids:
            try:
                pid, status = os.waitpid(-1, 0)
            except InterruptedError:
                continue
            except ChildProcessError:
                break
            self._ended(pid, status)
        return 1 if self._failed else 0

    def _start(self, number: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # A reload waits until the worker is known here, and there until the worker has something to reload.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        self._pulse.forked(number, time.monotonic())
        pid = os.fork()
        if pid:
            self._pids[pid] = (number, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            return
        status = 70  # EX_SOFTWARE, should anything escape
        try:
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
                signal.signal(signum, signal.SIG_DFL)
            _name_process(f"mailweir-{number}")
            from appliance.daemon.worker import Shared, Worker

            sockets = self._sockets if number < self._workers else []
            shared = Shared(self._counts, self._pulse, self._workers)
            status = Worker(self._as_it_is_now(), self._path, number, sockets, shared).run()
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _as_it_is_now(self) -> Config:
        """The configuration for a worker that starts: the others may have reloaded since. A bad one is not taken.

        Where the state lies and how many workers there are stays as it was: their spools do not move.
        """
        try:
            config = load(self._path) if self._path else self._config
            refuse_errors(config, self._path, files=False)
        except ConfigError:
            return self._config
        return msgspec.structs.replace(config, state=self._config.state, workers=self._config.workers)

    def _ended(self, pid: int, status: int) -> None:
        known = self._pids.pop(pid, None)
        if known is None:
            return
        number, started_s = known
        if self._stopping:
            return
        self._counts.clear(number)
        code = os.waitstatus_to_exitcode(status)
        if not code and number >= self._workers:
            return  # its spool is empty
        print(f"mailweir: worker {number} (pid {pid}) ended with status {code}, starting it again", file=sys.stderr)
        if time.monotonic() - started_s < RESTART_PAUSE_S:
            time.sleep(RESTART_PAUSE_S)
        if not self._stopping:
            self._start(number)

    def _look(self, signum: int, frame: FrameType | None) -> None:
        """By a timer: tells systemd that all goes well, or which workers are silent; it ends us if that lasts."""
        running = [number for number, _ in self._pids.values()]
        interval_s = watchdog_interval_s(os.getpid())
        if not self._told_ready:
            if not self._pulse.all_began(running):
                return
            self._told_ready = True
            notify("READY=1")
            signal.setitimer(signal.ITIMER_REAL, interval_s or 0.0, interval_s or 0.0)
        if interval_s is None:
            return
        silent = self._pulse.silent(running, time.monotonic(), interval_s)
        if not silent:
            notify("WATCHDOG=1")
        elif silent != self._silent:
            print(f"mailweir: no sign of life from workers {silent}", file=sys.stderr)
        self._silent = silent

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True
        notify("STOPPING=1")
        self._pass_on(signal.SIGTERM)

    def _reload(self, signum: int, frame: FrameType | None) -> None:
        try:
            if self._path:
                config = load(self._path)
                apart(lambda: refuse_errors(config, self._path))
                make_certificate(config)
                # What workers that are started again begin with; where the spools are and how many stays as it was.
                self._config = msgspec.structs.replace(config, state=self._config.state, workers=self._config.workers)
        except ConfigError as error:
            print(f"mailweir: not reloaded: {error}", file=sys.stderr)
            return
        self._pass_on(signal.SIGHUP)

    def _pass_on(self, signum: int) -> None:
        for pid in list(self._pids):
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                continue


def _name_process(name: str) -> None:
    """What `ps` and `top` show; 15 characters at most."""
    with suppress(OSError):  # no /proc: it stays nameless
        Path("/proc/self/comm").write_text(name)
