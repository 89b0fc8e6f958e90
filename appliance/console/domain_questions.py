"""The questions about a protected domain and its mail server, which is tried at once."""

from __future__ import annotations

from typing import Any

from appliance.console import answers
from appliance.console.desk import Desk
from appliance.console.dialogue import Question
from appliance.console.draft import Answers
from appliance.control.protocol import ControlError

_DOMAIN_HELP = (
    "What stands behind the @ of the addresses whose mail this box protects.",
    "Mail to other domains is not taken: the box relays for nobody.",
    "More domains can be added later.",
)
_SERVER_HELP = (
    "Where the mail of this domain goes: a name or an address, as in mail.example.com,",
    "192.0.2.10 or 192.0.2.10:2525. Port 25 where none is written.",
    "It is tried at once.",
)
_KEEP_HELP = (
    "y: it is used although it did not answer; mail waits in the queue until it does.",
    "n: write another one.",
    "",
)


class DomainQuestions:
    """Each method is a step for `dialogue.walk`."""

    def __init__(self, desk: Desk, given: Answers) -> None:
        self._desk = desk
        self._dialogue = desk.dialogue
        self._given = given

    def domain(self) -> bool:
        question = Question("Protected domain", _DOMAIN_HELP, answers.domain, self._given.domain)
        self._given.domain = self._dialogue.ask(question)
        return True

    def server(self) -> bool:
        while True:
            question = Question(
                f"Mail server of {self._given.domain}", _SERVER_HELP, answers.mail_server, self._given.server
            )
            self._given.server = self._dialogue.ask(question)
            if try_server(self._desk, self._given.server):
                return True
            if self._dialogue.yes("Use it all the same", explain=_KEEP_HELP):
                return True


def try_server(desk: Desk, url: str) -> bool:
    """Tries the mail server and tells how it went; whether it would take mail, True where that cannot be tried."""
    scheme, _, where = url.partition("://")
    if scheme != "smtp":
        desk.dialogue.say(f"  {url} is not tried: only smtp:// is")
        return True
    desk.dialogue.say(f"Trying {where} ...")
    try:
        found = desk.sysd.probe("smtp", where)
    except ControlError as error:
        desk.dialogue.say(f"  it could not be tried: {error}")
        return False
    for line in probe_lines(found):
        desk.dialogue.say(line)
    return bool(found.get("ok"))


def probe_lines(found: dict[str, Any]) -> list[str]:
    """What a probe found, step by step."""
    lines = []
    for step in found.get("steps") or []:
        if isinstance(step, dict):
            lines.append(f"  {'ok ' if step.get('ok') else 'NO '} {step.get('what', '')}: {step.get('text', '')}")
    return [*lines, f"  {'It works.' if found.get('ok') else 'It does not work.'}"]
