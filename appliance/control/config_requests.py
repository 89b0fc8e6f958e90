"""The requests `config.*`: from arguments to calls of the store's `Commits`, and back to plain values.

The one place that knows how these requests look. Made by `daemon.sysd`, which gives the handlers to `access.admit`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NamedTuple

from appliance import __version__
from appliance.config.complaints import Complaint
from appliance.config.store import archive
from appliance.config.store.check import Refused
from appliance.config.store.commit import Commits
from appliance.config.store.edit import document_of
from appliance.config.store.revision import State, StoreError
from appliance.config.store.secrets import references
from appliance.control import sysd_messages as messages
from appliance.control.access import AskedHandler, Asker
from appliance.control.arguments import AuthorArgs, typed
from appliance.control.parcels import LONGEST_INLINE_OCTETS, Parcels
from appliance.control.protocol import RequestRefused
from appliance.control.refusals import in_words
from appliance.core.errors import ConfigError

MAX_COMPLAINTS = 200
_LONGEST_REASON = 200


class Exported(NamedTuple):
    """An archive, and what is known of it."""

    octets: bytes
    revision: int
    hostname: str
    outside: list[str]
    """Files that the configuration refers to, and that lie elsewhere: not in the archive."""


class ConfigRequests:
    """See the module."""

    def __init__(self, commits: Commits, parcels: Parcels) -> None:
        self._commits = commits
        self._store = commits.store
        self._parcels = parcels

    def handlers(self) -> dict[str, AskedHandler]:
        """Arguments and results are the structs of `sysd_messages`."""
        handlers: dict[str, AskedHandler] = {
            "config.get": self._get,
            "config.check": self._check,
            "config.propose": self._propose,
            "config.commit": self._commit,
            "config.confirm": self._confirm,
            "config.roll_back": self._roll_back,
            "config.history": self._history,
            "config.diff": self._diff,
            "config.export": self._export,
            "config.import": self._import,
        }
        return in_words(handlers, (StoreError, ConfigError), "the disk: {}; nothing was changed for good")

    async def _get(self, asker: Asker, args: dict[str, Any]) -> object:
        number = typed(args, messages.GetArgs).revision or self._store.current
        return self._text(asker, self._store.text(number), number)

    async def _check(self, asker: Asker, args: dict[str, Any]) -> object:
        text, _ = self._given(asker, args)
        try:
            return messages.Proposal(complaints=await self._commits.check(text))
        except Refused as error:
            return _refused(error)

    async def _propose(self, asker: Asker, args: dict[str, Any]) -> object:
        text, asked = self._given(asker, args)
        return await self._proposed(text, asker.author(asked.author), asked.reason, {})

    async def _proposed(self, text: str, author: str, reason: str, secrets: dict[str, bytes]) -> messages.Proposal:
        try:
            proposed = await self._commits.propose(text, author, reason[:_LONGEST_REASON], secrets)
        except Refused as error:
            return _refused(error)
        return messages.Proposal(revision=proposed.number, complaints=proposed.warnings[:MAX_COMPLAINTS])

    async def _commit(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.CommitArgs)
        await self._commits.commit(asked.revision, asker.author(asked.author), asked.within_s)
        return {"revision": asked.revision, "confirm_left_s": self._commits.confirm_left_s}

    async def _confirm(self, asker: Asker, args: dict[str, Any]) -> object:
        author = asker.author(typed(args, AuthorArgs).author)
        return {"revision": await self._commits.confirm(author)}

    async def _roll_back(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.RollBackArgs)
        author = asker.author(asked.author)
        if not asked.to:
            return {"revision": await self._commits.roll_back(author)}
        try:
            proposed = await self._commits.return_to(asked.to, author)
        except Refused as error:
            return _refused(error)
        return messages.Proposal(revision=proposed.number, complaints=proposed.warnings[:MAX_COMPLAINTS])

    async def _history(self, asker: Asker, args: dict[str, Any]) -> object:
        limit = typed(args, messages.HistoryArgs).limit
        numbers = self._store.numbers[::-1]
        found = [self._revision(number) for number in numbers[: max(0, limit)]]
        return messages.History(revisions=[revision for revision in found if revision], total=len(numbers))

    def _revision(self, number: int) -> messages.Revision | None:
        """None: it was forgotten in this moment, by the thread that commits."""
        with suppress(StoreError):
            return self._told(number)
        return None

    def _told(self, number: int) -> messages.Revision:
        facts, outcome = self._store.facts(number), self._store.outcome(number)
        revision = messages.Revision(
            number=number,
            base=facts.base,
            state=self._store.state(number).value,
            author=facts.author,
            at_s=facts.at_s,
            reason=facts.reason,
        )
        if outcome is not None:
            revision.concluded_by, revision.concluded_at_s = outcome.author, outcome.at_s
            revision.outcome_reason = outcome.reason
        return revision

    async def _diff(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.DiffArgs)
        new = self._store.current if asked.new is None else asked.new
        old = asked.old
        if old is None:
            old = self._store.facts(new).base if new and new == self._store.current else self._store.current
        return self._text(asker, await self._commits.diff(old, new), new)

    async def _export(self, asker: Asker, args: dict[str, Any]) -> object:
        made = self.exported(typed(args, messages.GetArgs).revision)
        parcel = self._parcels.put(asker.uid, made.octets)
        return messages.Archive(
            parcel=parcel, size_bytes=len(made.octets), revision=made.revision, outside=made.outside
        )

    async def _import(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.ImportArgs)
        octets = self._parcels.take(asker.uid, asked.parcel)
        return await self.taken_in(octets, asker.author(asked.author), asked.reason)

    # -- archives, for `stick_requests`, too

    def exported(self, revision: int = 0) -> Exported:
        """A revision as an archive; 0: what is in force. Raises StoreError."""
        number = revision or self._store.current
        facts = self._store.facts(number)
        text, secrets = self._store.text(number), self._store.secrets(number)
        about = archive.About(
            release=__version__, revision=number, author=facts.author, at_s=facts.at_s, reason=facts.reason
        )
        octets = archive.packed(archive.Bundle(about=about, text=text, secrets=secrets))
        document = document_of(text)
        outside = [value for _, value in references(document) if os.path.isabs(value)]
        return Exported(octets, number, str(document.get("hostname", "")), outside)

    async def taken_in(self, octets: bytes, author: str, reason: str = "") -> messages.Proposal:
        """Proposes what an archive holds. Raises StoreError: it is none, or cannot be proposed."""
        bundle = archive.unpacked(octets)
        about = bundle.about
        reason = reason or f"import of revision {about.revision}: {about.reason}"
        return await self._proposed(bundle.text, author, reason, bundle.secrets)

    # -- texts of any length

    def _given(self, asker: Asker, args: dict[str, Any]) -> tuple[str, messages.TextArgs]:
        asked = typed(args, messages.TextArgs)
        if bool(asked.text) == bool(asked.parcel):
            raise RequestRefused("give a text or a parcel")
        if asked.text:
            return asked.text, asked
        try:
            return self._parcels.take(asker.uid, asked.parcel).decode("utf-8-sig"), asked
        except UnicodeDecodeError as error:
            raise RequestRefused("the text is not UTF-8; save it as UTF-8") from error

    def _text(self, asker: Asker, text: str, number: int) -> messages.Text:
        octets = text.encode()
        if len(octets) <= LONGEST_INLINE_OCTETS:
            return messages.Text(text=text, revision=number)
        return messages.Text(parcel=self._parcels.put(asker.uid, octets), revision=number)


def open_proposals(commits: Commits) -> list[int]:
    """Revisions that can be committed now, newest first."""
    store, found = commits.store, []
    for number in reversed(store.numbers):
        with suppress(StoreError):  # forgotten in this moment
            if store.state(number) is State.PROPOSED:
                found.append(number)
    return found


def _refused(error: Refused) -> messages.Proposal:
    complaints: list[Complaint] = error.complaints[:MAX_COMPLAINTS]
    return messages.Proposal(complaints=complaints)
