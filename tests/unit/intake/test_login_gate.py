"""The gate that every login goes through: bounded work, lock-out, and a log without passwords."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

from appliance.config.schema import Duration, Submission
from appliance.core import reply
from appliance.core.envelope import Client
from appliance.intake import login_gate
from appliance.intake.lock_out import Failures
from appliance.intake.login_gate import GATE_BUSY, NO_USERS, LoginGate
from appliance.intake.users import User, Users
from appliance.intake.users_file import UsersTrouble
from appliance.observe.events import EventLog
from tests.support.submission_door import LastWords

BOB = User(name="bob", hash="")
CLIENT = Client("192.0.2.1", listener="submission")


class FakeUsers:
    """Verifies in no time, or when it is let."""

    def __init__(self, *, held: bool = False, trouble: bool = False) -> None:
        self.now = self.most = self.calls = 0
        self._lock = threading.Lock()
        self.entered = threading.Semaphore(0)
        self.release = threading.Event()
        self._trouble = trouble
        if not held:
            self.release.set()

    def verify(self, name: str, password: str) -> User | None:
        if self._trouble:
            raise UsersTrouble("unreadable")
        with self._lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
        self.entered.release()
        assert self.release.wait(10)
        with self._lock:
            self.now -= 1
        return BOB if password == "right" else None


def run(
    scene: Callable[[Callable[..., Coroutine[Any, Any, Any]], LastWords, LoginGate], Coroutine[Any, Any, None]],
) -> None:
    async def main() -> None:
        log = LastWords()
        events = EventLog(log)
        now_s = [0.0]
        terms = Submission(failures_before_lockout=3, lockout=Duration(900))
        gate = LoginGate(terms, Failures(1), lambda: now_s[0])

        async def enter(users: FakeUsers | None, password: str, name: str = "bob", client: Client = CLIENT) -> Any:
            return await gate.enter(cast(Users, users), client, events, name, password)

        try:
            await scene(enter, log, gate)
        finally:
            gate.close()

    asyncio.run(main())


def test_no_more_than_the_allowed_passwords_are_verified_at_one_time() -> None:
    async def scene(enter: Any, log: LastWords, gate: LoginGate) -> None:
        users = FakeUsers(held=True)
        tasks = [asyncio.create_task(enter(users, "right")) for _ in range(10)]
        for _ in range(login_gate.THREADS):
            await asyncio.to_thread(users.entered.acquire)
        assert users.calls == login_gate.THREADS
        users.release.set()
        assert await asyncio.gather(*tasks) == [BOB] * 10
        assert users.most == login_gate.THREADS

    run(scene)


def test_a_queue_of_logins_that_is_too_long_takes_no_more() -> None:
    async def scene(enter: Any, log: LastWords, gate: LoginGate) -> None:
        users = FakeUsers(held=True)
        tasks = [asyncio.create_task(enter(users, "right")) for _ in range(login_gate.MAX_WAITING)]
        await asyncio.sleep(0)
        assert await enter(users, "right") is GATE_BUSY
        users.release.set()
        await asyncio.gather(*tasks)

    run(scene)


def test_guesses_that_waited_for_their_turn_do_not_slip_past_the_lock_out() -> None:
    async def scene(enter: Any, log: LastWords, gate: LoginGate) -> None:
        users = FakeUsers()
        answers = await asyncio.gather(*(enter(users, "wrong") for _ in range(20)))
        assert answers.count(reply.AUTH_FAILED) <= 3 + login_gate.THREADS - 1
        assert answers[-1] is reply.AUTH_LOCKED
        assert users.calls == answers.count(reply.AUTH_FAILED)

    run(scene)


def test_a_file_of_users_that_cannot_be_read_is_a_temporary_failure() -> None:
    async def scene(enter: Any, log: LastWords, gate: LoginGate) -> None:
        assert (await enter(FakeUsers(trouble=True), "right")).raw.startswith(b"454 4.7.0 ")
        assert log.named("users_trouble") == [{"client": "192.0.2.1", "reason": "unreadable"}]
        assert await enter(None, "right") is NO_USERS

    run(scene)


def test_the_log_tells_who_failed_and_never_the_password() -> None:
    async def scene(enter: Any, log: LastWords, gate: LoginGate) -> None:
        assert await enter(FakeUsers(), "s3cret", name="eve" * 1000) is reply.AUTH_FAILED
        (fields,) = log.named("login_failed")
        assert fields["client"] == "192.0.2.1"
        assert fields["login"] == ("eve" * 1000)[:64]
        assert "s3cret" not in str(log.events)

    run(scene)


def test_a_reload_forgets_no_failure_and_judges_by_the_new_terms() -> None:
    async def scene(enter: Any, log: LastWords, gate: LoginGate) -> None:
        users = FakeUsers()
        for _ in range(3):
            assert await enter(users, "wrong") is reply.AUTH_FAILED
        gate.refresh(Submission(failures_before_lockout=3, lockout=Duration(900)))
        assert await enter(users, "right") is reply.AUTH_LOCKED
        gate.refresh(Submission(failures_before_lockout=4, lockout=Duration(900)))
        assert await enter(users, "wrong") is reply.AUTH_FAILED
        assert await enter(users, "right") is reply.AUTH_LOCKED

    run(scene)
