"""What is under way just now: an update that is received, downloaded or installed, and how far it is.

One small file in memory, replaced as a whole by whoever does the work, read by whoever asks. Values and that file only.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

IDLE, RECEIVING, DOWNLOADING, INSTALLING, INSTALLED, FAILED = (
    *("idle", "receiving", "downloading"),
    *("installing", "installed", "failed"),
)
BUSY: Final = (RECEIVING, DOWNLOADING, INSTALLING)
_NAME = "activity.json"


@dataclass(frozen=True, slots=True)
class Activity:
    """`percent` is of the present step; `text` a sentence for a person."""

    state: str = IDLE
    percent: int = 0
    text: str = ""
    version: str = ""
    """Of the update, once it is known."""
    slot: str = ""
    """That it goes to."""

    @property
    def busy(self) -> bool:
        return self.state in BUSY


def read(folder: Path) -> Activity:
    """Nothing where there is no file."""
    try:
        return Activity(**json.loads((folder / _NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return Activity()


def write(folder: Path, activity: Activity) -> None:
    """Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = folder / f"{_NAME}.{os.getpid()}.new"
    beside.write_text(json.dumps(asdict(activity)))
    beside.replace(folder / _NAME)
