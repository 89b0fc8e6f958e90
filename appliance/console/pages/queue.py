"""What waits to be delivered: looked at, tried again, held, released, deleted."""

from __future__ import annotations

from typing import Any

from appliance.console.desk import Desk
from appliance.console.dialogue import Back, Offer, Question, Wrong
from appliance.console.times import local_time

_LISTED = 200
_HELP = ("The number of a message in the list.", "Enter or <: back.", "")


def queue_page(desk: Desk) -> None:
    dialogue = desk.dialogue
    entries, total = desk.mail.queue(_LISTED)
    if not entries:
        dialogue.say("The queue is empty.")
        return
    dialogue.page([line for number, entry in enumerate(entries, 1) for line in _lines(number, entry)])
    if total > len(entries):
        dialogue.say(f"... and {total - len(entries)} more")
    entry = dialogue.ask(Question("Message", _HELP, lambda raw: _entry(entries, raw)))
    _one(desk, str(entry["id"]))


def _one(desk: Desk, entry_id: str) -> None:
    entry = desk.mail.entry(entry_id)
    if entry is None:
        desk.dialogue.say("It has left the queue.")
        return
    desk.dialogue.page(_whole(entry))
    held = entry["state"] == "held"
    acts = (
        Offer("release it", "release") if held else Offer("hold it until it is released", "hold"),
        Offer("delete it for good; nobody is told", "delete"),
    )
    act = desk.dialogue.choose(acts if held else (Offer("try it now", "retry"), *acts)).value
    if act == "delete" and not desk.dialogue.yes(f"Delete {entry_id}"):
        return
    done = desk.mail.act(act, entry_id)
    desk.dialogue.say(f"{act}: done." if done else "It has left the queue meanwhile.")


def _entry(entries: list[dict[str, Any]], raw_answer: str) -> dict[str, Any]:
    if not raw_answer:
        raise Back
    if raw_answer.isascii() and raw_answer.isdigit() and 0 < int(raw_answer[:6]) <= len(entries):
        return entries[int(raw_answer[:6]) - 1]
    raise Wrong(f"type a number from 1 to {len(entries)}")


def _lines(number: int, entry: dict[str, Any]) -> list[str]:
    recipients = entry["recipients"]
    first = recipients[0]["address"] if recipients else ""
    more = f" and {len(recipients) - 1} more" if len(recipients) > 1 else ""
    due = f"next try {local_time(entry['due_s'])}" if entry["state"] == "waiting" else entry["state"]
    return [
        f"{number:3}  {entry['id']}  {entry['size_bytes']} octets, since {local_time(entry['received_at_s'])}",
        f"     {entry['sender'] or '<>'} to {first}{more}, {due}",
    ]


def _whole(entry: dict[str, Any]) -> list[str]:
    lines = [f"{entry['id']}: {entry['state']} {entry.get('hold_reason') or ''}", f"from {entry['sender'] or '<>'}"]
    for recipient in entry["recipients"]:
        lines.append(f"to {recipient['address']}: {recipient['state']}, {recipient['attempts']} attempts")
        if recipient.get("reply"):
            lines.append(f"    {recipient['reply']}")
    return lines
