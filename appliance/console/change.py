"""Every change's way into force: proposed and checked, shown, committed, and kept only if somebody says so in time."""

from __future__ import annotations

from collections.abc import Callable

from appliance.console.desk import Desk
from appliance.console.terminal import Cancelled
from appliance.control.protocol import ControlError
from appliance.control.sysd_messages import Proposal

_LAST_LOOKS = 90
"""Seconds that the way back may take until we stop looking at it."""


def _nothing() -> None:
    return


def propose_and_commit(desk: Desk, text: str, reason: str) -> bool:
    """Whether `text` is in force for good. Raises Back, for no."""
    return commit(desk, desk.sysd.propose(text, reason))


def commit(desk: Desk, proposed: Proposal, *, ask: bool = True, meanwhile: Callable[[], None] = _nothing) -> bool:
    """Whether the proposal is in force for good.

    Args:
        ask: show the difference, and ask first.
        meanwhile: done between commit and the question whether to keep it, to help with the answer.
    """
    dialogue = desk.dialogue
    for complaint in proposed.complaints[:20]:
        where = f"line {complaint.line}, {complaint.key}" if complaint.key else f"line {complaint.line}"
        dialogue.say(f"  {complaint.severity}: {where}: {complaint.text}; {complaint.remedy}")
    if not proposed.revision:
        dialogue.say("This cannot be put in force; nothing was changed.")
        return False
    if ask:
        dialogue.page(desk.sysd.diff(None, proposed.revision).splitlines())
        if not dialogue.yes("Put this in force", default=False):
            dialogue.say("Nothing was changed.")
            return False
    dialogue.say("Putting it in force ...")
    left_s = desk.sysd.commit(proposed.revision, desk.confirm_within_s)
    dialogue.say(f"Revision {proposed.revision} is in force. It stays only if you keep it within {left_s:.0f} s;")
    dialogue.say("else the configuration before it returns by itself.")
    meanwhile()
    return keep(desk)


def keep(desk: Desk) -> bool:
    """Asks until the timer ends; whether what is unconfirmed stays."""
    dialogue, terminal = desk.dialogue, desk.dialogue.terminal
    terminal.forget_typed()
    left_s, committed = _Countdown(desk), desk.sysd.status().revision
    while left_s():
        try:
            answer = terminal.read_line("keep? [y/N] ", left_s=left_s).strip().lower()
        except Cancelled:
            continue  # noise looks the same; only a word decides
        if not left_s.is_running:
            break
        if answer in ("y", "yes"):
            revision = desk.sysd.confirm()
            dialogue.say(f"Kept: revision {revision}.")
            return True
        if answer in ("", "n", "no"):
            dialogue.say(f"Not kept: revision {desk.sysd.roll_back()} is in force again.")
            return False
        dialogue.say("  type y to keep it, n for the configuration before it")
    dialogue.say("The time is over: not kept. The configuration before it returns.")
    _see_it_return(desk, committed)
    return False


def _see_it_return(desk: Desk, committed: int) -> None:
    for _ in range(_LAST_LOOKS):
        status = desk.sysd.status()
        if status.revision != committed and not status.unconfirmed:
            desk.dialogue.say(f"Revision {status.revision or 'none'} is in force again.")
            return
        desk.dialogue.terminal.pressed(1.0)
    desk.dialogue.say(f"It takes long; the status tells more. {desk.sysd.status().trouble}")


class _Countdown:
    """Seconds left, as `sysd` has them; it may be too busy to answer, and is believed to count on."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._last_s = desk.confirm_within_s
        self.is_running = True

    def __call__(self) -> float:
        try:
            status = self._desk.sysd.status()
            self._last_s = status.confirm_left_s if status.unconfirmed else 0.0
        except ControlError:
            self._last_s = max(0.0, self._last_s - 1.0)
        self.is_running = self._last_s > 0
        return self._last_s
