"""The two slots as the boot loader sees them: which is wanted, which is whole, how many tries each has had.

`firmware/grub.cfg` reads these values, spends a try, and starts a slot; here is all that Linux does with them. Pure:
each step makes new values of old ones. Called by the health gate, by RAUC's boot handler, and by `sysd`'s requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

NAMES: Final = ("A", "B")
TRIES: Final = 3
"""That a slot gets to be found healthy."""


class NoSuchSlot(ValueError):
    """Or one that cannot be started; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the two."""

    name: str
    whole: bool
    """It holds a system, as far as is known; else it is empty, being written, or given up."""
    tries: int = 0
    """Starts since it was found healthy."""
    new: bool = False
    """It never was found healthy."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Both, and the order in which they are wanted."""

    order: tuple[str, ...]
    slots: Mapping[str, Slot]

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> Slots:
        """From GRUB's environment; what is missing is as `grub.cfg` takes it."""
        named = [name for name in values.get("ORDER", "").split() if name in NAMES]
        order = tuple(dict.fromkeys([*named, *NAMES]))
        return cls(order, {name: _slot(name, values) for name in NAMES})

    def values(self) -> dict[str, str]:
        """For GRUB's environment."""
        found = {"ORDER": " ".join(self.order)}
        for slot in self.slots.values():
            found[f"{slot.name}_OK"] = str(int(slot.whole))
            found[f"{slot.name}_TRY"] = str(slot.tries)
            found[f"{slot.name}_NEW"] = str(int(slot.new))
        return found

    def wanted(self) -> str:
        """The slot that the next start takes, or empty: none is whole with a try left."""
        return next((name for name in self.order if self.slots[name].whole and self.slots[name].tries < TRIES), "")

    def installed(self, name: str) -> Slots:
        """`name` was written: it is wanted, and has its tries."""
        return self._first(name)._with(Slot(_known(name), whole=True, new=True))

    def good(self, name: str) -> Slots:
        """`name` is healthy."""
        return self._with(Slot(_known(name), whole=True))

    def bad(self, name: str) -> Slots:
        """`name` must not be started."""
        return self._with(replace(self.slots[_known(name)], whole=False, tries=0))

    def returned_to(self, name: str) -> Slots:
        """The next start takes `name`.

        Raises:
            NoSuchSlot: it does not hold a system that ever was healthy.
        """
        slot = self.slots[_known(name)]
        if not slot.whole or slot.new:
            raise NoSuchSlot(f"slot {name} does not hold a release that worked here")
        return self._first(name)._with(Slot(name, whole=True))

    def settled(self, booted: str) -> tuple[Slots, list[str]]:
        """What the start of `booted` tells: a slot that was wanted more and was passed over is wanted no more.

        One that never was healthy is given up; one that was stays to return to by hand. Returns their names besides.
        """
        before = self.order[: self.order.index(_known(booted))]
        passed = [name for name in before if self.slots[name].whole]
        slots = self._first(booted)
        for name in passed:
            slots = slots.bad(name) if self.slots[name].new else slots
        return slots, passed

    def other(self, name: str) -> str:
        """The one that is not `name`."""
        return next(it for it in NAMES if it != _known(name))

    def _first(self, name: str) -> Slots:
        return replace(self, order=(_known(name), *(it for it in self.order if it != name)))

    def _with(self, slot: Slot) -> Slots:
        return replace(self, slots={**self.slots, slot.name: slot})


def _known(name: str) -> str:
    if name not in NAMES:
        raise NoSuchSlot(f"there is no slot {name[:20]!r}; there are {' and '.join(NAMES)}")
    return name


def _slot(name: str, values: Mapping[str, str]) -> Slot:
    raw_tries = values.get(f"{name}_TRY", "0")
    # As in grub.cfg: what is no number below 3 leaves no try.
    tries = int(raw_tries) if raw_tries in ("0", "1", "2", "3") else TRIES
    return Slot(name, values.get(f"{name}_OK", "1") == "1", tries, values.get(f"{name}_NEW", "0") == "1")


@dataclass(frozen=True, slots=True)
class Booted:
    """What the kernel's command line says of the slot that runs."""

    name: str
    version: str

    @classmethod
    def parse(cls, command_line: str) -> Booted | None:
        """None: this machine was not started from a slot."""
        words = dict(word.partition("=")[::2] for word in command_line.split())
        name = words.get("rauc.slot", "")
        return cls(name, words.get("mailweir.version", "")) if name in NAMES else None
