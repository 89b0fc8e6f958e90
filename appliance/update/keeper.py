"""The slots of this machine as files: the kernel's command line, GRUB's environment, the record. Blocks.

One place that reads and writes them all, for the health gate, the installer, RAUC's boot handler and `sysd`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.update import grubenv, places, record
from appliance.update.health import Verdict
from appliance.update.record import Record
from appliance.update.slots import Booted, Slots


class NotFromASlot(Exception):
    """This machine was started in another way, and cannot be updated as an appliance is."""

    def __init__(self) -> None:
        super().__init__("this machine was not started from a slot of an image: there is nothing to update")


@dataclass(frozen=True, slots=True)
class Keeper:
    """The files' places; tests have their own."""

    environment: Path = places.ENVIRONMENT
    command_line: Path = places.COMMAND_LINE
    record: Path = places.RECORD
    health: Path = places.HEALTH

    def booted(self) -> Booted:
        """Raises NotFromASlot."""
        try:
            found = Booted.parse(self.command_line.read_text())
        except OSError:
            found = None
        if found is None:
            raise NotFromASlot
        return found

    @property
    def has_slots(self) -> bool:
        """Whether this machine was started from one."""
        try:
            return bool(self.booted())
        except NotFromASlot:
            return False

    def slots(self) -> Slots:
        """Raises OSError."""
        return Slots.parse(grubenv.read(self.environment))

    def keep(self, slots: Slots) -> None:
        """Writes what has changed; other variables of the environment stay. Raises OSError."""
        found = grubenv.read(self.environment)
        wanted = {**found, **slots.values()}
        if wanted != found:
            grubenv.write(self.environment, wanted)

    def change(self, change: Callable[[Slots], Slots]) -> Slots:
        """Reads, changes and writes. Raises OSError, and what `change` raises."""
        slots = change(self.slots())
        self.keep(slots)
        return slots

    def remembered(self) -> Record:
        return record.read(self.record)

    def remember(self, new: Record) -> None:
        """Writes it if it is not what is there. Raises OSError."""
        if new != self.remembered():
            record.write(self.record, new)

    def tell_health(self, verdict: Verdict | None) -> None:
        """For who asks; None: it is being looked at. Raises OSError."""
        plain: dict[str, object] = {"state": "looking"}
        if verdict is not None:
            plain = {"state": "good" if verdict.well else "bad", **verdict.plain()}
        self.health.parent.mkdir(parents=True, exist_ok=True)
        beside = self.health.with_suffix(".new")
        beside.write_text(json.dumps(plain))
        beside.replace(self.health)

    def told_health(self) -> dict[str, Any]:
        """What the gate last told; empty: nothing yet."""
        try:
            found = json.loads(self.health.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
