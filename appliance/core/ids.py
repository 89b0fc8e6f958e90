"""Ids of transactions: 16 characters, sortable by time, unique over workers and restarts.

48 bits of milliseconds and 32 of worker, counter and chance, in Crockford's base 32. The caller passes the clock, for
this room reads none.
"""

from __future__ import annotations

import secrets
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]


class IdSource:
    """Makes ids for one worker process. Not to be shared between processes."""

    __slots__ = ("_front", "_front_of", "_low")

    def __init__(self) -> None:
        # A random start keeps two workers, or two lives of one, apart within one millisecond.
        self._low = secrets.randbits(32)
        # The first half is the same for 256 ms; whole numbers of 80 bits cost more than all the rest.
        self._front = ""
        self._front_of = -1

    def next(self, now_ms: int) -> str:
        """A new id at `now_ms` milliseconds since the epoch."""
        low = self._low = (self._low + 0x9E3779B1) & 0xFFFFFFFF
        front_of = now_ms >> 8
        if front_of != self._front_of:
            self._front_of = front_of
            self._front = _four_pairs(front_of & 0xFFFFFFFFFF)
        return self._front + _four_pairs((now_ms & 0xFF) << 32 | low)


def _four_pairs(bits: int) -> str:
    """40 bits as eight characters."""
    pairs = _PAIRS
    return f"{pairs[bits >> 30]}{pairs[bits >> 20 & 1023]}{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}"


def milliseconds_of(transaction_id: str) -> int:
    """When the id was made, milliseconds since the epoch.

    Raises:
        ValueError: not one of our ids.
    """
    if len(transaction_id) != 16:
        raise ValueError(f"not a transaction id: {transaction_id!r}")
    bits = 0
    for character in transaction_id:
        bits = bits << 5 | _ALPHABET.index(character)
    return bits >> 32


def earliest_id(now_ms: int) -> str:
    """The lowest id that could be made at `now_ms` milliseconds since the epoch: a bound for searches by time."""
    bits = (now_ms & 0xFFFFFFFFFFFF) << 32
    return "".join(_ALPHABET[bits >> shift & 31] for shift in range(75, -1, -5))
