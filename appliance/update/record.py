"""What the data partition remembers of updates: the version in each slot, and why slots were given up.

A file of JSON, replaced as a whole; one that cannot be read is an empty one, for no update may fail by it. Written by
the health gate, the installer and `sysd`, one after the other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

KEPT_FAILURES = 10
_LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class Failure:
    """A start of a slot, or an update, that came to nothing."""

    slot: str
    version: str
    at_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """See the module."""

    versions: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    """Newest last."""

    def holds(self, slot: str, version: str) -> Record:
        """`slot` holds `version`."""
        return replace(self, versions={**self.versions, slot: version})

    def failed(self, slot: str, version: str, at_s: float, reason: str) -> Record:
        """One failure more; the oldest are forgotten."""
        failure = Failure(slot, version, at_s, " ".join(reason.split())[:_LONGEST_REASON])
        return replace(self, failures=(*self.failures, failure)[-KEPT_FAILURES:])


def read(path: Path) -> Record:
    """The record; an empty one where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
        return Record(
            {str(name): str(version) for name, version in found["versions"].items()},
            tuple(_failure(item) for item in found["failures"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Record()


def _failure(item: dict[str, Any]) -> Failure:
    return Failure(str(item["slot"]), str(item["version"]), float(item["at_s"]), str(item["reason"]))


def write(path: Path, record: Record) -> None:
    """Replaces the file, durably. Raises OSError."""
    replace_file(path, json.dumps(asdict(record)).encode())


def replace_file(path: Path, octets: bytes) -> None:
    """Old or new, never mixed, whenever the power goes. Raises OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as stream:
            stream.write(octets)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
