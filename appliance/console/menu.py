"""The menu's life: the first boot until there is a configuration, then the numbered pages, for ever.

Nothing that happens on a page ends it: what goes wrong is said, and the menu stands there again. It ends when the line
is gone, or by choice where that is offered. Pages that change something, or that show whose mail it is, stand behind
the `gate`.
"""

from __future__ import annotations

import os
import traceback
from contextlib import suppress

from appliance.console.change import keep
from appliance.console.desk import Desk
from appliance.console.dialogue import Back
from appliance.console.first_boot import FirstBoot, is_new
from appliance.console.gate import Gate
from appliance.console.pages import PAGES, Page
from appliance.console.pages.status import whole_status_page
from appliance.console.terminal import Cancelled, HungUp, Idle
from appliance.control.protocol import ControlError
from appliance.control.sysd_messages import Status
from appliance.core.errors import ConfigError


class Leave(Exception):
    """By choice."""


class Menu:
    """See the module."""

    def __init__(self, desk: Desk, *, may_leave: bool = False) -> None:
        self._desk = desk
        self._gate = Gate(desk)
        self._first_boot = FirstBoot(desk)
        self._may_leave = may_leave

    def run(self) -> None:
        """Returns if somebody chose to leave. Raises HungUp."""
        while True:
            try:
                self._turn()
            except Leave:
                return
            except HungUp:
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, the menu must not end by it
                self._tell(error)

    def _turn(self) -> None:
        """One page, or one walk through the first boot."""
        desk = self._desk
        status = desk.sysd.status()
        if status.unconfirmed:
            desk.dialogue.say("A change is in force that nobody has confirmed yet.")
            with suppress(Back):  # who cannot keep it may still look around
                self._gate.open()
                keep(desk)
            status = desk.sysd.status()
        if is_new(desk):
            self._begin()
            return
        desk.dialogue.title(f"Mailweir on {self._name()}")
        page = desk.dialogue.choose(self._offered(status))
        desk.dialogue.title(page.title.capitalize())
        if page.is_guarded:
            self._gate.open()
        page.run(desk)

    def _offered(self, status: Status) -> list[Page]:
        """What is there on this box, at this line, now."""
        pages = [page for page in PAGES if page.is_shown(self._desk, status)]
        if self._gate.is_open:
            pages[0] = Page("status", whole_status_page)
            if status.password_set:
                pages.append(Page("end this sitting: the password is asked for again", self._shut))
        return [*pages, Page("leave this menu", _leave)] if self._may_leave else pages

    def _shut(self, desk: Desk) -> None:
        self._gate.shut()

    def _begin(self) -> None:
        try:
            if self._first_boot.run():
                self._gate.given()
        except Cancelled:
            if self._may_leave and self._desk.dialogue.yes("Leave this menu"):
                raise Leave from None

    def _name(self) -> str:
        try:
            return self._desk.config().hostname
        except ConfigError:
            return "this box"

    def _tell(self, error: Exception) -> None:
        dialogue = self._desk.dialogue
        if isinstance(error, Idle):
            self._gate.shut()
        if isinstance(error, Back | Cancelled | Idle):
            return
        if isinstance(error, ControlError | ConfigError | OSError):
            dialogue.say(f"That did not work: {error}")
        else:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(place.filename)}:{place.lineno}"
            dialogue.say(f"That did not work, by a defect of this menu: {type(error).__name__}: {error} ({where})")
        # Where nobody answers at all, this is what stands between the menu and a busy loop.
        try:
            dialogue.terminal.read_line("Enter: go on ")
        except Cancelled:
            return
        except Idle:
            self._gate.shut()


def _leave(desk: Desk) -> None:
    raise Leave
