"""Failed logins, counted by all workers together: per client address and per login, and who has to wait for it.

`Failures` is the memory, made before the workers are forked; `LockOut` is the rule over it. A worker writes only its
own table and reads those of all, so nothing is locked and nothing lost; one that dies leaves its table to the next
with its number, and an attacker gains nothing by it. Names and addresses lie there as keyed hashes: the memory is
bounded, and nobody outside can aim at another's place. Knows no passwords. Called by `intake.login_gate`.
"""

from __future__ import annotations

import ipaddress
import mmap
import secrets
from collections.abc import Callable
from hashlib import blake2b

from appliance.intake.users_file import normal_name

_WAYS = 8
"""Places for the keys of one set; of more the longest quiet is forgotten."""
_TAG, _COUNT, _LAST, _CELLS = 0, 1, 2, 3
"""A place: hash of the key, failures, time of the last one in milliseconds; 8 octets each."""


class Failures:
    """A table for each worker in one anonymous memory map. `attach` in each worker; the first is everybody's default.

    A place is found by its hash alone, 64 bits: two keys share one by a chance of 1 to 10¹⁵.
    """

    __slots__ = ("_cells", "_map", "_mine", "_sets", "_table_cells", "_tables", "_whose")

    def __init__(self, workers: int, *, sets: int = 2048) -> None:
        """Takes 192 bytes a set and worker, of addresses and logins together; only what is used is ever touched."""
        self._sets = sets
        self._table_cells = sets * _WAYS * _CELLS
        self._map = mmap.mmap(-1, workers * self._table_cells * 8)
        self._cells = memoryview(self._map).cast("Q")
        self._tables = [number * self._table_cells for number in range(workers)]
        self._mine = 0
        self._whose = secrets.token_bytes(32)

    def attach(self, worker: int) -> None:
        """From now on this process writes table `worker`, and goes on with what is in it."""
        self._mine = self._tables[worker]

    def count(self, key: str, since_ms: int) -> int:
        """Failures of `key` over all workers, but for those of a worker that saw none after `since_ms`."""
        tag, first = self._place(key)
        cells, total = self._cells, 0
        for table in self._tables:
            at = self._find(table + first, tag)
            if at >= 0 and cells[at + _LAST] > since_ms:
                total += cells[at + _COUNT]
        return total

    def add(self, key: str, now_ms: int, since_ms: int) -> None:
        """One more failure; this worker's older ones are forgotten where the last was not after `since_ms`."""
        tag, first = self._place(key)
        cells, start = self._cells, self._mine + first
        at = self._find(start, tag)
        if at < 0:
            at = min(range(start, start + _WAYS * _CELLS, _CELLS), key=lambda place: cells[place + _LAST])
            cells[at + _COUNT] = 0
        elif cells[at + _LAST] <= since_ms:
            cells[at + _COUNT] = 0
        cells[at + _LAST] = now_ms
        cells[at + _COUNT] += 1
        cells[at + _TAG] = tag  # last: before, the place is nobody's, or still that of who had been quiet

    def forget(self, key: str) -> None:
        """No failures of `key`, in no table. One that another worker notes in this moment may stay: the safe side."""
        tag, first = self._place(key)
        for table in self._tables:
            at = self._find(table + first, tag)
            if at >= 0:
                self._cells[at + _COUNT] = 0

    def _find(self, start: int, tag: int) -> int:
        cells = self._cells
        for at in range(start, start + _WAYS * _CELLS, _CELLS):
            if cells[at + _TAG] == tag:
                return at
        return -1

    def _place(self, key: str) -> tuple[int, int]:
        """The hash of `key`, never 0, and the first cell of its set."""
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16, key=self._whose).digest()
        tag = int.from_bytes(digest[:8], "big") or 1
        return tag, int.from_bytes(digest[8:], "big") % self._sets * _WAYS * _CELLS


class LockOut:
    """Counts failed logins per client address and per login, separately, and says who has to wait.

    A failure is forgotten `duration_s` after the last one that the same worker noted. A success forgets those of its
    login, never those of the address: one good account must not buy further guesses at others.
    """

    def __init__(self, failures: int, duration_s: float, clock: Callable[[], float], table: Failures) -> None:
        """`failures` lock; `clock` is monotonic, in seconds, and the same in all workers."""
        self._failures = failures
        self._duration_s = duration_s
        self._clock = clock
        self._table = table

    def locked(self, ip: str, login: str = "") -> bool:
        """Whether this client, or this login from anywhere, has failed too often; ask before looking at a password."""
        since_ms = self._since_ms()
        return self._table.count(_address(ip), since_ms) >= self._failures or (
            bool(login) and self._table.count(_login(login), since_ms) >= self._failures
        )

    def failed(self, ip: str, login: str) -> None:
        """Notes a wrong password, or an unknown login: both alike."""
        now_ms, since_ms = int(self._clock() * 1000), self._since_ms()
        for key in (_address(ip), _login(login)):
            self._table.add(key, now_ms, since_ms)

    def succeeded(self, login: str) -> None:
        """Forgets the failures of `login`."""
        self._table.forget(_login(login))

    def _since_ms(self) -> int:
        return int((self._clock() - self._duration_s) * 1000)


def _address(ip: str) -> str:
    """The address, or of IPv6 its /64, which one client can fill alone; IPv4-mapped ones count as IPv4."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return f"address {ip}"
    if isinstance(address, ipaddress.IPv6Address):
        return f"address {address.ipv4_mapped or int(address) >> 64}"
    return f"address {address}"


def _login(login: str) -> str:
    try:
        return f"login {normal_name(login)}"
    except ValueError:
        return f"login {login.lower()}"
