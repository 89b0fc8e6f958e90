"""Counts that all workers share, in one anonymous memory map: sessions and rates per address, without locks.

Each worker writes only its own column and reads the sum over all of them, so no write can be lost. Keys are hashed
into one row of cells: a collision can count too much, never too little, and with 16,384 cells a busy gateway's
addresses rarely meet. Rates live in windows of one minute; this minute's and the last one's, weighed, give the
sliding rate. A worker that died is forgotten by `clear`.

A profile showed the first form, a sketch of two rows with generators, to be a quarter of all calls for a small
message: hence the one row, the remembered cells and the plain loops.
"""

from __future__ import annotations

import ipaddress
import mmap
import zlib
from typing import Final

from appliance.intake.lock_out import Failures

_CELLS: Final = 16384
_KINDS: Final = 4
SESSIONS: Final = 0
NEW_SESSIONS: Final = 1
MESSAGES: Final = 2
RECIPIENTS: Final = 3
_TOTAL: Final = _KINDS * 2 * _CELLS  # place of the worker's own total of sessions
_MINUTE: Final = _TOTAL + 1  # place of the minute that its rate windows belong to
_COLUMN_CELLS: Final = _TOTAL + 2
_REMEMBERED_KEYS: Final = 4096


class SharedCounts:
    """Made before the workers are forked; `attach` in each worker."""

    __slots__ = ("_cells", "_columns", "_known", "_map", "_mine", "_minute", "failures")

    def __init__(self, workers: int) -> None:
        self._map = mmap.mmap(-1, max(1, workers) * _COLUMN_CELLS * 4)
        self._cells = memoryview(self._map).cast("I")
        self._columns = [n * _COLUMN_CELLS for n in range(max(1, workers))]
        self._mine = 0
        self._minute = 0
        self._known: dict[bytes, int] = {}
        self.failures = Failures(max(1, workers))
        """Of logins; these outlive the worker that counted them."""

    def attach(self, worker: int) -> None:
        """From now on this process writes column `worker`, which it empties first."""
        self.clear(worker)
        self._mine = self._columns[worker]
        self._minute = 0
        self.failures.attach(worker)

    def clear(self, worker: int) -> None:
        """Forgets what a worker that is gone had counted."""
        start = self._columns[worker] * 4
        self._map[start : start + _COLUMN_CELLS * 4] = bytes(_COLUMN_CELLS * 4)

    def opened(self, key: bytes, now_s: float) -> None:
        """A session from `key` began."""
        cells, mine = self._cells, self._mine
        cells[mine + _TOTAL] += 1
        cells[mine + self._cell(key)] += 1
        self.count(NEW_SESSIONS, key, 1, now_s)

    def closed(self, key: bytes) -> None:
        """A session from `key` ended."""
        cells, mine = self._cells, self._mine
        cells[mine + _TOTAL] -= 1
        cells[mine + self._cell(key)] -= 1

    def withdrawn(self, key: bytes, now_s: float) -> None:
        """A session counted by `opened` turned out to be another client's: as if it had never been from `key`."""
        self.closed(key)
        minute = int(now_s) // 60
        if minute != self._minute:
            self._turn(minute)
        place = self._mine + (NEW_SESSIONS * 2 + (minute & 1)) * _CELLS + self._cell(key)
        if self._cells[place]:  # else it began in another minute, whose count weighs less and less
            self._cells[place] -= 1

    def sessions(self) -> int:
        """Sessions open now, over all workers."""
        total, cells = 0, self._cells
        for column in self._columns:
            total += cells[column + _TOTAL]
        return total

    def sessions_of(self, key: bytes) -> int:
        """Sessions open now from `key`, over all workers."""
        total, cells, cell = 0, self._cells, self._cell(key)
        for column in self._columns:
            total += cells[column + cell]
        return total

    def count(self, kind: int, key: bytes, amount: int, now_s: float) -> None:
        """Adds to a rate."""
        minute = int(now_s) // 60
        if minute != self._minute:
            self._turn(minute)
        self._cells[self._mine + (kind * 2 + (minute & 1)) * _CELLS + self._cell(key)] += amount

    def rate(self, kind: int, key: bytes, now_s: float) -> float:
        """Events of the last 60 seconds: this minute's, and the share of the last one's that is not over yet."""
        minute = int(now_s) // 60
        if minute != self._minute:
            self._turn(minute)
        cells, cell = self._cells, self._cell(key)
        this_place = (kind * 2 + (minute & 1)) * _CELLS + cell
        last_place = (kind * 2 + (~minute & 1)) * _CELLS + cell
        this = last = 0
        for column in self._columns:
            written = cells[column + _MINUTE]
            if written == minute:
                this += cells[column + this_place]
                last += cells[column + last_place]
            elif written == minute - 1:  # an idle worker has not turned its page yet: its newest window is the last
                last += cells[column + last_place]
        return this + last * (1.0 - now_s % 60.0 / 60.0) if last else this

    def _cell(self, key: bytes) -> int:
        cell = self._known.get(key)
        if cell is None:
            if len(self._known) >= _REMEMBERED_KEYS:
                self._known.clear()
            cell = self._known[key] = zlib.crc32(key) % _CELLS
        return cell

    def _turn(self, minute: int) -> None:
        """A new minute: its window is emptied, and the other one too unless it is the minute before."""
        stale = (minute & 1,) if minute == self._minute + 1 else (0, 1)
        self._minute = minute
        for kind in (NEW_SESSIONS, MESSAGES, RECIPIENTS):
            for window in stale:
                start = (self._mine + (kind * 2 + window) * _CELLS) * 4
                self._map[start : start + _CELLS * 4] = bytes(_CELLS * 4)
        self._cells[self._mine + _MINUTE] = minute


def key_of(ip: str) -> tuple[bytes, bool]:
    """What limits count by: an IPv4 address, or the /64 of an IPv6 one; and whether it is a /64."""
    if ":" not in ip:
        return ip.encode(), False
    try:
        address = ipaddress.IPv6Address(ip.partition("%")[0])
    except ValueError:
        return ip.encode(), False
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped).encode(), False
    return address.packed[:8], True
