"""A root shell on this line, for who knows the administrator's password, where the configuration does not forbid it."""

from __future__ import annotations

from appliance.console.desk import Desk
from appliance.console.gate import ask_password

_LONGEST_WAIT_S = 15.0


def shell_page(desk: Desk) -> None:
    say = desk.dialogue.say
    say("A shell of root. What it changes is not in the history, and no timer takes it back.")
    desk.sysd.open_shell(desk.line, ask_password(desk))
    say("It comes on this line; exit brings the menu back.")
    # systemd ends this menu to give the line to the shell.
    desk.dialogue.terminal.pressed(_LONGEST_WAIT_S)
