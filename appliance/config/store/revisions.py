"""The revisions of the configuration, and which one is in force. Moving one symbolic link is the only switch there is.

A revision is whole on the disk before the link moves to it, and what is in force without a confirmed outcome is rolled
back at the next `open`. So a power cut at any point leaves the old configuration or the new one. Does no checking and
no applying: that is `config.store.commit`. Blocks on the disk; changes must take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from appliance.config.migrations import VERSION, version_of
from appliance.config.store.edit import document_of, migrated_text, set_value
from appliance.config.store.files import Files
from appliance.config.store.revision import STORE, Facts, Outcome, Result, State, StoreError, digest
from appliance.config.store.secrets import FOLDER, check_secrets, next_name, references, secret_name, secret_names
from appliance.config.store.shelf import Shelf

KEEP = 50
"""Revisions, proposals among them; what is more is forgotten."""


class Store:
    """One directory of revisions; made by `open`, and closed by the one who opened it."""

    def __init__(self, directory: Path, files: Files, clock: Callable[[], float], version: int) -> None:
        self.directory = directory
        self.recovered = ""
        """What `open` had to do, for the log; empty: nothing."""
        self.recovered_from = 0
        """The revision that `open` took out of force; 0: none that could be read."""
        self._shelf = Shelf(directory, files)
        self._files = files
        self._clock = clock
        self._version = version
        self._facts: dict[int, Facts] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._current = 0
        self._lock = -1

    @classmethod
    def open(cls, directory: Path, files: Files, *, clock: Callable[[], float], version: int = VERSION) -> Store:
        """The store in `directory`, which is made if only its last part is missing. Rolls back what was not confirmed.

        Args:
            clock: seconds since the epoch, for the history.
            version: of the format that this release reads. A later one, left by a later release that was given up,
                is replaced by the newest confirmed revision that can be read.

        Raises:
            StoreError: another process has it open.
            OSError: the disk.
        """
        if not files.exists(directory):
            files.make_directory(directory)
            files.sync_directory(directory.parent)
        store = cls(directory, files, clock, version)
        try:
            store._lock = files.lock(directory / ".lock")
        except BlockingIOError as error:
            raise StoreError(f"{directory} is in use by another process; is sysd running already?") from error
        try:
            store._recover()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        if self._lock >= 0:
            self._files.unlock(self._lock)
            self._lock = -1

    # -- what there is

    @property
    def current(self) -> int:
        """The revision in force; 0: none was ever confirmed, nor is one being tried."""
        return self._current

    @property
    def unconfirmed(self) -> int:
        """The revision in force if it is still to be confirmed, else 0."""
        return self._current if self._current and self._current not in self._outcomes else 0

    @property
    def link(self) -> Path:
        """The configuration file in force, by a path that stays the same."""
        return self._shelf.link

    @property
    def numbers(self) -> list[int]:
        return sorted(self._facts)

    def facts(self, number: int) -> Facts:
        """Raises StoreError: there is no such revision."""
        found = self._facts.get(number)
        if found is None:
            raise StoreError(f"there is no revision {number}; `mailweir config history` lists those kept")
        return found

    def outcome(self, number: int) -> Outcome | None:
        return self._outcomes.get(number)

    def state(self, number: int) -> State:
        outcome = self._outcomes.get(self.facts(number).number)
        if outcome is not None and outcome.result is Result.ROLLED_BACK:
            return State.ROLLED_BACK
        if number == self._current:
            return State.CURRENT if outcome is not None else State.UNCONFIRMED
        if outcome is not None:
            return State.CONFIRMED
        return State.PROPOSED if self._facts[number].base == self._current else State.OUTDATED

    def text(self, number: int) -> str:
        """The configuration's text of a revision; empty for 0, before the first."""
        return self._shelf.text(self.facts(number).number) if number else ""

    def path(self, number: int) -> Path:
        return self._shelf.path(number)

    def secrets(self, number: int) -> dict[str, bytes]:
        """The secrets that a revision refers to, as they are now; those that are missing are left out."""
        found = {name: self._shelf.secret(name) for name in secret_names(document_of(self.text(number)))}
        return {name: octets for name, octets in found.items() if octets is not None}

    def has_secret(self, name: str) -> bool:
        return name in self._shelf.secret_names()

    # -- what can be done

    def add(self, text: str, author: str, reason: str, secrets: Mapping[str, bytes] | None = None) -> int:
        """Keeps `text`, and `secrets` by their names in `secrets/`, as a new revision; returns its number.

        A secret whose name is taken by other octets gets a new name, and the text refers to that. Nothing changes
        for anybody who reads `link`.

        Raises:
            StoreError: not TOML, or a secret that cannot be kept.
            OSError: the disk; nothing but dead files is left, which `open` removes.
        """
        version = version_of(document_of(text))
        check_secrets(secrets or {}, secret_names(document_of(text)))
        text, written = self._with_secrets(text, secrets or {})
        owned = written.union(*(facts.secrets for facts in self._facts.values()))
        facts = Facts(
            number=max(self._facts, default=0) + 1,
            base=self._current,
            author=author,
            at_s=self._clock(),
            reason=reason,
            version=version,
            sha256=digest(text),
            secrets=[name for name in secret_names(document_of(text)) if name in owned],
        )
        self._shelf.write(facts, text)
        self._facts[facts.number] = facts
        with suppress(OSError):
            self._prune()
        return facts.number

    def deliver(self, text: str) -> None:
        """Puts `text`, the configuration as delivered, in force for good, if there is no revision yet."""
        if not self._facts:
            self.switch_to(self.add(migrated_text(text), STORE, "as delivered"))
            self.confirm(STORE)

    def discard(self, number: int) -> None:
        """Removes a revision that was never in force, and the secrets that only it has."""
        if number == self._current or number in self._outcomes:
            raise StoreError(f"revision {number} was in force; it stays in the history")
        self._forget(self.facts(number))

    def switch_to(self, number: int) -> None:
        """Puts a proposed revision in force, unconfirmed.

        Raises:
            StoreError: it is not one, or another is waiting to be confirmed.
            OSError: the disk; what is in force may be either, `current` tells.
        """
        if self.unconfirmed:
            raise StoreError(f"revision {self._current} waits to be confirmed; confirm it or roll it back first")
        state = self.state(number)
        if state is State.OUTDATED:
            raise StoreError(
                f"revision {number} was made from revision {self._facts[number].base or 'none'}, "
                f"and {self._current or 'none'} is in force now; propose it again"
            )
        if state is not State.PROPOSED:
            raise StoreError(f"revision {number} is {state.value}, not proposed; propose its text again")
        self._point_at(number)

    def confirm(self, author: str) -> int:
        """Makes what is in force last; returns its number.

        Raises:
            StoreError: nothing waits for it.
            OSError: the disk; it waits still.
        """
        number = self.unconfirmed
        if not number:
            raise StoreError(
                "nothing waits to be confirmed; it may have been rolled back, see `mailweir config history`"
            )
        outcome = Outcome(result=Result.CONFIRMED, author=author, at_s=self._clock())
        self._shelf.write_outcome(number, outcome)
        self._outcomes[number] = outcome
        with suppress(OSError):
            self._prune()
        return number

    def roll_back(self, author: str, reason: str) -> int:
        """Puts the revision before the unconfirmed one in force again; returns its number, 0 for none.

        Raises:
            StoreError: nothing is unconfirmed.
            OSError: the disk; then it is done at the next `open`.
        """
        number = self.unconfirmed
        if not number:
            raise StoreError("nothing waits to be confirmed; to go back to an earlier revision, name it")
        self._give_up(number, author, reason)
        return self._current

    # -- how

    def _give_up(self, number: int, author: str, reason: str) -> None:
        # The outcome first: a cut between the two leaves what `open` knows to be rolled back. Where the disk is too
        # full for it, going back matters more than the history.
        outcome = Outcome(result=Result.ROLLED_BACK, author=author, at_s=self._clock(), reason=reason)
        with suppress(OSError):
            self._shelf.write_outcome(number, outcome)
        self._outcomes[number] = outcome
        self._point_at(self._good_before(number))

    def _point_at(self, number: int) -> None:
        try:
            self._shelf.point_at(number)
        finally:
            self._look_at_the_link()

    def _look_at_the_link(self) -> bool:
        """Takes over what the link says; False: it names what is not there."""
        linked = self._shelf.linked()
        self._current = linked if linked in self._facts else 0
        return linked is None or linked in self._facts

    def _with_secrets(self, text: str, secrets: Mapping[str, bytes]) -> tuple[str, set[str]]:
        """`text` with the names under which `secrets` are kept now, and those names that were written."""
        written: set[str] = set()
        taken = {*self._shelf.secret_names(), *secrets}
        for name, octets in secrets.items():
            kept_as, existing = name, self._shelf.secret(name)
            if existing is not None and existing != octets:
                kept_as, existing = next_name(name, taken), None
                taken.add(kept_as)
                for path, reference in references(document_of(text)):
                    if secret_name(reference) == name:
                        text = set_value(text, path, f"{FOLDER}/{kept_as}")
            if existing is None:
                self._shelf.write_secret(kept_as, octets)
                written.add(kept_as)
        return text, written

    def _forget(self, facts: Facts) -> None:
        """Removes a revision, and its secrets that no other has."""
        self._shelf.remove(facts.number)
        self._facts.pop(facts.number)
        self._outcomes.pop(facts.number, None)
        named = {name for number in self._facts for name in secret_names(document_of(self.text(number)))}
        for name in facts.secrets:
            if name not in named:
                self._shelf.remove_secret(name)

    def _prune(self) -> None:
        """Forgets what is too much: first what never lasted, then the oldest; never what a roll-back would need."""
        needed = {self._current, max(self._facts)}
        if self._current:
            needed.add(self._facts[self._current].base)
        spare = sorted(self._facts.keys() - needed, key=lambda number: (self._is_good(number), number))
        for number in spare[: max(0, len(self._facts) - KEEP)]:
            self._forget(self._facts[number])

    def _recover(self) -> None:
        self._facts, self._outcomes = self._shelf.load()
        whole = self._look_at_the_link()
        was = self._current
        if whole and (not was or self._is_good(was)):
            return
        if self.unconfirmed:
            what = "was not confirmed before the restart"
            self._give_up(was, STORE, "not confirmed before the restart")
        elif was and self.state(was) is State.ROLLED_BACK:
            what = "was not confirmed"
            self._point_at(self._good_before(was))
        else:
            what = "is of a later release" if was else "was damaged"
            self._point_at(self._newest_good(max(self._facts, default=0) + 1))
        self.recovered_from = was
        self.recovered = f"revision {was or '?'} {what}; revision {self._current or 'none'} is in force"

    def _is_good(self, number: int) -> bool:
        outcome = self._outcomes.get(number)
        is_confirmed = outcome is not None and outcome.result is Result.CONFIRMED
        return is_confirmed and self._facts[number].version <= self._version

    def _good_before(self, number: int) -> int:
        """What a revision was made from, or where that is gone the newest good one; 0: none."""
        base = self._facts[number].base
        return base if not base or (base in self._facts and self._is_good(base)) else self._newest_good(number)

    def _newest_good(self, number: int) -> int:
        return max((earlier for earlier in self._facts if earlier < number and self._is_good(earlier)), default=0)
