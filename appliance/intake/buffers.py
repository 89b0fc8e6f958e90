"""Receive buffers of one worker: a scratch buffer that all sessions share, and a free list of owned ones.

A session reads into the scratch buffer as long as nobody wants to keep what came; measured, a fresh buffer for each
read is slower than one that stays in the cache. Whoever keeps a view takes the whole buffer over (`adopt`) and gives
it back (`give`) when no view is left. The budget counts what is owned.
"""

from __future__ import annotations

from typing import Final

BUFFER_BYTES: Final = 256 << 10
_MAX_FREE: Final = 32


class BufferPool:
    """Not thread-safe; one per worker."""

    __slots__ = ("_budget_bytes", "_free", "owned_bytes", "scratch", "scratch_view")

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._free: list[bytearray] = []
        self.owned_bytes = 0
        self.scratch = bytearray(BUFFER_BYTES)
        self.scratch_view = memoryview(self.scratch)

    @property
    def exhausted(self) -> bool:
        """The budget for bodies in memory is used up: take no new one."""
        return self.owned_bytes >= self._budget_bytes

    def adopt_scratch(self) -> bytearray:
        """The scratch buffer becomes the caller's, with what is in it; another one takes its place."""
        taken = self.scratch
        self.scratch = self._free.pop() if self._free else bytearray(BUFFER_BYTES)
        self.scratch_view = memoryview(self.scratch)
        self.owned_bytes += BUFFER_BYTES
        return taken

    def take(self) -> bytearray:
        """A buffer that is the caller's until it gives it back. Check `exhausted` before a message."""
        self.owned_bytes += BUFFER_BYTES
        return self._free.pop() if self._free else bytearray(BUFFER_BYTES)

    def give(self, buffer: bytearray) -> None:
        """Gives a buffer back; no view of it may be read any more."""
        self.owned_bytes -= BUFFER_BYTES
        if len(self._free) < _MAX_FREE:
            self._free.append(buffer)
