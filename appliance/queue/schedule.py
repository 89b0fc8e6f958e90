"""When a recipient is tried again, warned about, or given up. Pure: clock and chance come from the caller.

A message's age alone gives nobody up: a clock that jumps by years (no battery, then NTP) would bounce the whole queue.
So a recipient must also have been tried as often as the schedule would have in that time. RFC 5321 §4.5.4.1.
"""

from __future__ import annotations

from appliance.config import schema

JITTER = 0.1
"""Retries are spread by this share both ways, so that messages that failed together do not come back together."""


class Schedule:
    """The retry schedule of one configuration."""

    def __init__(self, config: schema.Queue) -> None:
        self._steps_s = [float(step) for step in config.retry] or [3600.0]
        self._lifetime_s = float(config.lifetime)
        self._bounce_lifetime_s = float(config.bounce_lifetime)
        self._warn_after_s = float(config.warn_after)

    @property
    def longest_wait_s(self) -> float:
        """No retry is further away than this."""
        return max(self._steps_s) * (1 + JITTER)

    def wait_s(self, attempts: int, chance: float) -> float:
        """Seconds from the `attempts`-th failure (1 is the first) to the next try; `chance` is random in [0, 1)."""
        step_s = self._steps_s[min(attempts, len(self._steps_s)) - 1]
        return step_s * (1 + JITTER * (2 * chance - 1))

    def is_over(self, received_at_s: float, now_s: float, attempts: int, *, is_bounce: bool) -> bool:
        """Whether a recipient that failed `attempts` times is given up at `now_s`."""
        lifetime_s = self._bounce_lifetime_s if is_bounce else self._lifetime_s
        return now_s - received_at_s >= lifetime_s and attempts >= self._attempts_within(lifetime_s)

    def _attempts_within(self, lifetime_s: float) -> int:
        """Tries that the schedule makes for certain in a lifetime; not more than it has steps."""
        at_s, attempts = 0.0, 1
        for step_s in self._steps_s:
            at_s += step_s * (1 + JITTER)
            if at_s >= lifetime_s:
                break
            attempts += 1
        return attempts

    def warns(self, received_at_s: float, now_s: float, *, is_bounce: bool) -> bool:
        """Whether the sender is to be told at `now_s` of a delay; the null sender never is (RFC 3461 §6.2)."""
        return 0 < self._warn_after_s <= now_s - received_at_s and not is_bounce
