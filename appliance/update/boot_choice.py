"""RAUC's requests about slots, answered from GRUB's environment: the command `boot-choice` of the image.

RAUC 1.13, custom bootloader backend: `get-primary`, `set-primary SLOT`, `get-state SLOT`, `set-state SLOT good|bad`,
`get-current`. It asks several times an installation, so nothing large is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from appliance.update.keeper import Keeper, NotFromASlot
from appliance.update.slots import NoSuchSlot, Slots

_USAGE = 2


def main(arguments: Sequence[str], keeper: Keeper | None = None) -> int:
    """The exit status; answers go to standard output, complaints to standard error."""
    keeper = keeper or Keeper()
    try:
        answer = _answered(list(arguments), keeper)
    except (NoSuchSlot, NotFromASlot, OSError, ValueError) as error:
        print(f"boot-choice: {error}", file=sys.stderr)
        return 1
    if answer is None:
        print(f"boot-choice: not understood: {' '.join(arguments)}", file=sys.stderr)
        return _USAGE
    if answer:
        print(answer)
    return 0


def _answered(arguments: list[str], keeper: Keeper) -> str | None:
    match arguments:
        case ["get-primary"]:
            return keeper.slots().wanted() or keeper.slots().order[0]
        case ["get-current"]:
            return keeper.booted().name
        case ["get-state", name]:
            slots = keeper.slots()
            return "good" if slots.slots[slots.other(slots.other(name))].whole else "bad"
        case ["set-primary", name]:
            return _changed(keeper, lambda slots: slots.installed(name))
        case ["set-state", name, "good"]:
            return _changed(keeper, lambda slots: slots.good(name))
        case ["set-state", name, "bad"]:
            return _changed(keeper, lambda slots: slots.bad(name))
    return None


def _changed(keeper: Keeper, change: Callable[[Slots], Slots]) -> str:
    keeper.change(change)
    return ""
