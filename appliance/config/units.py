"""Sizes and durations as the configuration file writes them: `"1MiB"`, `"300ms"`, or a bare number.

Knows units and nothing of keys, files or ranges. Called by `config.load`, and by the command line for `--since`.
"""

from __future__ import annotations

import math
import re

from appliance.config.schema import Duration, Size

_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*")
_OCTETS = {"b": 1, "kb": 10**3, "kib": 1 << 10, "mb": 10**6, "mib": 1 << 20, "gb": 10**9, "gib": 1 << 30}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_REMEDY = 'write octets as a whole number, or a text with a unit: B, KB, KiB, MB, MiB, GB, GiB, as in "1MiB"'
DURATION_REMEDY = 'write seconds as a number, or a text with a unit: ms, s, m, h, d, as in "30s"'


def size(value: object) -> Size:
    """Octets in `value`, a whole number or a text with a unit (any case).

    Raises:
        ValueError: neither; its text says what is wrong, and `SIZE_REMEDY` what to write.
    """
    if isinstance(value, str):
        amount, unit = _split(value)
        factor = _OCTETS.get(unit.lower())
        if factor is None:
            raise ValueError(f"{unit!r} is no unit of size" if unit else "the unit is missing")
        return Size(int(amount * factor) if "." in value else int(amount) * factor)
    if type(value) is int:
        return Size(value)
    raise ValueError("not a size")


def duration(value: object) -> Duration:
    """Seconds in `value`, a finite number or a text with a unit (lower case, for `m` and `M` are not the same to all).

    Raises:
        ValueError: neither; its text says what is wrong, and `DURATION_REMEDY` what to write.
    """
    if isinstance(value, str):
        amount, unit = _split(value)
        factor = _SECONDS.get(unit)
        if factor is None:
            raise ValueError(f"{unit!r} is no unit of time" if unit else "the unit is missing")
        return Duration(amount * factor)
    if type(value) is int and abs(value) < 10**15:
        return Duration(value)
    if type(value) is float and math.isfinite(value):
        return Duration(value)
    raise ValueError("not a duration")


def _split(text: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a number with a unit")
    return float(match[1]), match[2]
