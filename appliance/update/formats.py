"""The forms in which a release leaves data behind, and which it can read: so that there is a way back from an update.

The promise: what a release writes, the release before it reads. Whoever changes a form of storage first ships a release
that reads both and writes the old one (`READS` above `WRITES`), and only then one that writes the new. An update that
would break the promise is told before it is installed; and data that a later release wrote is not written over by an
earlier one: the gateway does not start on it. Called by the installer, by the gateway's start, and by `image bundle`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.config.migrations import VERSION as CONFIG
from appliance.core.errors import ConfigError
from appliance.update.record import replace_file

WRITES: Final[Mapping[str, int]] = {"config": CONFIG, "spool": 1, "tracking": 1}
READS: Final[Mapping[str, int]] = {"config": CONFIG, "spool": 1, "tracking": 1}
"""The highest of each that this release understands."""
_IN_STATE: Final = ("spool", "tracking")
"""The configuration is kept elsewhere, and says its own version."""
MARKER: Final = "formats.json"
_PREFIX: Final = "formats"


class NoWayBack(Exception):
    """`str()` says which data an earlier release could not read any more."""


def told(writes: Mapping[str, int] = WRITES) -> str:
    """In the words of a bundle's manifest."""
    return " ".join([_PREFIX, *(f"{name}={number}" for name, number in sorted(writes.items()))])


def parse(text: str) -> dict[str, int]:
    """From those words; empty: they say nothing of it."""
    words = text.split()
    if not words or words[0] != _PREFIX:
        return {}
    pairs = (word.partition("=") for word in words[1:])
    return {name: int(number) for name, _, number in pairs if number.isdecimal()}


def beyond(writes: Mapping[str, int]) -> list[str]:
    """In sentences: what `writes` would leave behind that this release does not understand."""
    reads = READS
    return [
        f"{name} in form {number}, and up to {reads.get(name, 0)} can be read"
        for name, number in sorted(writes.items())
        if number > reads.get(name, 0)
    ]


def claim(state: Path) -> None:
    """To be called before anything is written in the state directory `state`: refuses data of a later release.

    Raises:
        ConfigError: a later release wrote there; nothing was changed.
        OSError: the marker cannot be written.
    """
    path = state / MARKER
    found = _marked(path)
    problems = beyond(found)
    if problems:
        raise ConfigError(
            f"{path}: a later release wrote here ({'; '.join(problems)}): start that release again, "
            "or name another state directory"
        )
    highest = {name: max(WRITES[name], found.get(name, 0)) for name in _IN_STATE}
    if highest != {name: found.get(name) for name in highest}:
        replace_file(path, json.dumps({**found, **highest}, sort_keys=True).encode())


def _marked(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{path}: not to be read; remove it if this release wrote all that is here") from error
    if not isinstance(found, dict) or not all(isinstance(number, int) for number in found.values()):
        raise ConfigError(f"{path}: not to be read; remove it if this release wrote all that is here")
    return {str(name): number for name, number in found.items()}
