"""Failed logins: counted by address and by login, over all workers, and forgotten in time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from appliance.intake.lock_out import Failures, LockOut


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_login_is_locked_after_its_failures_from_any_address() -> None:
    lock_out = LockOut(3, 900.0, Clock(), Failures(1))
    for last in range(3):
        assert not lock_out.locked("192.0.2.99", "bob")
        lock_out.failed(f"192.0.2.{last}", "Bob")
    assert lock_out.locked("192.0.2.99", "bob")
    assert not lock_out.locked("192.0.2.99", "alice")
    assert not lock_out.locked("192.0.2.99")


def test_an_address_is_locked_after_failures_for_any_logins() -> None:
    lock_out = LockOut(3, 900.0, Clock(), Failures(1))
    for login in ("a", "b", "c"):
        lock_out.failed("192.0.2.1", login)
    assert lock_out.locked("192.0.2.1", "d")
    assert lock_out.locked("::ffff:192.0.2.1")
    assert not lock_out.locked("192.0.2.2", "a")


def test_a_net64_counts_as_one_client() -> None:
    lock_out = LockOut(2, 900.0, Clock(), Failures(1))
    lock_out.failed("2001:db8::1", "a")
    lock_out.failed("2001:db8::ffff", "b")
    assert lock_out.locked("2001:db8::2")
    assert not lock_out.locked("2001:db8:0:1::2")


def test_the_lock_ends_after_its_duration() -> None:
    clock = Clock()
    lock_out = LockOut(1, 900.0, clock, Failures(1))
    lock_out.failed("192.0.2.1", "bob")
    clock.now_s += 899.9
    assert lock_out.locked("192.0.2.1", "bob")
    clock.now_s += 0.2
    assert not lock_out.locked("192.0.2.1", "bob")


def test_a_success_clears_the_login_but_not_the_address() -> None:
    lock_out = LockOut(2, 900.0, Clock(), Failures(1))
    lock_out.failed("192.0.2.1", "bob")
    lock_out.succeeded("BOB")
    lock_out.failed("192.0.2.1", "bob")
    assert lock_out.locked("192.0.2.1")
    assert not lock_out.locked("192.0.2.2", "bob")


def test_memory_is_bounded_and_the_longest_quiet_is_forgotten_first() -> None:
    clock, failures = Clock(), Failures(1, sets=1)
    lock_out = LockOut(1, 900.0, clock, failures)
    for number in range(4):  # of addresses and logins together eight have room
        clock.now_s += 1
        lock_out.failed(f"192.0.2.{number}", f"u{number}")
    assert lock_out.locked("192.0.2.0") and lock_out.locked("192.0.2.3")
    clock.now_s += 1
    lock_out.failed("192.0.2.9", "u9")
    assert not lock_out.locked("192.0.2.0", "u0")
    assert lock_out.locked("192.0.2.1") and lock_out.locked("192.0.2.9")


def in_a_worker(failures: Failures, number: int, work: Callable[[], None]) -> None:
    """Does `work` in a forked process that dies without a word at its end."""
    child = os.fork()
    if not child:
        try:
            failures.attach(number)
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_guesses_at_several_workers_add_up_and_outlive_them() -> None:
    failures = Failures(3)
    lock_out = LockOut(3, 900.0, Clock(), failures)
    for worker in range(3):
        assert not lock_out.locked("192.0.2.1") and not lock_out.locked("192.0.2.9", "bob")
        in_a_worker(failures, worker, lambda: lock_out.failed("192.0.2.1", "bob"))
    assert lock_out.locked("192.0.2.1")
    assert lock_out.locked("192.0.2.9", "bob")


def test_a_worker_that_is_started_again_goes_on_with_the_count_of_the_dead_one() -> None:
    failures = Failures(1)
    lock_out = LockOut(2, 900.0, Clock(), failures)
    for _ in range(2):
        assert not lock_out.locked("192.0.2.1")
        in_a_worker(failures, 0, lambda: lock_out.failed("192.0.2.1", "bob"))
    assert lock_out.locked("192.0.2.1")


def test_a_success_at_one_worker_clears_the_login_at_all() -> None:
    failures = Failures(2)
    lock_out = LockOut(2, 900.0, Clock(), failures)
    in_a_worker(failures, 0, lambda: lock_out.failed("192.0.2.1", "bob"))
    in_a_worker(failures, 1, lambda: lock_out.failed("192.0.2.2", "bob"))
    assert lock_out.locked("192.0.2.9", "bob")
    in_a_worker(failures, 1, lambda: lock_out.succeeded("bob"))
    assert not lock_out.locked("192.0.2.9", "bob")


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.floats(0, 400), st.sampled_from(["failed", "succeeded"])),
    max_size=30,
)


@given(EVENTS)
def test_no_window_of_the_duration_has_more_failures_than_are_allowed(
    events: list[tuple[int, str, float, str]],
) -> None:
    clock, failures = Clock(), Failures(3)
    lock_out = LockOut(3, 900.0, clock, failures)
    noted: dict[str, list[float]] = {login: [] for login in "abc"}
    for number, (worker, login, pause_s, what) in enumerate(events):
        clock.now_s += pause_s
        failures.attach(worker)
        recent = [at_s for at_s in noted[login] if at_s > clock.now_s - 900.0]
        if len(recent) >= 3:
            assert lock_out.locked(f"2001:db8:{number}::1", login)
        elif not noted[login]:
            assert not lock_out.locked(f"2001:db8:{number}::1", login)
        if what == "failed":
            lock_out.failed(f"2001:db8:{number}::1", login)
            noted[login].append(clock.now_s)
        else:
            lock_out.succeeded(login)
            noted[login].clear()
