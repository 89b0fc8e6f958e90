"""What a page wants from a USB stick is looked for until somebody has plugged one in, or gives up.

`sysd` has the sticks mounted; here are only the words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from appliance.console.desk import Desk
from appliance.console.dialogue import Back

_T = TypeVar("_T")


def plugged_in(desk: Desk, look: Callable[[], list[_T]], missing: str) -> list[_T]:
    """What `look` finds, at least one; until then `missing` is said. Raises Back."""
    while not (found := look()):
        desk.dialogue.say(missing)
        if not desk.dialogue.yes("Plug one in. Look again", default=True):
            raise Back
    return found


def size(octets: int) -> str:
    """For a person."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if octets >= unit:
            return f"{octets / unit:.1f} {name}"
    return f"{octets} octets"
