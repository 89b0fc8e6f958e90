"""The state of updates in lines for a person: on the console, and on the command line. Pure."""

from __future__ import annotations

from datetime import datetime

from appliance.control.update_messages import SlotState, UpdateStatus


def slot_words(slot: SlotState) -> str:
    """What a slot is to the machine, beside its state."""
    return ", ".join(word for word, true in (("running", slot.booted), ("starts next", slot.wanted)) if true)


def slot_lines(found: UpdateStatus) -> list[str]:
    """One a slot."""
    return [
        f"Slot {it.name}: release {it.version or '-'}, {it.state}{f' ({slot_words(it)})' if slot_words(it) else ''}"
        for it in found.slots
    ]


def news_lines(found: UpdateStatus) -> list[str]:
    """The health gate's word, what is under way, and why updates failed, newest first."""
    lines = []
    if found.health:
        lines.append(f"Health: {found.health}" + (f" ({found.health_reason})" if found.health_reason else ""))
    if found.activity != "idle":
        lines.append(f"Update: {found.activity}, {found.percent} %: {found.text}")
    for it in found.failures:
        at = datetime.fromtimestamp(it.at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        lines.append(f"{at} slot {it.slot or '-'}, release {it.version or '-'}: {it.reason}")
    return lines
