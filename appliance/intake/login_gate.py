"""Who may log in: a gate in each worker, through which every guess at a password goes.

It asks the lock-out first, lets a fixed number of threads verify at a time, and logs what came of it. It sees the
password, keeps it nowhere and writes it nowhere. It knows no SMTP but the replies. Called by the submission session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from appliance.config.schema import Submission
from appliance.core import reply
from appliance.core.envelope import Client
from appliance.core.reply import Reply
from appliance.intake.lock_out import Failures, LockOut
from appliance.intake.users import User, Users
from appliance.intake.users_file import UsersTrouble
from appliance.observe.events import ERROR, WARNING, EventLog

THREADS = 2
"""argon2 takes 19 MiB a guess: this many at one time, whatever comes."""
MAX_WAITING = 100
"""More sessions than this wait for nobody; a queue of passwords is a lever, not a service."""
_MAX_LOGGED_CHARACTERS = 64

GATE_BUSY = Reply(454, "4.7.0", "Too many logins at once, try again later")
NO_USERS = Reply(454, "4.7.0", "Temporary authentication failure")


class LoginGate:
    """One event loop's object. Give the same one to all submission listeners of a worker: its threads are few.

    Failures are counted over all workers, so that it gains an attacker nothing on which of them a connection falls.
    """

    def __init__(self, config: Submission, failures: Failures, clock: Callable[[], float] = time.monotonic) -> None:
        """`failures` is shared by all workers; `clock` is monotonic, in seconds, and the same in all of them."""
        self._clock = clock
        self._failures = failures
        self._threads = ThreadPoolExecutor(THREADS, "login")
        self._turn = asyncio.Semaphore(THREADS)
        self._waiting = 0
        self._lock_out: LockOut
        self.refresh(config)

    def refresh(self, config: Submission) -> None:
        """Takes the configuration's terms of the lock-out; what has failed so far is judged by them."""
        self._lock_out = LockOut(config.failures_before_lockout, float(config.lockout), self._clock, self._failures)

    async def enter(
        self, users: Users | None, client: Client, events: EventLog, name: str, password: str
    ) -> User | Reply:
        """The user, or the reply that refuses the login.

        Not to be cancelled when the client goes: a guess that nobody waits for must count, too.
        """
        if users is None:
            return NO_USERS
        if self._lock_out.locked(client.ip, name):
            return self._refused(reply.AUTH_LOCKED, client, events, name, "locked out")
        if self._waiting >= MAX_WAITING:
            return self._refused(GATE_BUSY, client, events, name, "too many at once")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._verify(users, client, events, name, password)
        finally:
            self._waiting -= 1

    async def _verify(self, users: Users, client: Client, events: EventLog, name: str, password: str) -> User | Reply:
        # Again, for many sessions may have guessed while this one waited for its turn.
        if self._lock_out.locked(client.ip, name):
            return self._refused(reply.AUTH_LOCKED, client, events, name, "locked out")
        loop = asyncio.get_running_loop()
        try:
            user = await loop.run_in_executor(self._threads, users.verify, name, password)
        except UsersTrouble as error:
            events.event("users_trouble", {"client": client.ip, "reason": str(error)}, ERROR)
            return error.reply
        if user is None:
            self._lock_out.failed(client.ip, name)
            return self._refused(reply.AUTH_FAILED, client, events, name, "wrong login or password")
        self._lock_out.succeeded(name)
        events.event("login", {"client": client.ip, "login": user.name, "listener": client.listener})
        return user

    @staticmethod
    def _refused(refusal: Reply, client: Client, events: EventLog, name: str, reason: str) -> Reply:
        fields: dict[str, object] = {
            "client": client.ip,
            "login": name.encode("utf-8", "replace").decode()[:_MAX_LOGGED_CHARACTERS],
            "listener": client.listener,
            "reason": reason,
        }
        events.event("login_failed", fields, WARNING)
        return refusal

    def close(self) -> None:
        """Lets the threads end; one that verifies now is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
