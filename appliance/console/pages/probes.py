"""Looks at the network from here: ping, DNS, SMTP."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.console.desk import Desk
from appliance.console.dialogue import Question, Wrong
from appliance.console.domain_questions import probe_lines


@dataclass(frozen=True, slots=True)
class _Kind:
    kind: str
    title: str
    help: tuple[str, str, str]


_KINDS = (
    _Kind("ping", "ping: does a machine answer", ("A name or an address, as in 192.0.2.1.", "Some never answer.", "")),
    _Kind("dns", "DNS: which addresses has a name", ("A name, as in mail.example.com.", "", "")),
    _Kind(
        "smtp",
        "SMTP: does a mail server answer",
        ("A name or an address, and a port if it is not 25,", "as in mail.example.com or 192.0.2.10:2525.", ""),
    ),
)


def probes_page(desk: Desk) -> None:
    kind = desk.dialogue.choose(_KINDS)
    target = desk.dialogue.ask(Question("Name or address", kind.help, _target))
    desk.dialogue.say(f"Trying {target} ...")
    desk.dialogue.page(probe_lines(desk.sysd.probe(kind.kind, target)))


def _target(raw_answer: str) -> str:
    if not raw_answer or len(raw_answer) > 253 or not raw_answer.isascii():
        raise Wrong("write a name or an address, as in mail.example.com")
    return raw_answer
