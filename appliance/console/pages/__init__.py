"""What stands behind the numbers of the main menu: a module a page, each a function of the desk; and their list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from appliance.console.desk import Desk
from appliance.console.pages.backup import backup_page
from appliance.console.pages.domains import domains_page
from appliance.console.pages.flow import flow_page
from appliance.console.pages.history import history_page
from appliance.console.pages.keyboard import keyboard_page
from appliance.console.pages.mode import mode_page
from appliance.console.pages.network import network_page
from appliance.console.pages.password import password_page
from appliance.console.pages.power import power_off_page, reboot_page, reset_page
from appliance.console.pages.probes import probes_page
from appliance.console.pages.queue import queue_page
from appliance.console.pages.shell import shell_page
from appliance.console.pages.status import status_page
from appliance.console.pages.trace import trace_page
from appliance.console.pages.update import update_page
from appliance.control.sysd_messages import Status


def _always(desk: Desk, status: Status) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Page:
    """A line of the main menu."""

    title: str
    run: Callable[[Desk], None]
    is_guarded: bool = False
    """Behind the administrator's password, where there is one."""
    is_shown: Callable[[Desk, Status], bool] = _always


PAGES = (
    Page("status", status_page),
    Page("mail flow", flow_page),
    Page("network", network_page, True),
    Page("mode", mode_page, True),
    Page("mail domains", domains_page, True),
    Page("probes: ping, DNS, SMTP", probes_page),
    Page("trace of a message", trace_page, True),
    Page("queue", queue_page, True),
    Page("administrator's password", password_page, True),
    Page("history of the configuration", history_page, True),
    Page("backup and restore", backup_page, True, lambda desk, status: status.sticks),
    Page("update of the box", update_page, True, lambda desk, status: desk.updates is not None),
    # Who stands before the box can pull its plug, too.
    Page("restart", reboot_page),
    Page("power off", power_off_page),
    Page("factory reset", reset_page),
    Page("keyboard", keyboard_page, True, lambda desk, status: desk.has_keyboard),
    Page("shell", shell_page, False, lambda desk, status: status.shell and status.password_set and bool(desk.line)),
)
