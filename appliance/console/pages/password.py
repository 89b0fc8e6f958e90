"""The administrator's password."""

from __future__ import annotations

from appliance.console.desk import Desk
from appliance.control.protocol import RequestRefused


def ask_password(desk: Desk) -> None:
    """Asks until there is one that is good enough, which is in use at once. Raises Back."""
    while True:
        password = desk.dialogue.secret("Administrator's password")
        try:
            desk.sysd.set_password(password)
        except RequestRefused as error:
            desk.dialogue.say(f"  {error}")
        else:
            desk.dialogue.say("  The password is set.")
            return


def password_page(desk: Desk) -> None:
    ask_password(desk)
