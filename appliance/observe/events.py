"""The structured log: one event, one line (or one journal entry), written in batches that never hold up the mail.

Knows when to write and what may not be written; knows nothing of what the events mean. Every room above calls
`event`; the daemon opens, attaches and closes the log; records of Python's `logging` come in by `bridge`.

An event is encoded where it happens and kept as octets: that was three times cheaper than keeping the fields and
encoding them at the flush (measured: 1.6 against 4.9 µs), it bounds the backlog in octets, and nobody need care what
becomes of the dict. What is put off is the system call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from appliance.config.schema import Log
from appliance.core.errors import ConfigError
from appliance.observe.lines import LineSink

DEBUG: Final = logging.DEBUG
INFO: Final = logging.INFO
WARNING: Final = logging.WARNING
ERROR: Final = logging.ERROR

FLUSH_AFTER_S: Final = 0.1
FLUSH_BYTES: Final = 64 << 10
RETRY_AFTER_S: Final = 1.0
BACKLOG_BYTES: Final = 1 << 20
CLOSE_WAIT_S: Final = 1.0

_SECRETS: Final = frozenset({"password", "passwd", "secret", "token", "credentials", "authorization"})
_REFUSED: Final = _SECRETS | {"at", "level", "event"}


class Sink(Protocol):
    """Where finished entries go."""

    def encode(self, at_s: float, level: int, name: str, fields: dict[str, object]) -> bytes:
        """One event in the sink's own form; never raises for content."""

    def write(self, entries: deque[bytes]) -> int:
        """Writes from the left without blocking, removes what is written, returns its octets; never raises."""

    def fileno(self) -> int:
        """The descriptor to wait on until it takes more."""

    def close(self) -> None:
        """Gives the descriptor back."""


class EventLog:
    """The log of one process. `event` is for the loop's thread; other threads go through `logging` and the bridge."""

    strict: ClassVar[bool] = False
    """Set by tests: a field that must not be logged is then an AssertionError, instead of being withheld."""

    def __init__(self, sink: Sink, level: int = INFO, clock: Callable[[], float] = time.time) -> None:
        """Takes `sink` over: `close` closes it."""
        self.dropped = 0
        """Events lost so far because the sink took nothing and the backlog was full."""
        self._sink = sink
        self._level = level
        self._clock = clock
        self._path = ""
        self._entries: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unsaid = 0
        self._blocked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handler: logging.Handler | None = None

    @classmethod
    def open(cls, config: Log) -> EventLog:
        """The log that `[log]` asks for.

        Raises:
            ConfigError: unknown level, or a file that cannot be written.
        """
        level = logging.getLevelName(config.level.upper())
        if not isinstance(level, int):
            raise ConfigError(f'[log] level = "{config.level}": use debug, info, warning or error')
        try:
            log = cls(_sink(config.to), level)
        except OSError as error:
            raise ConfigError(f'[log] to = "{config.to}": {error.strerror}') from error
        log._path = "" if config.to in ("auto", "journal", "stdout") else config.to
        return log

    def event(self, name: str, fields: dict[str, object], level: int = INFO) -> None:
        """Notes that `name` happened. Takes a copy of what it needs of `fields`; costs about 2 µs; never raises."""
        if level < self._level:
            return
        if self._waiting_bytes >= BACKLOG_BYTES:
            self.dropped += 1
            self._unsaid += 1
            return
        if not _REFUSED.isdisjoint(fields):
            fields = self._without_refused(fields)
        entry = self._sink.encode(self._clock(), level, name, fields)
        self._entries.append(entry)
        self._waiting_bytes += len(entry)
        if self._timer is None or (self._waiting_bytes >= FLUSH_BYTES and not self._blocked):
            self._schedule()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on entries are written by a timer of `loop`; before, each is written at once."""
        self._loop = loop

    def bridge(self) -> logging.Handler:
        """Lets the records of Python's `logging` in: ours from this log's level, everybody's from `warning`."""
        if self._handler is None:
            self._handler = _Bridge(self)
            logging.getLogger().addHandler(self._handler)
            logging.getLogger("appliance").setLevel(self._level)
        return self._handler

    def flush(self) -> None:
        """Writes what the sink takes now; the rest stays for the next try."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting_bytes -= self._sink.write(self._entries)
        self._blocked = bool(self._entries)
        if self._unsaid and self._waiting_bytes < BACKLOG_BYTES:
            lost, self._unsaid = self._unsaid, 0
            self.event("log-dropped", {"dropped": lost}, WARNING)
        elif self._blocked:
            self._arm(RETRY_AFTER_S)

    def reopen(self) -> None:
        """After a rotation: goes on in a new file of the same name; nothing to do for other sinks.

        Raises:
            ConfigError: the file cannot be written; the log goes on in the old one.
        """
        if not self._path:
            return
        self.flush()
        try:
            sink = _sink(self._path)
        except OSError as error:
            raise ConfigError(f'[log] to = "{self._path}": {error.strerror}') from error
        self._sink.close()
        self._sink = sink

    def close(self) -> None:
        """Writes the rest, for at most `CLOSE_WAIT_S`, and closes the sink."""
        self._loop = None
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
        deadline_s = time.monotonic() + CLOSE_WAIT_S
        self.flush()
        while self._entries and (left_s := deadline_s - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._sink.fileno(), select.POLLOUT)
            ready = poll.poll(left_s * 1000)
            before = len(self._entries)
            self.flush()
            if len(self._entries) == before and ready:  # broken for good: a peer that is gone is always ready
                break
        self._sink.close()

    def _schedule(self) -> None:
        if self._loop is None or self._waiting_bytes >= FLUSH_BYTES:
            self.flush()
        else:
            self._arm(FLUSH_AFTER_S)

    def _arm(self, delay_s: float) -> None:
        if self._timer is None and self._loop is not None and not self._loop.is_closed():
            self._timer = self._loop.call_later(delay_s, self.flush)

    def _without_refused(self, fields: dict[str, object]) -> dict[str, object]:
        assert not self.strict, f"fields that must not be logged: {sorted(_REFUSED.intersection(fields))}"
        kept = {name: value for name, value in fields.items() if name not in _REFUSED}
        kept.update({name: "(withheld)" for name in fields if name in _SECRETS})
        kept.update({f"field_{name}": value for name, value in fields.items() if name in _REFUSED - _SECRETS})
        return kept


class _Bridge(logging.Handler):
    """Records of Python's `logging` as events named `log`; from other threads by way of the loop."""

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self._log = log
        self._loop_thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, object] = {"logger": record.name, "text": record.getMessage()}
            if record.exc_info:
                fields["trace"] = logging.Formatter().formatException(record.exc_info)
        except Exception:  # noqa: BLE001 - arguments that do not fit the format: the convention of `logging`
            self.handleError(record)
            return
        loop = self._log._loop
        if loop is not None and threading.get_ident() != self._loop_thread:
            try:
                loop.call_soon_threadsafe(self._log.event, "log", fields, record.levelno)
                return
            except RuntimeError:  # the loop is closed: nobody else writes any more
                pass
        self._log.event("log", fields, record.levelno)


def _sink(to: str) -> Sink:
    if to in ("auto", "journal"):
        from appliance.observe import journal  # only services pay for it

        if to == "journal" or journal.present():
            return journal.JournalSink()
    if to in ("auto", "stdout"):
        return LineSink(1)
    fd = os.open(to, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        return LineSink(fd)
    finally:
        os.close(fd)
