"""The health gate: what a slot must show before it is called good, and what follows when it does not.

`examine` runs the looks one after the other, each again and again until it succeeds or the time is up; `conclude` makes
the verdict the slots' state. Knows neither sockets nor processes: `daemon.health` brings the looks. Pure but for the
clock it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from appliance.update.record import Record
from appliance.update.slots import TRIES, Booted, Slots

PAUSE_S = 1.0
CLEAR_FAILURES = 3
"""Where a look got a clear answer, and it was wrong, this often is enough."""


class Unwell(Exception):
    """A look did not succeed; `str()` is the reason, for the console.

    `clear`: not for want of an answer, as while a service is still on its way up.
    """

    def __init__(self, reason: str, *, clear: bool = False) -> None:
        super().__init__(reason)
        self.clear = clear


@dataclass(frozen=True, slots=True)
class Look:
    """`run` is given the monotonic time by which it must end; it raises Unwell, or returns what it saw in words."""

    name: str
    run: Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Seen:
    """The end of one look."""

    name: str
    well: bool
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of all looks. The first that failed ended them."""

    seen: tuple[Seen, ...]

    @property
    def well(self) -> bool:
        return bool(self.seen) and all(look.well for look in self.seen)

    @property
    def reason(self) -> str:
        """Why not; empty: well."""
        failed = next((look for look in self.seen if not look.well), None)
        if failed is not None:
            return f"{failed.name}: {failed.text}"
        return "" if self.seen else "the check did not come to an end"

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {"well": self.well, "reason": self.reason, "looks": [asdict(look) for look in self.seen]}


def examine(
    looks: Sequence[Look], within_s: float, *, monotonic: Callable[[], float], sleep: Callable[[float], None]
) -> Verdict:
    """All `looks` within `within_s` seconds in all."""
    deadline_s = monotonic() + within_s
    seen: list[Seen] = []
    for look in looks:
        seen.append(_one(look, deadline_s, monotonic, sleep))
        if not seen[-1].well:
            break
    return Verdict(tuple(seen))


def _one(look: Look, deadline_s: float, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> Seen:
    clear = 0
    while True:
        try:
            return Seen(look.name, well=True, text=look.run(deadline_s))
        except Unwell as error:
            clear += error.clear
            # Connections to a service on its way up are refused for a while, on a slow card for a longer one.
            if clear >= CLEAR_FAILURES or monotonic() + PAUSE_S >= deadline_s:
                return Seen(look.name, well=False, text=str(error))
        sleep(PAUSE_S)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is to be kept, and whether to start again."""

    slots: Slots
    record: Record
    restart: bool


def settle(slots: Slots, record: Record, booted: Booted, at_s: float) -> tuple[Slots, Record]:
    """At the start: what was passed over to get here is wanted no more, and the record says so."""
    settled, passed = slots.settled(booted.name)
    for name in passed:
        version = record.versions.get(name, "")
        why = "was not healthy" if _told(record, name, version) else "gave no sign of life"
        record = record.failed(name, version, at_s, f"{TRIES} tries, and it {why}: back on slot {booted.name}")
    return settled, record.holds(booted.name, booted.version)


def _told(record: Record, name: str, version: str) -> bool:
    return any(failure.slot == name and failure.version == version for failure in record.failures)


def conclude(slots: Slots, record: Record, booted: Booted, verdict: Verdict, at_s: float) -> Conclusion:
    """After the looks: a healthy slot is good; one that never was is started again while it has tries, and so falls.

    A slot that was healthy once is left running: what ails it may be the network or the disk, the other slot would
    have it too, and a box that starts again and again can be mended by nobody.
    """
    if verdict.well:
        return Conclusion(slots.good(booted.name), record, restart=False)
    slot = slots.slots[booted.name]
    nth = f"try {slot.tries} of {TRIES}: " if slot.new else ""
    record = record.failed(booted.name, booted.version, at_s, nth + verdict.reason)
    return Conclusion(slots, record, restart=slot.new)
