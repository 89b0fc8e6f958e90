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

    __slots__ = ("_base", "_count")

    def __init__(self) -> None:
        # A random start keeps two workers, or two lives of one, apart within one millisecond.
        self._base = secrets.randbits(32)
        self._count = 0

    def next(self, now_ms: int) -> str:
        """A new id at `now_ms` milliseconds since the epoch."""
        self._count += 1
        bits = (now_ms & 0xFFFFFFFFFFFF) << 32 | (self._base + self._count * 0x9E3779B1) & 0xFFFFFFFF
        pairs = _PAIRS
        return (
            pairs[bits >> 70]
            + pairs[bits >> 60 & 1023]
            + pairs[bits >> 50 & 1023]
            + pairs[bits >> 40 & 1023]
            + pairs[bits >> 30 & 1023]
            + pairs[bits >> 20 & 1023]
            + pairs[bits >> 10 & 1023]
            + pairs[bits & 1023]
        )


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
