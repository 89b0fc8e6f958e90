"""The index of a spool, rebuilt from its segments.

Records are read in the order in which they were written. An entry is there if its commit is whole, every chunk that
the commit names is whole, and no later record removes it. That is true for each entry that was acknowledged, and may be
true for one whose acknowledgement the crash forestalled: a duplicate at worst, never a loss. Called by `Spool.open`.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from appliance.core.errors import SpoolTrouble
from appliance.spool import codec, record
from appliance.spool.disk import Disk
from appliance.spool.meta import Entry, Extent, RecipientState
from appliance.spool.record import HEAD_BYTES, PAGE_BYTES, Kind, Record
from appliance.spool.segment import Segment

_log = logging.getLogger(__name__)


class _Commit(NamedTuple):
    segment: Segment
    stored: codec.StoredMeta
    inline: codec.StoredExtent | None
    record_bytes: int


class Recovery:
    """Reads all of `segments` (by generation, ascending); then `entries` are those found."""

    def __init__(self, disk: Disk, segments: dict[int, Segment]) -> None:
        self._disk = disk
        self._segments = segments
        self._chunks: set[codec.StoredExtent] = set()
        self._commits: dict[int, list[_Commit]] = {}
        self._states: dict[int, tuple[Segment, int, codec.StoredStates]] = {}
        self._removed: dict[int, list[int]] = {}
        self.entries: list[Entry] = []

    def run(self) -> list[Entry]:
        """The entries, oldest first; segments have their references and tombs afterwards.

        Raises:
            SpoolTrouble: a whole record of another format; nothing was changed.
        """
        for segment in self._segments.values():
            for found in self._records(segment):
                try:
                    self._take(segment, found)
                except ValueError as error:
                    raise SpoolTrouble(f"{segment.path} at {found.payload_offset}: {error}") from error
        for number, removers in self._removed.items():
            self._bury(number, removers)
        for number, commits in self._commits.items():
            self._revive(number, commits)
        return self.entries

    def _records(self, segment: Segment) -> Iterator[Record]:
        def read(offset: int, length: int) -> bytes:
            try:
                return self._disk.read(segment.fd, length, offset)
            except OSError as error:
                if not segment.unreadable:
                    _log.error("event=spool_unreadable path=%s offset=%d error=%s", segment.path, offset, error)
                segment.unreadable = True
                return self._read_pages(segment, offset, length)

        return record.scan(read, segment.capacity, segment.prefix)

    def _read_pages(self, segment: Segment, offset: int, length: int) -> bytes:
        """What can be read of a damaged stretch, with zeros for the rest."""
        end = min(offset + length, segment.capacity)
        pages = bytearray()
        while offset < end:
            size = min(PAGE_BYTES - offset % PAGE_BYTES, end - offset)
            try:
                page = self._disk.read(segment.fd, size, offset)
            except OSError:
                page = b""
            pages += page.ljust(size, b"\0")
            offset += size
        return bytes(pages)

    def _take(self, segment: Segment, found: Record) -> None:
        if found.kind == Kind.CHUNK:
            self._chunks.add((segment.generation, found.payload_offset, len(found.payload)))
        elif found.kind == Kind.COMMIT:
            stored, body_at = codec.decode_commit(found.payload)
            size_bytes = len(found.payload)
            inline = None
            if body_at < size_bytes:
                inline = (segment.generation, found.payload_offset + body_at, size_bytes - body_at)
                self._chunks.add(inline)  # an entry that was moved may name them as a chunk
            commit = _Commit(segment, stored, inline, HEAD_BYTES + size_bytes)
            self._commits.setdefault(found.number, []).append(commit)
        elif found.kind == Kind.STATES:
            self._states[found.number] = (segment, HEAD_BYTES + len(found.payload), codec.decode_states(found.payload))
        elif found.kind == Kind.REMOVED:
            numbers = array("Q", bytes(found.payload))
            for number in numbers:
                self._removed.setdefault(number, []).append(segment.generation)
        else:
            raise ValueError(f"unknown kind {found.kind}")

    def _bury(self, number: int, removers: list[int]) -> None:
        """Forgets a removed entry; the newest record that removes it is kept while any commit of it lies elsewhere."""
        remover = self._segments[max(removers)]
        for commit in self._commits.pop(number, ()):
            generation = commit.segment.generation
            if generation != remover.generation:
                remover.tombs.setdefault(generation, array("Q")).append(number)

    def _revive(self, number: int, commits: list[_Commit]) -> None:
        """Makes an entry of its newest whole commit: a crash may have cut the moving of an entry short."""
        for commit in reversed(commits):
            if self._chunks.issuperset(commit.stored.extents):
                break
        else:
            _log.warning("event=spool_torn_entry id=%s path=%s", commits[-1].stored.id, commits[-1].segment.path)
            return
        try:
            entry = self._entry(number, commit)
        except (ValueError, IndexError) as error:
            raise SpoolTrouble(f"{commit.segment.path}: entry {commit.stored.id}: {error}") from error
        entry.commit_generations = tuple(each.segment.generation for each in commits)
        for home, size_bytes in entry.holds:
            home.acquire(size_bytes)
        self.entries.append(entry)

    def _entry(self, number: int, commit: _Commit) -> Entry:
        meta = commit.stored.entry_meta()
        entry = Entry(number, meta, [RecipientState() for _ in meta.envelope.recipients])
        entry.durable = True
        for generation, offset, length in commit.stored.extents:
            home = self._segments[generation]
            entry.extents.append(Extent(home, offset, length))
            entry.holds.append((home, HEAD_BYTES + length))
        entry.holds.append((commit.segment, commit.record_bytes))
        if commit.inline is not None:
            entry.extents.append(Extent(commit.segment, *commit.inline[1:]))
        self._apply_states(entry)
        return entry

    def _apply_states(self, entry: Entry) -> None:
        segment, record_bytes, stored = self._states.get(entry.number, (None, 0, None))
        if segment is None or stored is None or len(stored.rows) != len(entry.recipients):
            return
        entry.recipients = stored.states()
        entry.meta.held, entry.meta.hold_reason = stored.held, stored.hold_reason
        entry.states_hold = (segment, record_bytes)
        segment.acquire(record_bytes)
