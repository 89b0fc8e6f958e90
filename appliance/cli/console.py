"""`mailweir console`: the numbered menu in place of a login, on whatever terminal it is started."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

import click

from appliance.cli.output import Failed, sysd_option


@click.command()
@click.option(
    "--confirm-within", "within_s", default=120.0, show_default=True, metavar="S", help="Seconds to keep a change."
)
@click.option("--may-leave", is_flag=True, help="Offer to leave the menu; not where it stands in place of a login.")
@sysd_option
def console(within_s: float, may_leave: bool, socket: str) -> int:
    """Show the menu of the appliance until the line is hung up."""
    from appliance.daemon.lean import without_openssl

    with without_openssl():
        from appliance.cli.why import why
        from appliance.console.announced import Announced
        from appliance.console.board import Board
        from appliance.console.desk import Desk
        from appliance.console.dialogue import Dialogue
        from appliance.console.keyboard import line_of
        from appliance.console.menu import Menu
        from appliance.console.running_gateway import RunningGateway
        from appliance.console.terminal import HungUp, Terminal
        from appliance.console.tty import TtyLine
        from appliance.control.protocol import ControlError
        from appliance.control.sysd_client import Sysd
        from appliance.control.update_client import Updates
        from appliance.core.errors import ConfigError
        from appliance.update.keeper import Keeper

    if not sys.stdin.isatty():
        raise Failed("standard input is no terminal; the menu wants one")
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(signum, signal.SIG_IGN)  # no key and no noise may stop or end the menu
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))  # by way of the terminal's settings
    with TtyLine() as line:
        dialogue = Dialogue(Terminal(line, announced=Announced(line_of(0))))
        sysd = Sysd(socket, author="console")
        mail = RunningGateway(lambda: desk.config(), why)
        updates = Updates(socket, author="console") if Keeper().has_slots else None
        desk = Desk(dialogue, sysd, mail, Board(), within_s, line_of(0), updates)
        with suppress(ControlError, ConfigError, OSError):  # nothing is in force yet
            desk.machine.load_keyboard(desk.config().console.keyboard)
        try:
            Menu(desk, may_leave=may_leave).run()
        except HungUp:
            return 0
    return 0
