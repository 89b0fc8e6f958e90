"""The circuit breaker: closed, open, and one probe at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.delivery.breaker import Breaker


def test_failures_below_the_limit_leave_the_circuit_closed():
    breaker = Breaker(3, 10.0)
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.allows(0.0) and not breaker.is_open(0.0)


def test_a_success_makes_earlier_failures_forgotten():
    breaker = Breaker(2, 10.0)
    breaker.failed(0.0)
    breaker.succeeded()
    breaker.failed(0.0)
    assert breaker.allows(0.0)


def test_the_last_failure_opens_the_circuit_for_its_time():
    breaker = Breaker(2, 10.0)
    breaker.failed(0.0)
    breaker.failed(5.0)
    assert not breaker.allows(14.9) and breaker.is_open(14.9)
    assert not breaker.is_open(15.0) and breaker.allows(15.0)


def test_only_one_caller_probes_a_half_open_circuit():
    breaker = Breaker(1, 10.0)
    breaker.failed(0.0)
    assert breaker.allows(10.0)
    assert not breaker.allows(10.0) and breaker.is_open(10.0)


def test_a_probe_that_fails_opens_the_circuit_again():
    breaker = Breaker(1, 10.0)
    breaker.failed(0.0)
    breaker.allows(10.0)
    breaker.failed(12.0)
    assert breaker.is_open(21.9) and breaker.allows(22.0)


def test_asking_whether_it_is_open_takes_no_probe():
    breaker = Breaker(1, 10.0)
    breaker.failed(0.0)
    assert not breaker.is_open(10.0)
    assert breaker.allows(10.0)


@given(st.lists(st.sampled_from(["fail", "succeed", "ask", "wait"]), max_size=60))
def test_a_server_is_never_left_alone_for_longer_than_the_reset_time(events):
    breaker, now_s, probing = Breaker(2, 10.0), 0.0, False
    for event in events:
        if event == "wait":
            now_s += 3.0
        elif event == "ask":
            probing = breaker.allows(now_s) or probing
        else:
            probing = False
            breaker.succeeded() if event == "succeed" else breaker.failed(now_s)
    assert probing or breaker.allows(now_s + 10.0)
