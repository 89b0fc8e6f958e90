"""One group commit: what is written and synced together, and who is told.

Filled on the loop by the journal and the spool, written in the sync thread, settled on the loop. While it is under way,
the next one fills.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from appliance.core.errors import GatewayError, SpoolFull, SpoolTrouble
from appliance.spool.disk import Buffer, Disk
from appliance.spool.meta import Entry, Extent
from appliance.spool.segment import Segment

Done = Callable[[GatewayError | None], None]
Hold = tuple[Segment, int]


class Removal(NamedTuple):
    """An entry that is no more, told to the disk."""

    number: int
    generations: tuple[int, ...]
    """Where commits of it may still lie."""
    holds: tuple[Hold, ...]
    """Given back when the removal is durable, not before: an entry that a crash brings back comes back whole."""


class Run:
    """Buffers that follow each other in one segment."""

    __slots__ = ("buffers", "end", "offset", "segment")

    def __init__(self, segment: Segment, offset: int) -> None:
        self.segment = segment
        self.offset = offset
        self.end = offset
        self.buffers: list[Buffer] = []


class Move:
    """A compacted entry's new place; it counts when the batch is durable."""

    __slots__ = ("entry", "extents", "generation", "holds")

    def __init__(self, entry: Entry, extents: list[Extent], holds: list[Hold], generation: int) -> None:
        self.entry = entry
        self.extents = extents
        self.holds = holds
        self.generation = generation


class Batch:
    """A job of the sync thread. Everything in it belongs to the batch until it is settled."""

    urgent = True

    def __init__(self, disk: Disk, directory: Path, settle: Callable[[Batch], None]) -> None:
        self._disk = disk
        self._directory = directory
        self._settle = settle
        self.error: Exception | None = None
        self.runs: list[Run] = []
        self.dirty: dict[Segment, int] = {}
        """Segments to sync, each with the end of what is written in it."""
        self.new_file = False
        """A segment was made without its directory being synced."""
        self.commits: list[tuple[Entry, Done]] = []
        self.states: list[tuple[Entry, Hold]] = []
        self.removals: list[tuple[Segment, list[Removal]]] = []
        """Each with the segment where it is told."""
        self.moves: list[Move] = []
        self.dones: list[Done] = []
        self.ram_bytes = 0
        """Octets of bodies that it keeps in RAM."""
        self.fsyncs = 0
        self.bytes_written = 0

    def step(self) -> bool:
        disk = self._disk
        for run in self.runs:
            disk.write(run.segment.fd, run.buffers, run.offset)
            self.bytes_written += run.end - run.offset
        for segment in self.dirty:
            disk.sync(segment.fd)
            self.fsyncs += 1
        if self.new_file:
            disk.sync_directory(self._directory)
            self.fsyncs += 1
        return True

    def finish(self) -> None:
        self._settle(self)


def as_gateway_error(error: Exception) -> GatewayError:
    """What the client may hear of `error`, with the private reason inside."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        trouble: GatewayError = SpoolFull(str(error))
    else:
        trouble = SpoolTrouble(f"{type(error).__name__}: {error}")
    trouble.__cause__ = error
    return trouble
