"""Counts over several workers: sums without locks, sliding rates, and workers that die in between."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.intake.shared_counts import MESSAGES, NEW_SESSIONS, RECIPIENTS, SharedCounts, key_of

NOW_S = 1_800_000_000.0  # the begin of a minute
A, B = b"192.0.2.1", b"192.0.2.2"


def workers(count):
    """Each worker's object over one map, as after a fork."""
    first = SharedCounts(count)
    all_of_them = [first]
    for number in range(1, count):
        twin = SharedCounts.__new__(SharedCounts)
        for name in SharedCounts.__slots__:
            setattr(twin, name, getattr(first, name))
        twin._known = {}
        all_of_them.append(twin)
        twin.attach(number)
    first.attach(0)
    return all_of_them


def test_sessions_are_summed_over_workers():
    one, two = workers(2)
    one.opened(A, NOW_S)
    two.opened(A, NOW_S)
    two.opened(B, NOW_S)
    assert one.sessions() == two.sessions() == 3
    assert one.sessions_of(A) == 2 and one.sessions_of(B) == 1
    two.closed(A)
    assert one.sessions_of(A) == 1 and one.sessions() == 2


def test_a_forked_worker_counts_into_what_its_parent_sees():
    counts = SharedCounts(2)
    child = os.fork()
    if not child:
        try:
            counts.attach(1)
            counts.opened(A, NOW_S)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert counts.sessions() == 1
    counts.clear(1)
    assert counts.sessions() == 0 and counts.sessions_of(A) == 0


def test_a_worker_that_begins_again_forgets_what_the_dead_one_had():
    one, two = workers(2)
    one.opened(A, NOW_S)
    one.count(MESSAGES, A, 5, NOW_S)
    one.attach(0)
    assert two.sessions() == 0 and two.rate(MESSAGES, A, NOW_S) == 0
    one.count(MESSAGES, A, 1, NOW_S)
    assert two.rate(MESSAGES, A, NOW_S) == 1


def test_a_session_counts_as_a_new_one_although_it_has_ended():
    (one,) = workers(1)
    one.opened(A, NOW_S)
    one.closed(A)
    assert one.sessions_of(A) == 0 and one.rate(NEW_SESSIONS, A, NOW_S + 1) == 1


def test_a_session_that_was_anothers_leaves_no_trace():
    one, two = workers(2)
    one.opened(A, NOW_S)
    one.opened(A, NOW_S)
    one.withdrawn(A, NOW_S)
    assert two.sessions() == two.sessions_of(A) == 1
    assert two.rate(NEW_SESSIONS, A, NOW_S) == 1
    one.withdrawn(A, NOW_S + 60)  # the minute in which it was counted is over
    assert two.sessions() == two.sessions_of(A) == 0
    assert one.rate(NEW_SESSIONS, A, NOW_S + 60) == 1


def test_kinds_and_keys_are_counted_apart():
    (one,) = workers(1)
    one.count(MESSAGES, A, 2, NOW_S)
    one.count(RECIPIENTS, A, 7, NOW_S)
    assert one.rate(MESSAGES, A, NOW_S) == 2 and one.rate(RECIPIENTS, A, NOW_S) == 7
    assert one.rate(MESSAGES, B, NOW_S) == 0


@pytest.mark.parametrize(("later_s", "rate"), [(0, 60), (59, 60), (60, 60), (90, 30), (119, 1), (120, 0), (3600, 0)])
def test_a_rate_slides_out_of_the_last_minute(later_s, rate):
    one, two = workers(2)
    two.count(MESSAGES, A, 60, NOW_S)
    assert one.rate(MESSAGES, A, NOW_S + later_s) == pytest.approx(rate)
    assert two.rate(MESSAGES, A, NOW_S + later_s) == pytest.approx(rate)


def test_a_clock_that_is_set_back_by_years_neither_blocks_nor_fails():
    (one,) = workers(1)
    one.count(MESSAGES, A, 1000, NOW_S)
    assert one.rate(MESSAGES, A, NOW_S - 1e8) == 0
    one.count(MESSAGES, A, 1, NOW_S - 1e8)
    assert one.rate(MESSAGES, A, NOW_S - 1e8) == 1


ACT = st.tuples(st.integers(0, 2), st.sampled_from(["count", "open", "close", "wait"]), st.integers(0, 3))


@given(st.lists(ACT, max_size=80))
def test_every_worker_sees_the_same_sums_whatever_the_others_do(acts):
    """Against a model that remembers every event; these few keys do not meet in a cell."""
    many = workers(3)
    now_s, events, open_sessions = NOW_S, [], []
    for worker, act, number in acts:
        key = b"192.0.2.%d" % number
        if act == "wait":
            now_s += 17.0 * (number + 1)
        elif act == "count":
            many[worker].count(MESSAGES, key, number + 1, now_s)
            events.append((now_s, key, number + 1))
        elif act == "open":
            many[worker].opened(key, now_s)
            open_sessions.append((worker, key))
        elif (worker, key) in open_sessions:
            many[worker].closed(key)
            open_sessions.remove((worker, key))
        minute_s = now_s - now_s % 60
        for asked in many:
            assert asked.sessions() == len(open_sessions)
            assert asked.sessions_of(key) == sum(other == key for _, other in open_sessions)
            this = sum(amount for at_s, other, amount in events if other == key and at_s >= minute_s)
            last = sum(a for at_s, other, a in events if other == key and minute_s - 60 <= at_s < minute_s)
            assert asked.rate(MESSAGES, key, now_s) == pytest.approx(this + last * (1 - now_s % 60 / 60))


@pytest.mark.parametrize(
    ("ip", "key", "is_net64"),
    [
        ("192.0.2.1", b"192.0.2.1", False),
        ("::ffff:192.0.2.1", b"192.0.2.1", False),
        ("2001:db8::1", bytes.fromhex("20010db800000000"), True),
        ("2001:db8::ffff:0:0:1", bytes.fromhex("20010db800000000"), True),
        ("fe80::1%eth0", bytes.fromhex("fe80000000000000"), True),
        ("2001:db8:0:1::1", bytes.fromhex("20010db800000001"), True),
    ],
)
def test_limits_count_by_ipv4_address_or_by_64(ip, key, is_net64):
    assert key_of(ip) == (key, is_net64)


@given(st.text(max_size=40))
def test_whatever_a_peer_calls_itself_has_a_key(text):
    assert isinstance(key_of(text)[0], bytes)
