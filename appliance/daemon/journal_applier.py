"""How much of the journal is kept on the box's disk, as a part of the configuration that `sysd` applies and takes back.

The image has the journal in memory, and a link from journald's place on disk to the data partition; a file in `/run`
has journald write there, so a start sets it anew. Turned off, what was kept stays: it can be read until a factory reset
empties the folder. Only an appliance has this applier: `mailweir sysd --journal`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from appliance.config.schema import Config
from appliance.control.ports import Service

SETTINGS = Path("systemd/journald.conf.d/zz-mailweir.conf")
"""Below `/run`. journald reads such files by their names' order, from all folders: it must come after the image's."""
FLUSHED = Path("systemd/journal/flushed")
"""journald's own mark that it writes to the disk since it was told that the disk is there."""


class JournalNotKept(Exception):
    """Nothing can be kept; `str()` says why, and the remedy."""


class JournalApplier:
    """An `Applier`; see `config.store.applier`."""

    name = "journal"
    at_start = True

    def __init__(
        self,
        journald: Service,
        on_disk: Service,
        tell: Callable[[str, dict[str, object]], None],
        *,
        run_dir: Path = Path("/run"),
        place: Path = Path("/var/log/journal"),
    ) -> None:
        """`on_disk` is the unit that has journald move to the disk, and leave it before the disk goes.

        `tell` logs an event; `place` is where journald writes, a link to the data partition.
        """
        self._journald = journald
        self._on_disk = on_disk
        self._tell = tell
        self._settings = run_dir / SETTINGS
        self._flushed = run_dir / FLUSHED
        self._place = place

    async def apply(self, old: Config | None, new: Config) -> None:
        """Raises JournalNotKept, or OSError: the files in `/run` cannot be written, or journald does not start."""
        await self._set(new.log.keep_mib, at_first=old is None)

    async def undo(self, old: Config | None, new: Config) -> None:
        if old is not None:
            await self._set(old.log.keep_mib, at_first=False)

    async def _set(self, keep_mib: int, *, at_first: bool) -> None:
        if keep_mib and not (self._place.is_symlink() and self._place.is_dir()):
            raise JournalNotKept(f"{self._place} leads to no disk, so nothing can be kept; set log.keep_mib = 0")
        # A start may follow one that broke off between the file and journald.
        doubtful = at_first and bool(keep_mib or self._flushed.exists())
        if not self._write(_settings(keep_mib)) and not doubtful:
            return
        if keep_mib:
            await self._journald.restart()
            await self._on_disk.restart()
        else:
            await self._on_disk.stop()
            await self._journald.restart()
            self._flushed.unlink(missing_ok=True)
        self._tell("journal_set", {"keep_mib": keep_mib})

    def _write(self, text: str) -> bool:
        """Whether anything was changed; "" is no file."""
        with contextlib.suppress(FileNotFoundError):
            if self._settings.read_text() == text:
                return False
            if not text:
                self._settings.unlink()
                return True
        if not text:
            return False
        self._settings.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        beside = self._settings.with_name(".new")
        beside.write_text(text)
        os.replace(beside, self._settings)
        return True


def _settings(keep_mib: int) -> str:
    return f"[Journal]\nStorage=persistent\nSystemMaxUse={keep_mib}M\n" if keep_mib else ""
