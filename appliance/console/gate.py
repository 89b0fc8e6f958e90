"""Who may do what at this line: the administrator's password is asked for once in a sitting, by the first page that
changes something or shows whose mail it is.

A sitting ends when nobody types for a while, by choice, or when the line is hung up. `sysd` verifies the password and
counts wrong ones, for each line by itself. The way out for who has forgotten it is the factory reset, which needs no
password and leaves nothing to be read.
"""

from __future__ import annotations

from appliance.console.desk import Desk

_HELP = (
    "The administrator's password, which was set at the first configuration.",
    "Five wrong ones, and this line waits for five minutes. < goes back.",
    "Forgotten? The factory reset needs none; it erases everything.",
)


class Gate:
    """One line's sitting."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._was_given = False

    @property
    def is_open(self) -> bool:
        """Whether the password was given, or there is none."""
        return self._was_given or not self._desk.sysd.status().password_set

    def open(self) -> None:
        """Returns once the password was given in this sitting, or where there is none.

        Raises:
            Back: whoever asked has none to give.
            RequestRefused: too many wrong ones.
        """
        if not self.is_open:
            ask_password(self._desk)
            self._was_given = True

    def given(self) -> None:
        """Whoever sits here has just chosen the password."""
        self._was_given = True

    def shut(self) -> None:
        self._was_given = False


def ask_password(desk: Desk) -> str:
    """The password, once it is the right one. Raises as `Gate.open`."""
    while True:
        password = desk.dialogue.hidden("Password", _HELP)
        if desk.sysd.verify_password(password, desk.line or "console"):
            return password
        desk.dialogue.say("  This is not the password.")
