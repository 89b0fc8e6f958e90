"""Moments and spans for people. Pure but for the time zone."""

from __future__ import annotations

import datetime


def local_time(epoch_s: object) -> str:
    """Local time of seconds since 1970; a dash for what is none."""
    if not isinstance(epoch_s, int | float) or not epoch_s:
        return "-"
    return datetime.datetime.fromtimestamp(epoch_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """The two largest units."""
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
