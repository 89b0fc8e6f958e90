"""The mode: which there are, which fits, and what a change to one would do, before it is done."""

from __future__ import annotations

from appliance.config.box_tables import Mode
from appliance.console.change import propose_and_commit
from appliance.console.desk import Desk
from appliance.console.mode_switch import dry_run, switched
from appliance.console.modes import MODES, mode_of, recommended
from appliance.console.ports import awaited_ports

_HELP = (
    "How the box stands in the flow of mail. It can be changed later; domains, rules and",
    "mail in the queue stay, and what would change is told first.",
    "",
)


def mode_page(desk: Desk) -> None:
    dialogue, text = desk.dialogue, desk.sysd.text().text
    now = mode_of(desk.config().mode)
    dialogue.say(f"Now: {now.mode.value}")
    chosen = ask_mode(desk, MODES.index(now) + 1)
    after = switched(text, chosen)
    found = dry_run(text, after)
    dialogue.page(
        [
            "This would change:" if found.changes else "Nothing would change.",
            *(f"  {sentence}" for sentence in found.changes),
            "This stays:",
            *(f"  {sentence}" for sentence in found.stays),
        ]
    )
    if after != text:
        propose_and_commit(desk, after, f"mode {chosen.value}")


def ask_mode(desk: Desk, default: int = 0) -> Mode:
    """Shows the table with a recommendation, and asks; without `default` it stands for that. Raises Back."""
    best, reason = recommended(awaited_ports(desk))
    for number, line in enumerate(MODES, 1):
        desk.dialogue.say(f"{number:3}  {line.title}")
        for sentence in line.help:
            desk.dialogue.say(f"     {sentence}")
    desk.dialogue.say(f"Recommended: {best.mode.value}; {reason}.")
    return desk.dialogue.pick(MODES, "Mode", default or MODES.index(best) + 1, _HELP).mode
