"""One segment file: its name, how full it is, and what keeps it from being used again.

The name carries the generation (the order in which segments were written, never used twice) and the salt of its
records. A segment does no I/O; the pool opens and retires it, the journal writes it.
"""

from __future__ import annotations

import re
import secrets
from array import array
from pathlib import Path

from appliance.spool import record

_NAME = re.compile(r"(\d{10})-([0-9a-f]{16})\.seg")


class Segment:
    """An open segment file. Identity is equality."""

    __slots__ = (
        "bad",
        "capacity",
        "compacted",
        "fd",
        "generation",
        "live_bytes",
        "path",
        "position",
        "preallocated",
        "prefix",
        "readers",
        "refs",
        "retiring",
        "synced_end",
        "tombs",
        "unreadable",
    )

    def __init__(self, path: Path, fd: int, capacity: int, *, preallocated: bool) -> None:
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"not a segment's name: {path.name}")
        self.path = path
        self.fd = fd
        self.generation = int(match[1])
        self.prefix = record.prefix(bytes.fromhex(match[2]))
        self.capacity = capacity
        self.preallocated = preallocated
        """Its blocks are on the disk already; otherwise it grows."""
        self.position = 0
        """Where the next record goes."""
        self.synced_end = 0
        """Everything before this is on stable storage."""
        self.refs = 0
        """Entries, drafts and moves that need it."""
        self.live_bytes = 0
        """What those would have to copy."""
        self.readers = 0
        self.tombs: dict[int, array[int]] = {}
        """By generation of another segment: numbers of entries committed there that a record here removes."""
        self.bad = False
        """A sync failed: nothing is written here again, and the file is not used again."""
        self.unreadable = False
        """Octets could not be read at recovery: the file is left to a person."""
        self.compacted = False
        self.retiring = False

    def acquire(self, size_bytes: int) -> None:
        self.refs += 1
        self.live_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        self.refs -= 1
        self.live_bytes -= size_bytes


def new_name(generation: int) -> str:
    """A name for the file's next life, with a fresh salt."""
    return f"{generation:010d}-{secrets.token_hex(record.SALT_BYTES)}.seg"


def generation_of(name: str) -> int | None:
    """The generation in a segment's or a spare's name; None: neither."""
    match = re.match(r"(\d{10})(?:-[0-9a-f]{16}\.seg|\.spare)$", name)
    return int(match[1]) if match else None


def spare_name(generation: int) -> str:
    """What a file is called that waits for its next life."""
    return f"{generation:010d}.spare"
