"""Backup to a folder, and restore from it: a stick, wherever it is mounted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from appliance.config.store.archive import MAX_ARCHIVE_BYTES
from appliance.console.change import commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Question, Wrong

_SUFFIX = ".mailweir.tar"
_MOST_FILES = 40
_HELP = (
    "The folder where the stick is mounted, as in /media/stick.",
    "The file holds the configuration and its secrets, not encrypted.",
    "Keep the stick as safe as the keys.",
)


@dataclass(frozen=True, slots=True)
class _Act:
    title: str
    saves: bool


@dataclass(frozen=True, slots=True)
class _File:
    path: Path

    @property
    def title(self) -> str:
        return self.path.name


def backup_page(desk: Desk) -> None:
    acts = (_Act("backup: write configuration and secrets to a folder", True), _Act("restore: read them back", False))
    saves = desk.dialogue.choose(acts).saves
    mounted = desk.machine.folders()
    default = str(mounted[0]) if mounted else ""
    folder = desk.dialogue.ask(Question("Folder", _HELP, _folder, default))
    if saves:
        save(desk, folder)
    else:
        _restore(desk, folder)


def save(desk: Desk, folder: Path) -> Path:
    """The new file's path. Raises OSError: nothing of it stays."""
    made, octets = desk.sysd.export()
    path = _new_file(folder, desk.config().hostname, made.revision)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as target:
            target.write(octets)
            target.flush()
            os.fsync(target.fileno())
        _sync_folder(folder)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    desk.dialogue.say(f"Revision {made.revision}, {len(octets)} octets, is in {path}.")
    for outside in made.outside:
        desk.dialogue.say(f"  Not in it, for it lies elsewhere: {outside}")
    return path


def _restore(desk: Desk, folder: Path) -> None:
    files = [_File(path) for path in sorted(folder.glob(f"*{_SUFFIX}"))[-_MOST_FILES:]]
    if not files:
        desk.dialogue.say(f"There is no *{_SUFFIX} in {folder}.")
        return
    path = desk.dialogue.choose(files, "File", 1 if len(files) == 1 else 0).path
    with path.open("rb") as source:
        octets = source.read(MAX_ARCHIVE_BYTES + 1)
    commit(desk, desk.sysd.take_in(octets, f"restored from {path.name}"))


def _new_file(folder: Path, hostname: str, revision: int) -> Path:
    stem = f"{hostname[:60]}-{revision}"
    path, number = folder / f"{stem}{_SUFFIX}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{_SUFFIX}", number + 1
    return path


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _folder(raw_answer: str) -> Path:
    path = Path(raw_answer)
    if not raw_answer.startswith("/") or "\0" in raw_answer or not path.is_dir():
        raise Wrong("write a folder that is there, from the root, as in /media/stick")
    return path
