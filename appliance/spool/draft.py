"""A message on its way into the spool.

The first octets are kept in RAM, for most messages end before there are many; those of a long one go to the page cache
as they arrive. Made by `Spool.begin`; the transaction feeds it and ends it by `commit` or `abandon`, once.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.spool.batch import Done
from appliance.spool.journal import Journal
from appliance.spool.meta import Entry, EntryMeta, Extent
from appliance.spool.record import HEAD_BYTES

INLINE_BYTES = 64 << 10
"""Octets that a draft keeps in RAM, and that travel with its commit."""


class Draft:
    """Not to be used after `commit` or `abandon`; `abandon` alone may be called again."""

    __slots__ = ("_commit", "_journal", "extents", "size_bytes", "tail")

    def __init__(self, journal: Journal, commit: Callable[[Draft, EntryMeta, Done], Entry]) -> None:
        self._journal = journal
        self._commit = commit
        self.size_bytes = 0
        self.extents: list[Extent] = []
        self.tail = bytearray()

    def write(self, view: bytes | bytearray | memoryview) -> None:
        """Takes the next octets, in the form in which they are to be stored; `view` is the caller's again on return.

        Raises:
            SpoolFull, SpoolTrouble: the draft is of no use any more, abandon it; temporary.
        """
        length = len(view)
        self.size_bytes += length
        if len(self.tail) + length <= INLINE_BYTES:
            self.tail += view
            return
        if self.tail:
            self._journal.write_through(memoryview(self.tail), self.extents, draft=True)
            self.tail = bytearray()
        if length > INLINE_BYTES // 2:
            self._journal.write_through(memoryview(view).cast("B"), self.extents, draft=True)
        else:
            self.tail += view

    def commit(self, meta: EntryMeta, done: Done) -> Entry:
        """Makes the message durable; `done` is called on the loop, later: with None, or with the trouble.

        The entry that is returned counts only after `done(None)`. `meta` and its envelope are the spool's from now on;
        `meta.size_bytes` is filled in.
        """
        return self._commit(self, meta, done)

    def abandon(self) -> None:
        """Forgets the octets; their room is free again."""
        for segment, _, length in self.extents:
            segment.release(HEAD_BYTES + length)
        self.extents = []
        self.tail = bytearray()
