"""The workers' pulse: each writes the time of its last beat into memory that the supervisor shares with it.

A beat comes from the worker's event loop, so a loop that hangs has none. Knows nothing of systemd; the supervisor
decides what follows from silence.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from typing import Final

START_S: Final = 600.0
"""How long a worker may take from its fork to its first beat: a large spool is read before."""


class Pulse:
    """Made before the workers are forked. Times are `time.monotonic()`, in seconds, which is one clock for all."""

    __slots__ = ("_beats", "_forked_s", "_map")

    def __init__(self, workers: int) -> None:
        self._map = mmap.mmap(-1, max(1, workers) * 8)
        self._beats = memoryview(self._map).cast("d")
        self._forked_s: dict[int, float] = {}

    def forked(self, worker: int, now_s: float) -> None:
        """By the supervisor: `worker` is new, and has not beaten yet."""
        self._beats[worker] = 0.0
        self._forked_s[worker] = now_s

    def beat(self, worker: int, now_s: float) -> None:
        """By the worker itself."""
        self._beats[worker] = now_s

    def all_began(self, workers: Iterable[int]) -> bool:
        """Whether each of them has beaten at least once."""
        return all(self._beats[worker] for worker in workers)

    def silent(self, workers: Iterable[int], now_s: float, longest_s: float) -> list[int]:
        """Those whose last beat is longer ago than `longest_s`, or that have not begun in `START_S`."""
        return [
            worker
            for worker in workers
            if now_s - (self._beats[worker] or self._forked_s.get(worker, now_s))
            > (longest_s if self._beats[worker] else START_S)
        ]
