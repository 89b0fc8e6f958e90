"""The way back of an apply that is under way, in a file; whoever finds one at its start knows that it broke off.

It lies in `/run`, which a reboot empties together with the kernel's network that it speaks of. Knows neither plan nor
netlink. Called by `apply`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from appliance.network.values import Wanted

FILE = Path("/run/mailweir/network.journal")


def begin(path: Path, back: Wanted) -> None:
    """Writes the way back, whole or not at all, before the first step is done.

    Raises:
        OSError: it could not be written; do not begin.
    """
    beside = path.with_name(f"{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(msgspec.json.encode(back))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def end(path: Path) -> None:
    """All steps are done, or undone."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def left_over(path: Path) -> Wanted | None:
    """The way back of an apply that broke off; None if none did. What cannot be read counts as none.

    Raises:
        OSError: the file is there, but cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Wanted)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
