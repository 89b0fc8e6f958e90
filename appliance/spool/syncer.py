"""The thread that waits for the disk, so that the event loop need not.

A job is worked off here step by step and then finished on the loop. Commits come first; zeroing and renaming are done
in small steps while there is nothing to commit. The thread also keeps the one alarm of the spool, which lets updates
and removals wait a little for company. It knows neither records nor entries.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

CallSoon = Callable[[Callable[[], None]], object]

_log = logging.getLogger(__name__)


class Job(Protocol):
    """Something for the disk."""

    urgent: bool
    error: Exception | None

    def step(self) -> bool:
        """Works for a moment, in the thread. True: done. What it raises becomes `error` and ends the job."""

    def finish(self) -> None:
        """Tells the result, on the loop."""


class Syncer(Protocol):
    """What the spool needs; a test may work the jobs off by hand."""

    def put(self, job: Job) -> None:
        """Has `job` done, after the urgent ones that were put before."""

    def alarm(self, delay_s: float, ring: Callable[[], None]) -> None:
        """Has `ring` called on the loop after `delay_s`, once. A second alarm replaces the first."""

    def close(self) -> None:
        """Ends the thread when the jobs that were put are done; later ones are worked off by the caller of `put`."""

    def reap(self) -> None:
        """Finishes, on the caller's thread, jobs that are done."""


class _Alarm(NamedTuple):
    at_s: float
    ring: Callable[[], None]


def work(job: Job) -> bool:
    """One step of `job`; True when there is no further one."""
    try:
        return job.step()
    except Exception as error:  # noqa: BLE001 - told by `finish`
        job.error = error
        return True


class Stopped(Exception):
    """The thread ended before a job that was not urgent."""


class SyncThread:
    """The real one. `call_soon` hands a callable over to the loop; it may be called from any thread."""

    def __init__(self, call_soon: CallSoon, name: str) -> None:
        self._call_soon = call_soon
        self._inbox: queue.SimpleQueue[Job | _Alarm | None] = queue.SimpleQueue()
        self._finished: deque[Job] = deque()
        self._background: deque[Job] = deque()
        self._alarm: _Alarm | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        if not self._closed:
            self._inbox.put(job)
            return
        if job.urgent:
            while not work(job):
                pass
        else:
            job.error = Stopped()
        self._finished.append(job)

    def alarm(self, delay_s: float, ring: Callable[[], None]) -> None:
        if not self._closed:
            self._inbox.put(_Alarm(time.monotonic() + delay_s, ring))

    def close(self) -> None:
        if not self._closed:
            self._inbox.put(None)
            self._thread.join()
            self._closed = True

    def reap(self) -> None:
        while self._finished:
            job = self._finished.popleft()
            try:
                job.finish()
            except Exception:  # noqa: BLE001
                _log.exception("event=spool_job_failed job=%s", type(job).__name__)

    def _run(self) -> None:
        while True:
            try:
                message = self._inbox.get(timeout=self._patience_s())
            except queue.Empty:
                self._ring()
                if self._background:
                    self._advance(self._background.popleft())
                continue
            if message is None:
                break
            if isinstance(message, _Alarm):
                self._alarm = message
            elif message.urgent:
                self._advance(message)
            else:
                self._background.append(message)
        for job in self._background:
            job.error = Stopped()
            self._finished.append(job)

    def _advance(self, job: Job) -> None:
        if work(job):
            self._finished.append(job)
            self._tell(self.reap)
        elif job.urgent:
            self._advance(job)
        else:
            self._background.appendleft(job)

    def _patience_s(self) -> float | None:
        if self._background:
            return 0.0
        return None if self._alarm is None else max(0.0, self._alarm.at_s - time.monotonic())

    def _ring(self) -> None:
        alarm = self._alarm
        if alarm is not None and alarm.at_s <= time.monotonic():
            self._alarm = None
            self._tell(alarm.ring)

    def _tell(self, callback: Callable[[], None]) -> None:
        # A closed loop takes nothing any more: `close` and `reap` see to the rest.
        with contextlib.suppress(RuntimeError):
            self._call_soon(callback)
