"""A circuit breaker for one server: after a few failures in a row it is left alone, then probed once (half-open).

Pure: the caller brings the time. Used by the pool, and by the queue's runner for MX destinations.
"""

from __future__ import annotations


class Breaker:
    """Closed: use it. Open: do not. Half-open: one caller may try, the others wait for what becomes of it."""

    __slots__ = ("_failures", "_limit", "_probing", "_reset_s", "_until_s")

    def __init__(self, failures: int, reset_s: float) -> None:
        """Opens after `failures` in a row, for `reset_s` seconds."""
        self._limit = failures
        self._reset_s = reset_s
        self._failures = 0
        self._until_s = 0.0
        self._probing = False

    def allows(self, now_s: float) -> bool:
        """Whether the server may be tried now; once it is open and its time is over, True for one caller only."""
        if self._failures < self._limit:
            return True
        if now_s < self._until_s or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        self._failures = 0
        self._probing = False

    def failed(self, now_s: float) -> None:
        self._failures += 1
        self._probing = False
        self._until_s = now_s + self._reset_s

    def is_open(self, now_s: float) -> bool:
        """Without taking the probe."""
        return self._failures >= self._limit and (now_s < self._until_s or self._probing)
