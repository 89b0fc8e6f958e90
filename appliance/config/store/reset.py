"""Back to how the box was delivered: first a mark, then, at the next start, all that it promised to erase.

The mark goes last, so that an erasure that is cut off is taken up again. `sysd` calls `finish` before it opens the
store, and before any role starts that keeps something in the directories to be emptied.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from appliance.config.store.files import Files, replace_durably

_MARK = "erase-everything"


def request(directory: Path, files: Files) -> None:
    """Promises, durably, that the next start erases the store in `directory` and what belongs to it."""
    replace_durably(files, directory / _MARK, b"", shared=False)


def is_requested(directory: Path) -> bool:
    return (directory / _MARK).exists()


def finish(directory: Path, others: Sequence[Path]) -> bool:
    """Erases what is in the store's `directory` and in `others`, if that was asked for; whether it was.

    Raises:
        OSError: not everything could be erased; the mark stays.
    """
    if not is_requested(directory):
        return False
    for folder in others:
        if folder.is_dir():
            _empty(folder, keep="")
    _empty(directory, keep=_MARK)
    _sync(directory)
    os.unlink(directory / _MARK)
    _sync(directory)
    return True


def _empty(folder: Path, keep: str) -> None:
    for entry in list(os.scandir(folder)):
        if entry.name == keep:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
