"""The configuration's revisions: who, when, why; what changed; the way back."""

from __future__ import annotations

from appliance.console.change import commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Back, Offer, Question, Wrong
from appliance.console.times import local_time
from appliance.control.sysd_messages import Revision

_LISTED = 50
_HELP = ("The number of a revision in the list.", "Enter or <: back.", "")


def history_page(desk: Desk) -> None:
    dialogue = desk.dialogue
    found = desk.sysd.history(_LISTED)
    if not found.revisions:
        dialogue.say("Nothing is configured yet.")
        return
    dialogue.page([line for revision in found.revisions for line in _lines(revision)])
    if found.total > len(found.revisions):
        dialogue.say(f"... and {found.total - len(found.revisions)} older ones")
    numbers = {revision.number: revision for revision in found.revisions}
    chosen = dialogue.ask(Question("Revision", _HELP, lambda raw: _chosen(numbers, raw)))
    in_force = desk.sysd.status().revision
    acts = [Offer("what it changed", "made"), Offer("the whole text", "show")]
    if chosen.number != in_force:
        acts += [Offer("how it differs from what is in force", "differs"), Offer("return to it", "return")]
    act = dialogue.choose(acts).value
    if act == "made":
        dialogue.page(desk.sysd.diff(chosen.base, chosen.number).splitlines())
    elif act == "show":
        dialogue.page(desk.sysd.text(chosen.number).text.splitlines())
    elif act == "differs":
        dialogue.page(desk.sysd.diff(None, chosen.number).splitlines())
    else:
        commit(desk, desk.sysd.return_to(chosen.number))


def _chosen(numbers: dict[int, Revision], raw_answer: str) -> Revision:
    if not raw_answer:
        raise Back
    if raw_answer.isascii() and raw_answer.isdigit() and int(raw_answer[:9]) in numbers:
        return numbers[int(raw_answer[:9])]
    raise Wrong("type the number of a revision in the list")


def _lines(revision: Revision) -> list[str]:
    reasons = ": ".join(filter(None, (revision.reason, revision.outcome_reason)))
    return [
        f"{revision.number:4}  {revision.state:12} {local_time(revision.at_s)}  {revision.author}",
        *([f"        {reasons}"] if reasons else []),
    ]
