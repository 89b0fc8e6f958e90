"""The `digest` scanner: SHA-256 of the message, dot-stuffing undone, by OpenSSL through hashlib.

A fact for the log and for whoever looks for the same message again; it has the tag `info`, so policy does not act on
it. Knows nothing else. Built by `scan.build`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from appliance.core.verdict import FailPolicy, Finding
from appliance.scan.contract import Done, Scan
from appliance.scan.unstuff import Unstuffer

NAME: Final = "digest"


class DigestScanner:
    """Makes scans; holds nothing."""

    __slots__ = ("fail", "name")

    def __init__(self, fail: FailPolicy) -> None:
        self.name = NAME
        self.fail = fail

    def begin(self, *, dotted: bool, on_drained: Callable[[], None]) -> Scan:
        """A scan; it never says that it is full."""
        return _DigestScan(dotted)

    async def close(self) -> None:
        """Nothing to give back."""


class _DigestScan:
    __slots__ = ("_hash", "_unstuffer")

    def __init__(self, dotted: bool) -> None:
        self._hash = hashlib.sha256()
        self._unstuffer = Unstuffer() if dotted else None

    def feed(self, view: memoryview) -> bool:
        """Hashes `view`, keeps nothing of it."""
        if self._unstuffer is None:
            self._hash.update(view)
        else:
            for piece in self._unstuffer.feed(view):
                self._hash.update(piece)
        return True

    def finish(self, done: Done) -> None:
        """Calls `done` at once."""
        done((Finding(NAME, "sha256", self._hash.hexdigest(), tags=("info",)),))

    def abort(self) -> None:
        """Nothing to give back."""
