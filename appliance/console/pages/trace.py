"""What became of a message."""

from __future__ import annotations

from typing import Any

from appliance.console.desk import Desk
from appliance.console.dialogue import Question
from appliance.console.times import local_time

_HELP = (
    "The id that stands in the reply to the sender and in the Received field,",
    "or an address, or @domain, of sender or recipient. Enter: the last messages.",
    "",
)
_NAMES = ("at_s", "client", "helo", "tls", "login", "sender", "recipients", "size_bytes", "path", "reply", "hop")


def trace_page(desk: Desk) -> None:
    wanted = desk.dialogue.ask(Question("Id or address", _HELP, str))
    by_address = "@" in wanted or wanted == "<>"
    found = desk.mail.trace(
        message_id="" if by_address else wanted.strip("[]").upper(), address=wanted if by_address else ""
    )
    if not found:
        desk.dialogue.say("Nothing found; the records may not reach back so far.")
    elif len(found) == 1:
        desk.dialogue.page(_whole(desk, found[0]))
    else:
        desk.dialogue.page([line for message in found for line in _short(message)])


def _short(message: dict[str, Any]) -> list[str]:
    recipients = ", ".join(map(str, message.get("recipients") or []))
    return [
        f"{message['id']}  {local_time(message.get('at_s'))}  {message.get('action') or '-'}",
        f"    {message.get('sender') or '<>'} to {recipients}",
        f"    {message.get('reply') or ''}",
    ]


def _whole(desk: Desk, message: dict[str, Any]) -> list[str]:
    lines = [f"{'id':12} {message['id']}"]
    for name in _NAMES:
        value = message.get(name)
        if name == "at_s":
            value = local_time(value)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            lines.append(f"{name.removesuffix('_s'):12} {value}")
    lines += ["why:", *(f"  {line}" for line in desk.mail.why(message))]
    for attempt in message.get("deliveries") or []:
        lines.append(f"{local_time(attempt.get('at_s'))} {attempt.get('outcome')}: {attempt.get('recipient')}")
        lines.append(f"    {attempt.get('reply') or ''}")
    return lines
