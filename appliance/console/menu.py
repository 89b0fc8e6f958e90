"""The menu's life: the first boot until there is a configuration, then the numbered pages, for ever.

Nothing that happens on a page ends it: what goes wrong is said, and the menu stands there again. It ends when the line
is gone, or by choice where that is offered.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from appliance.console.change import keep
from appliance.console.desk import Desk
from appliance.console.dialogue import Back
from appliance.console.first_boot import FirstBoot, is_new
from appliance.console.pages.backup import backup_page
from appliance.console.pages.domains import domains_page
from appliance.console.pages.history import history_page
from appliance.console.pages.network import network_page
from appliance.console.pages.password import password_page
from appliance.console.pages.power import power_off_page, reboot_page, reset_page
from appliance.console.pages.probes import probes_page
from appliance.console.pages.queue import queue_page
from appliance.console.pages.status import status_page
from appliance.console.pages.trace import trace_page
from appliance.console.terminal import Cancelled, HungUp, Idle
from appliance.control.protocol import ControlError
from appliance.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Page:
    """A line of the main menu."""

    title: str
    run: Callable[[Desk], None]


class Leave(Exception):
    """By choice."""


def _leave(desk: Desk) -> None:
    raise Leave


PAGES = (
    Page("status", status_page),
    Page("network", network_page),
    Page("mail domains", domains_page),
    Page("probes: ping, DNS, SMTP", probes_page),
    Page("trace of a message", trace_page),
    Page("queue", queue_page),
    Page("administrator's password", password_page),
    Page("history of the configuration", history_page),
    Page("backup and restore", backup_page),
    Page("restart", reboot_page),
    Page("power off", power_off_page),
    Page("factory reset", reset_page),
)
LEAVE = Page("leave this menu", _leave)


class Menu:
    """See the module."""

    def __init__(self, desk: Desk, *, may_leave: bool = False) -> None:
        self._desk = desk
        self._pages = (*PAGES, LEAVE) if may_leave else PAGES
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
        if desk.sysd.status().unconfirmed:
            desk.dialogue.say("A change is in force that nobody has confirmed yet.")
            keep(desk)
        if is_new(desk):
            self._begin()
            return
        desk.dialogue.title(f"Mailweir on {self._name()}")
        page = desk.dialogue.choose(self._pages)
        desk.dialogue.title(page.title.capitalize())
        page.run(desk)

    def _begin(self) -> None:
        try:
            self._first_boot.run()
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
        except (Cancelled, Idle):
            return
