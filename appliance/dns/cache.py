"""Answers kept until their time to live ends, in bounded room.

Knows no DNS and reads no clock: the resolver, its only caller, passes the time.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Cache(Generic[_Key, _Value]):
    """At most `entries` values; when full, the one that was put in first leaves, expired or not."""

    __slots__ = ("_entries", "_values")

    def __init__(self, entries: int) -> None:
        self._entries = entries
        # A dict keeps the order of insertion, which is all the order that a first-in-first-out cache needs.
        self._values: dict[_Key, tuple[float, _Value]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: _Key, now_s: float) -> _Value | None:
        """The value of `key`, or None if there is none that is still good at `now_s`."""
        held = self._values.get(key)
        if held is None:
            return None
        until_s, value = held
        if now_s >= until_s:
            del self._values[key]
            return None
        return value

    def put(self, key: _Key, value: _Value, ttl_s: float, now_s: float) -> None:
        """Keeps `value` for `ttl_s` seconds from `now_s`; nothing is kept for 0 seconds (RFC 1035 §3.2.1)."""
        self._values.pop(key, None)
        if ttl_s <= 0 or self._entries <= 0:
            return
        while len(self._values) >= self._entries:
            del self._values[next(iter(self._values))]
        self._values[key] = (now_s + ttl_s, value)
