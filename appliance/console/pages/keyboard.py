"""The language of the keyboard beside the screen."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config.box_tables import Keyboard
from appliance.console import draft
from appliance.console.change import propose_and_commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Question, Wrong
from appliance.console.keyboard import TITLES

_HELP = (
    "The short name or the number of the keyboard that is plugged in beside the screen.",
    "It holds at once, so that the password is what you mean to type.",
    "A serial line has the keyboard of the machine at its other end.",
)
_COLUMN = 38


def ask_keyboard(desk: Desk, now: Keyboard) -> Keyboard:
    """The keyboard that is chosen, already in use. Raises Back."""
    keyboards = list(Keyboard)
    cells = [f"{number:3}  {it.value:7} {TITLES[it]}" for number, it in enumerate(keyboards, 1)]
    desk.dialogue.page(_two_columns(cells))

    def parse(raw_answer: str) -> Keyboard:
        for number, keyboard in enumerate(keyboards, 1):
            if raw_answer.lower() in (keyboard.value, str(number)):
                return keyboard
        raise Wrong("write a number or a short name of the list, as us")

    chosen = desk.dialogue.ask(Question("Keyboard", _HELP, parse, now.value))
    desk.machine.load_keyboard(chosen)
    return chosen


def keyboard_page(desk: Desk) -> None:
    before = desk.config().console.keyboard
    chosen = ask_keyboard(desk, before)
    kept = chosen is before
    try:
        if chosen is not before:
            text = draft.with_keyboard(desk.sysd.text().text, chosen)
            kept = propose_and_commit(desk, text, "keyboard")
    finally:
        if not kept:
            desk.machine.load_keyboard(before)


def _two_columns(cells: Sequence[str]) -> list[str]:
    rows = (len(cells) + 1) // 2
    right = [*cells[rows:], ""]
    return [f"{left:{_COLUMN}} {beside}".rstrip() for left, beside in zip(cells[:rows], right, strict=False)]
