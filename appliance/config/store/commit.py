"""Changes of the configuration, one at a time: propose, check, commit, and then confirm or go back.

A commit is in force until its timer ends; who has cut off his own line by it cannot confirm, and the old configuration
returns. Knows the order of things; the disk is `revisions`' affair, the effect that of the appliers. Made by `sysd`,
asked by its requests; one event loop's object, which does what blocks in threads.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from appliance.config.complaints import Complaint
from appliance.config.load import MAX_FILE_BYTES, parse
from appliance.config.schema import Config
from appliance.config.store.applier import APPLY_TIMEOUT_S, Applier, Timer
from appliance.config.store.check import refuse_errors
from appliance.config.store.edit import document_of, migrated_text
from appliance.config.store.revision import STORE, StoreError
from appliance.config.store.revisions import Store
from appliance.config.store.secrets import secret_name
from appliance.core.errors import ConfigError

CONFIRM_WITHIN_S = 120.0
CONFIRM_BOUNDS_S = (10.0, 3600.0)
MAX_DIFF_LINES = 20_000
BY_REQUEST = "by request"

_T = TypeVar("_T")


class ApplyFailed(StoreError):
    """A commit could not be put into effect, and the configuration before it is in force again."""


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    warnings: list[Complaint]


class Commits:
    """See the module. `start` comes first, `close` last."""

    def __init__(
        self, store: Store, appliers: Sequence[Applier], timer: Timer, tell: Callable[[str, dict[str, object]], None]
    ) -> None:
        """`tell` is told each change and trouble, with its fields, for the log."""
        self._store = store
        self._appliers = list(appliers)
        self._timer = timer
        self._tell = tell
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancel_timer: Callable[[], None] | None = None
        self._ends_at_s = 0.0
        self._shell = 0, False  # of a revision; 0: none, which allows nothing
        self.trouble = ""
        """The last thing that went wrong, for the status; empty: nothing since the start."""

    @property
    def store(self) -> Store:
        """To be read; changes go through this object."""
        return self._store

    @property
    def confirm_left_s(self) -> float:
        """Until what is unconfirmed is rolled back; 0.0: nothing is."""
        return max(0.0, self._ends_at_s - self._timer.now_s()) if self._cancel_timer is not None else 0.0

    async def start(self) -> None:
        """Migrates what an earlier release left, and puts what is in force into effect. Never raises for either."""
        async with self._turn:
            if self._store.recovered:
                self._trouble("config_recovered", self._store.recovered)
            try:
                await asyncio.to_thread(self._migrate)
                config = await asyncio.to_thread(self._config)
            except (ConfigError, OSError) as error:
                self._trouble("config_unusable", str(error))
                return
            if config is None:
                return
            for applier in self._appliers:
                if applier.at_start:
                    try:
                        await self._bounded(applier.apply(None, config))
                    except Exception as error:  # noqa: BLE001  a box without network still needs its console
                        self._trouble("apply_failed", _reason(applier, error))

    async def after_start(self) -> None:
        """Puts back what still runs with a configuration that was taken out of force while `sysd` was not there.

        Apart from `start`, for the gateway may wait for `sysd` to be ready.
        """
        async with self._turn:
            if not self._store.recovered_from:
                return
            try:
                old = await asyncio.to_thread(self._config)
                text = await asyncio.to_thread(self._store.text, self._store.recovered_from)
                new = parse(text, str(self._store.link))
            except (ConfigError, OSError):
                return  # of a later release, most likely: then this is a fresh start of everything
            await self._undo([applier for applier in self._appliers if not applier.at_start], old, new)

    async def close(self) -> None:
        """Lets a change that is under way end. What is unconfirmed stays in force, and is rolled back at the start."""
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- requests

    async def check(self, text: str) -> list[Complaint]:
        """The warnings about `text`, which is kept nowhere.

        Raises:
            Refused: it has errors.
        """
        return await asyncio.to_thread(refuse_errors, text, str(self._store.link), files=True)

    async def propose(
        self, text: str, author: str, reason: str = "", secrets: Mapping[str, bytes] | None = None
    ) -> Proposed:
        """Keeps a good text as a proposal, which changes nothing yet.

        Raises:
            Refused: it has errors.
            StoreError: it is what is in force, too long, or of a later release.
        """
        return await self._in_turn(asyncio.to_thread(self._propose, text, author, reason, secrets or {}))

    async def commit(self, number: int, author: str, within_s: float = CONFIRM_WITHIN_S) -> None:
        """Puts a proposal in force and into effect, until `within_s` are over or `confirm` is called.

        Raises:
            StoreError: not possible now; the text says why.
            Refused: it is not good any more.
            ApplyFailed: it could not be put into effect; the old configuration is in force.
        """
        await self._in_turn(self._commit(number, author, within_s))

    async def confirm(self, author: str) -> int:
        """Makes the commit last; its number. Raises StoreError: nothing waits for it."""
        return await self._in_turn(self._confirm(author))

    async def roll_back(self, author: str) -> int:
        """Ends an unconfirmed commit now; the number that is in force then. Raises StoreError: there is none."""
        return await self._in_turn(self._go_back(author, BY_REQUEST, self._appliers))

    async def return_to(self, number: int, author: str) -> Proposed:
        """Proposes the text of an earlier revision. Raises as `propose`."""
        text = await asyncio.to_thread(self._store.text, number)
        return await self.propose(text, author, f"back to revision {number}")

    async def may_have_shell(self) -> bool:
        """Whether what is in force lets the console have a root shell; not where it cannot be read."""
        number, may = self._shell
        if number != self._store.current:
            number, may = self._store.current, False
            with suppress(ConfigError, OSError):
                config = await asyncio.to_thread(self._config)
                may = config is not None and config.console.shell
            self._shell = number, may
        return may

    async def diff(self, old: int, new: int) -> str:
        """What changed from one revision to another; 0 is the empty text. Raises StoreError: there is none."""
        return await asyncio.to_thread(self._diff, old, new)

    # -- how

    async def _in_turn(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Does `work` when all before is done, and to its end even if the asker goes away."""

        async def turn() -> _T:
            async with self._turn:
                return await work

        task = asyncio.create_task(turn())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def _propose(self, text: str, author: str, reason: str, secrets: Mapping[str, bytes]) -> Proposed:
        store = self._store
        if len(text.encode()) > MAX_FILE_BYTES:
            raise StoreError(f"longer than {MAX_FILE_BYTES >> 20} MiB; this is no configuration")
        refuse_errors(text, str(store.link), files=False)
        text = migrated_text(text)
        number = store.add(text, author, reason, {**self._empty_users_file(text), **secrets})
        try:
            if store.current and store.text(number) == store.text(store.current):
                raise StoreError("this is what is in force already; nothing was proposed")
            warnings = refuse_errors(store.text(number), str(store.path(number)), files=True)
        except BaseException:
            store.discard(number)
            raise
        self._tell("config_proposed", {"revision": number, "author": author, "reason": reason})
        return Proposed(number=number, warnings=warnings)

    def _empty_users_file(self, text: str) -> dict[str, bytes]:
        """A users file that is named and not there yet: `mailweir user add` can only fill one that is in force."""
        name = secret_name(document_of(text).get("submission", {}).get("users_file", ""))
        missing = name and not self._store.has_secret(name)
        return {name: b"# Logins, written by `mailweir user`.\n"} if missing else {}

    async def _commit(self, number: int, author: str, within_s: float) -> None:
        least, most = CONFIRM_BOUNDS_S
        if not least <= within_s <= most:
            raise StoreError(f"{within_s:g} s to confirm is out of range; write {least:g} to {most:g}")
        old, new = await asyncio.to_thread(self._switch, number)
        self._tell("config_committed", {"revision": number, "author": author, "confirm_within_s": within_s})
        begun: list[Applier] = []
        try:
            for applier in self._appliers:
                begun.append(applier)
                await self._bounded(applier.apply(old, new))
        except Exception as error:  # whatever it is, the old configuration must return
            reason = _reason(begun[-1], error)
            returned = await self._go_back(author, reason, begun)
            raise ApplyFailed(f"{reason}; revision {returned or 'none'} is in force again") from error
        self._ends_at_s = self._timer.now_s() + within_s
        self._cancel_timer = self._timer.later(within_s, lambda: self._expired(number))

    def _switch(self, number: int) -> tuple[Config | None, Config]:
        store = self._store
        refuse_errors(store.text(number), str(store.path(number)), files=True)
        old = self._config()
        try:
            store.switch_to(number)
        except OSError:
            with suppress(OSError, StoreError):
                store.roll_back(STORE, "the disk failed")
            raise
        return old, parse(store.text(number), str(store.link))

    def _config(self) -> Config | None:
        """What is in force, with the paths that stay the same."""
        text = self._store.text(self._store.current)
        return parse(text, str(self._store.link)) if text else None

    async def _confirm(self, author: str) -> int:
        number = await asyncio.to_thread(self._store.confirm, author)
        self._stop_timer()
        self._tell("config_confirmed", {"revision": number, "author": author})
        return number

    def _stop_timer(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    def _expired(self, number: int) -> None:
        async def expire() -> None:
            if self._store.unconfirmed == number:  # else somebody was quicker
                await self._go_back(STORE, "not confirmed in time", self._appliers)

        task = asyncio.ensure_future(self._in_turn(expire()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _go_back(self, author: str, reason: str, begun: Sequence[Applier]) -> int:
        """Puts the revision before in force again, and into effect where the unconfirmed one was."""
        store, number = self._store, self._store.unconfirmed
        if not number:
            raise StoreError("nothing waits to be confirmed; to go back to an earlier revision, name it")
        new = await asyncio.to_thread(self._config)
        self._stop_timer()
        self._tell("config_rolled_back", {"revision": number, "author": author, "reason": reason})
        if reason != BY_REQUEST:
            self.trouble = f"revision {number} was rolled back: {reason}"
        try:
            await asyncio.to_thread(store.roll_back, author, reason)
        except OSError as error:
            # The effect is undone all the same; the next start finds the commit unconfirmed.
            self._trouble("store_failed", str(error))
        old = await asyncio.to_thread(self._config)
        if new is not None:
            await self._undo(begun, old, new)
        return store.current

    async def _undo(self, begun: Sequence[Applier], old: Config | None, new: Config) -> None:
        for applier in reversed(begun):
            try:
                await self._bounded(applier.undo(old, new))
            except Exception as error:  # noqa: BLE001  the other appliers still have to go back
                self._trouble("undo_failed", _reason(applier, error))

    async def _bounded(self, work: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(APPLY_TIMEOUT_S):
            await work

    def _migrate(self) -> None:
        """A revision of an earlier format becomes a new one of this; the old one stays for the earlier release."""
        store = self._store
        text = store.text(store.current)
        migrated = migrated_text(text) if text else text
        if migrated == text:
            return
        refuse_errors(migrated, str(store.link), files=False)
        number = store.add(migrated, STORE, "written in the format of this release")
        store.switch_to(number)
        store.confirm(STORE)
        self._tell("config_migrated", {"revision": number})

    def _diff(self, old: int, new: int) -> str:
        before, after = (self._store.text(number).splitlines(keepends=True) for number in (old, new))
        if len(before) + len(after) > MAX_DIFF_LINES:
            return f"over {MAX_DIFF_LINES} lines: compare the texts with another tool\n"
        lines = difflib.unified_diff(before, after, f"revision {old}", f"revision {new}")
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def _trouble(self, event: str, reason: str) -> None:
        self.trouble = reason
        self._tell(event, {"reason": reason})


def _reason(applier: Applier, error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"{applier.name}: not done within {APPLY_TIMEOUT_S:g} s"
    return f"{applier.name}: {str(error) or type(error).__name__}"
