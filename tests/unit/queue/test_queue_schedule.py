"""When a recipient is tried again, warned about and given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.config import schema
from appliance.queue.schedule import Schedule

DAY_S = 86_400.0
DEFAULT = Schedule(schema.Queue())


def schedule(**more: object) -> Schedule:
    return Schedule(schema.Queue(**more))  # type: ignore[arg-type]


def test_waits_follow_the_configured_steps_and_the_last_one_repeats() -> None:
    steps = [DEFAULT.wait_s(attempts, 0.5) for attempts in range(1, 10)]
    assert steps == [60, 300, 900, 1800, 3600, 7200, 14400, 14400, 14400]


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_chance_moves_a_retry_by_a_tenth_at_most(attempts: int, chance: float) -> None:
    middle_s = DEFAULT.wait_s(attempts, 0.5)
    assert middle_s * 0.899 <= DEFAULT.wait_s(attempts, chance) <= middle_s * 1.101
    assert DEFAULT.wait_s(attempts, chance) <= DEFAULT.longest_wait_s


def test_a_recipient_is_given_up_when_its_life_is_over() -> None:
    assert not DEFAULT.is_over(0, 5 * DAY_S - 1, 30, is_bounce=False)
    assert DEFAULT.is_over(0, 5 * DAY_S, 30, is_bounce=False)


def test_a_bounce_lives_shorter() -> None:
    assert DEFAULT.is_over(0, DAY_S, 10, is_bounce=True)
    assert not DEFAULT.is_over(0, DAY_S, 10, is_bounce=False)


def test_a_clock_that_jumps_by_years_gives_nobody_up_who_was_hardly_tried() -> None:
    assert not DEFAULT.is_over(0, 50 * 365 * DAY_S, 1, is_bounce=False)
    assert not DEFAULT.is_over(0, 50 * 365 * DAY_S, 6, is_bounce=False)


def test_a_life_shorter_than_the_schedule_ends_all_the_same() -> None:
    short = schedule(lifetime=schema.Duration(30))
    assert short.is_over(0, 30, 1, is_bounce=False)


@given(
    st.lists(st.floats(1, 1e5), min_size=1, max_size=8),
    st.floats(0, 1e6),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20),
)
def test_with_a_sane_clock_age_alone_decides(steps: list[float], lifetime_s: float, chances: list[float]) -> None:
    plan = schedule(retry=[schema.Duration(s) for s in steps], lifetime=schema.Duration(lifetime_s))
    now_s, attempts = 0.0, 1
    while now_s < lifetime_s and attempts < 2000:
        assert not plan.is_over(0, now_s, attempts, is_bounce=False)
        now_s += plan.wait_s(attempts, chances[attempts % len(chances)])
        attempts += 1
    if now_s >= lifetime_s:
        assert plan.is_over(0, now_s, attempts, is_bounce=False)


def test_the_sender_is_warned_after_the_configured_time_and_the_null_sender_never() -> None:
    assert not DEFAULT.warns(0, 4 * 3600 - 1, is_bounce=False)
    assert DEFAULT.warns(0, 4 * 3600, is_bounce=False)
    assert not DEFAULT.warns(0, 4 * 3600, is_bounce=True)
    assert not schedule(warn_after=schema.Duration(0)).warns(0, 1e9, is_bounce=False)
