"""A message on its way into the spool.

The first octets are kept in RAM, for most messages end before there are many; those of a long one, and those of all
while too much is in RAM, go to the page cache as they arrive. Made by `Spool.begin`; the transaction feeds it and ends
it by `commit` or `abandon`, once.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.spool.batch import Done
from appliance.spool.journal import Journal
from appliance.spool.meta import Entry, EntryMeta, Extent
from appliance.spool.record import HEAD_BYTES

INLINE_BYTES = 128 << 10
"""Octets that a draft keeps in RAM at most, and that travel with its commit."""
LEAN_BYTES = 16 << 10
"""The same while all drafts of the spool have `RAM_BYTES` there."""
RAM_BYTES = 16 << 20
_PIECE_BYTES = 4 << 10
"""Shorter pieces are put together."""


class Draft:
    """Not to be used after `commit` or `abandon`; `abandon` alone may be called again."""

    __slots__ = ("_commit", "_journal", "_open", "extents", "size_bytes", "tail", "tail_bytes")

    def __init__(self, journal: Journal, commit: Callable[[Draft, EntryMeta, Done], Entry]) -> None:
        self._journal = journal
        self._commit = commit
        self._open = True
        self.size_bytes = 0
        self.extents: list[Extent] = []
        self.tail: list[bytearray] = []
        """What is in RAM."""
        self.tail_bytes = 0
        journal.drafts += 1

    def write(self, view: bytes | bytearray | memoryview) -> None:
        """Takes the next octets, in the form in which they are to be stored; `view` is the caller's again on return.

        Raises:
            SpoolFull, SpoolTrouble: the draft is of no use any more, abandon it; temporary.
        """
        length = len(view)
        self.size_bytes += length
        most_bytes = INLINE_BYTES if self._journal.ram_bytes < RAM_BYTES else LEAN_BYTES
        if self.tail_bytes + length > most_bytes:
            self._write_out()
            if length > most_bytes // 2:
                self._journal.write_through(memoryview(view).cast("B"), self.extents, draft=True)
                return
        tail = self.tail
        if tail and len(tail[-1]) < _PIECE_BYTES:
            tail[-1] += view
        else:
            tail.append(bytearray(view))
        self.tail_bytes += length
        self._journal.ram_bytes += length

    def _write_out(self) -> None:
        tail = self.take_tail()
        if tail:
            whole = memoryview(tail[0] if len(tail) == 1 else b"".join(tail))
            self._journal.write_through(whole, self.extents, draft=True)

    def take_tail(self) -> list[bytearray]:
        """What is in RAM; the caller's, with the accounting for it."""
        tail, self.tail = self.tail, []
        self._journal.ram_bytes -= self.tail_bytes
        self.tail_bytes = 0
        return tail

    def close(self) -> None:
        """It is committed or abandoned; may be called again."""
        if self._open:
            self._open = False
            self._journal.drafts -= 1

    def commit(self, meta: EntryMeta, done: Done) -> Entry:
        """Makes the message durable; `done` is called on the loop, later: with None, or with the trouble.

        The entry that is returned counts only after `done(None)`. `meta` and its envelope are the spool's from now on;
        `meta.size_bytes` is filled in.
        """
        return self._commit(self, meta, done)

    def abandon(self) -> None:
        """Forgets the octets; their room is free again."""
        self.close()
        for segment, _, length in self.extents:
            segment.release(HEAD_BYTES + length)
        self.extents = []
        self.take_tail()
