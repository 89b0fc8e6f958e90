"""The one password of the box: set, verified, never kept but as an argon2id hash. There is none until it is set.

Guesses are counted for each source, which is what the asking role says of its client. What judges a new password leaves
9 MiB of words behind, so a child process does it. Called by `sysd`'s requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.config.store.files import Files, replace_durably
from appliance.control.child import ChildFailed, ask_child
from appliance.control.protocol import RequestRefused
from appliance.intake.lock_out import Failures, LockOut
from appliance.intake.users import matches

FAILURES_BEFORE_LOCKOUT = 5
LOCKOUT_S = 300.0
CHILD_S = 25.0
"""So long may it take to judge a password; who asks waits a little longer."""
_CHILD = "appliance.control.new_password"
_FILE = "administrator.json"
_NAME = "administrator"


class _Kept(msgspec.Struct):
    hash: str
    changed_at_s: float


class Administrator:
    """See the module. One event loop's object; hashing and the disk are left to threads."""

    def __init__(
        self, directory: Path, files: Files, *, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._path = directory / _FILE
        self._files = files
        self._clock = clock
        self._lock_out = LockOut(FAILURES_BEFORE_LOCKOUT, LOCKOUT_S, monotonic, Failures(1, sets=64))
        self._turn = asyncio.Lock()  # each hash takes 19 MiB

    @property
    def is_set(self) -> bool:
        return self._files.exists(self._path)

    async def set(self, password: str, known_words: list[str]) -> None:
        """Keeps a new password, durably.

        Raises:
            RequestRefused: too weak, and the text says what would help; or it could not be judged.
        """
        async with self._turn:
            try:
                answer = await ask_child(_CHILD, {"password": password, "known_words": known_words}, CHILD_S)
            except ChildFailed as error:
                raise RequestRefused(
                    f"the password could not be judged: {error}; nothing was changed, try it again"
                ) from error
            if "hash" not in answer:
                raise RequestRefused(str(answer.get("refused")))
            await asyncio.to_thread(self._keep, str(answer["hash"]))

    async def verify(self, password: str, source: str) -> bool:
        """Whether this is the password. False, too, where none is set.

        Raises:
            RequestRefused: `source` has guessed too often.
        """
        if self._lock_out.locked(source):
            raise RequestRefused(f"too many wrong passwords; wait {LOCKOUT_S / 60:g} minutes")
        async with self._turn:
            good = self.is_set and await asyncio.to_thread(self._matches, password)
        if not good:
            self._lock_out.failed(source, _NAME)
        return good

    def _keep(self, hash_: str) -> None:
        kept = _Kept(hash=hash_, changed_at_s=self._clock())
        replace_durably(self._files, self._path, msgspec.json.encode(kept), shared=False)

    def _matches(self, password: str) -> bool:
        kept = msgspec.json.decode(self._files.read(self._path), type=_Kept)
        return matches(password, kept.hash)
