"""Where revisions lie on the disk, and how each of them comes there whole.

    current -> revisions/000007          revisions/000007/mailweir.toml    the text
    secrets/NAME                         revisions/000007/revision.json    who, when, why: makes it whole
    revisions/...                        revisions/000007/outcome.json     confirmed, or rolled back; later
                                         revisions/000007/secrets -> ../../secrets

Knows nothing of what the states mean: `config.store.revisions` does, and is the only caller. Every method raises
`OSError` as the kernel gave it; what it leaves behind then is swept by the next `load`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import msgspec

from appliance.config.store.files import Files, remove_tree, replace_durably, write_durably
from appliance.config.store.revision import Facts, Outcome, digest
from appliance.config.store.secrets import FOLDER

TEXT_FILE = "mailweir.toml"
CURRENT = "current"
_REVISIONS = "revisions"
_FACTS_FILE = "revision.json"
_OUTCOME_FILE = "outcome.json"
_NUMBER = re.compile(r"[0-9]{6,9}")

_T = TypeVar("_T")


class Shelf:
    """One store's directory; `load` comes first."""

    def __init__(self, directory: Path, files: Files) -> None:
        self.directory = directory
        self._files = files
        self._revisions = directory / _REVISIONS
        self._secrets = directory / FOLDER

    def load(self) -> tuple[dict[int, Facts], dict[int, Outcome]]:
        """The whole revisions and what became of them; the rest, of writes that were cut off, is removed."""
        for folder in (self._revisions, self._secrets):
            if not self._files.exists(folder):
                self._files.make_directory(folder)
        self._files.sync_directory(self.directory)
        facts: dict[int, Facts] = {}
        outcomes: dict[int, Outcome] = {}
        for name in self._files.names(self._revisions):
            if _NUMBER.fullmatch(name) and self._files.is_directory(self._revisions / name):
                self._load_one(int(name), facts, outcomes)
        for name in self._files.names(self._secrets):
            if name.endswith(".new"):
                self._files.unlink(self._secrets / name)
        return facts, outcomes

    def _load_one(self, number: int, facts: dict[int, Facts], outcomes: dict[int, Outcome]) -> None:
        folder = self.folder(number)
        try:
            found = self._decoded(folder / _FACTS_FILE, Facts)
            whole = found.number == number and digest(self.text(number)) == found.sha256
        except (FileNotFoundError, ValueError):
            whole = False
        if not whole:
            remove_tree(self._files, folder)
            return
        facts[number] = found
        try:
            outcomes[number] = self._decoded(folder / _OUTCOME_FILE, Outcome)
        except (FileNotFoundError, ValueError):
            return  # none yet

    def _decoded(self, path: Path, kind: type[_T]) -> _T:
        return msgspec.json.decode(self._files.read(path), type=kind)

    # -- the link

    @property
    def link(self) -> Path:
        """The configuration file in force, by a path that stays the same."""
        return self.directory / CURRENT / TEXT_FILE

    def linked(self) -> int | None:
        """The number that the link names, there or not; None without a link."""
        link = self.directory / CURRENT
        if not self._files.exists(link):
            return None
        name = self._files.readlink(link).rpartition("/")[2]
        return int(name) if _NUMBER.fullmatch(name) else 0

    def point_at(self, number: int) -> None:
        """Moves the link to a revision, at once or not at all; 0 removes it."""
        link, fresh = self.directory / CURRENT, self.directory / f"{CURRENT}.new"
        if self._files.exists(fresh):
            self._files.unlink(fresh)
        if number:
            self._files.symlink(f"{_REVISIONS}/{number:06d}", fresh)
            self._files.rename(fresh, link)
        elif self._files.exists(link):
            self._files.unlink(link)
        self._files.sync_directory(self.directory)

    # -- revisions

    def folder(self, number: int) -> Path:
        return self._revisions / f"{number:06d}"

    def path(self, number: int) -> Path:
        return self.folder(number) / TEXT_FILE

    def text(self, number: int) -> str:
        return self._files.read(self.path(number)).decode()

    def write(self, facts: Facts, text: str) -> None:
        """Durably, whole or not at all."""
        folder = self.folder(facts.number)
        if self._files.exists(folder):
            remove_tree(self._files, folder)
        self._files.make_directory(folder)
        self._files.symlink(f"../../{FOLDER}", folder / FOLDER)
        write_durably(self._files, folder / TEXT_FILE, text.encode())
        # Last: a revision without its facts, or with torn ones, is none.
        write_durably(self._files, folder / _FACTS_FILE, msgspec.json.encode(facts))
        self._files.sync_directory(folder)
        self._files.sync_directory(self._revisions)

    def write_outcome(self, number: int, outcome: Outcome) -> None:
        replace_durably(self._files, self.folder(number) / _OUTCOME_FILE, msgspec.json.encode(outcome))

    def remove(self, number: int) -> None:
        """For good when it returns: a revision must not come back without its secrets."""
        folder = self.folder(number)
        self._files.unlink(folder / _FACTS_FILE)  # first: the rest is rubbish from here on, and `load` knows it
        remove_tree(self._files, folder)
        self._files.sync_directory(self._revisions)

    # -- secrets

    def secret_names(self) -> list[str]:
        return self._files.names(self._secrets)

    def secret(self, name: str) -> bytes | None:
        """Its octets; None: it is not there."""
        path = self._secrets / name
        return self._files.read(path) if self._files.exists(path) else None

    def write_secret(self, name: str, octets: bytes) -> None:
        replace_durably(self._files, self._secrets / name, octets)

    def remove_secret(self, name: str) -> None:
        if self._files.exists(self._secrets / name):
            self._files.unlink(self._secrets / name)
