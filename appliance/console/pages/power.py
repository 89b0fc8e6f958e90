"""Restart, switch off, and the way back to how the box was delivered."""

from __future__ import annotations

from appliance.console.desk import Desk
from appliance.console.dialogue import Question, Wrong
from appliance.control.sysd_messages import RESET_WORDS

_RESET_HELP = (
    "Everything is erased: configuration, history, secrets, password, queue, records.",
    "Mail that waits in the queue is lost. A backup on a stick stays.",
    f"To do it, type: {RESET_WORDS}",
)


def reboot_page(desk: Desk) -> None:
    if desk.dialogue.yes("Restart the box now"):
        desk.sysd.reboot()
        desk.dialogue.say("It restarts.")


def power_off_page(desk: Desk) -> None:
    if desk.dialogue.yes("Switch the box off now"):
        desk.sysd.power_off()
        desk.dialogue.say("It goes off. Take the power away when its lights are out.")


def reset_page(desk: Desk) -> None:
    for line in _RESET_HELP:
        desk.dialogue.say(line)

    def parse(raw_answer: str) -> str:
        if raw_answer != RESET_WORDS:
            raise Wrong(f"nothing was erased; type {RESET_WORDS}, or < to go back")
        return raw_answer

    desk.sysd.factory_reset(desk.dialogue.ask(Question("Type the words", _RESET_HELP, parse)))
    desk.dialogue.say("The box restarts, and erases everything.")
