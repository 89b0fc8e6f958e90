"""`mailweir update`: the slots, an update from a file or a URL, and the way back. On an appliance, by `sysd`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from appliance.cli.output import (
    Failed,
    json_option,
    print_facts,
    print_json,
    print_lines,
    print_table,
    printable,
    sysd_option,
)

if TYPE_CHECKING:
    from appliance.control.update_client import Updates
    from appliance.control.update_messages import UpdateStatus


@click.group()
def update() -> None:
    """Look at the slots of the appliance, update it, and go back."""


@update.command()
@sysd_option
@json_option
def status(socket: str, as_json: bool) -> None:
    """Print what is in the slots, what is under way, and why updates failed."""
    from appliance.control.update_words import news_lines, slot_words

    found = _updates(socket).status()
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    rows = [(it.name, it.version or "-", it.state, it.tries, slot_words(it)) for it in found.slots]
    print_table(("SLOT", "RELEASE", "STATE", "TRIES", ""), rows)
    print_lines(news_lines(found))


@update.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--stick", metavar="DEVICE", help="FILE is the name of one on this USB stick, as sda1.")
@click.option("--upload", is_flag=True, help="Send FILE over the socket: where sysd cannot read it.")
@click.option("--no-way-back", is_flag=True, help="Also where this release could not read what the new one leaves.")
@click.option("--reboot", is_flag=True, help="Start the new release at once.")
@sysd_option
@json_option
def install(
    source: str, stick: str | None, upload: bool, no_way_back: bool, reboot: bool, socket: str, as_json: bool
) -> None:
    """Install the update in FILE, or at an https URL, into the other slot."""
    from appliance.control.sysd_client import Sysd

    updates = _updates(socket)
    way_back = not no_way_back
    if stick is not None:
        updates.install_from_stick(stick, source, way_back=way_back)
    elif source.startswith(("https:", "http:")):
        updates.install_url(source, way_back=way_back)
    elif upload:
        updates.install_upload(Path(source), lambda percent: None, way_back=way_back)
    else:
        updates.install_file(Path(source).absolute(), way_back=way_back)
    found = _followed(updates, as_json)
    if found.activity != "installed":
        raise Failed(found.text or f"the update ended as {found.activity}")
    if as_json:
        print_json({"state": found.activity, "text": found.text})
    if reboot:
        Sysd(socket, author=_author()).reboot()


def _followed(updates: Updates, as_json: bool) -> UpdateStatus:
    for found in updates.followed():
        if not as_json:
            click.echo(f"{found.percent:3} %  {found.activity}: {printable(found.text)}")
    return found


@update.command()
@click.option("--reboot", is_flag=True, help="Start it at once.")
@sysd_option
@json_option
def rollback(reboot: bool, socket: str, as_json: bool) -> None:
    """Make the next start take the other slot, if its release worked here."""
    from appliance.control.sysd_client import Sysd

    slot = _updates(socket).roll_back()
    print_json({"slot": slot}) if as_json else print_lines([f"the next start takes slot {slot}"])
    if reboot:
        Sysd(socket, author=_author()).reboot()


@update.command(hidden=True)
@click.option("--ended", is_flag=True, help="systemd's word that the installer is over.")
def apply(ended: bool) -> int:
    """Do the work of the installer's unit."""
    from appliance.daemon.updates import installer

    if ended:
        installer().ended(os.environ.get("SERVICE_RESULT", "unknown"))
        return 0
    done = installer().apply()
    print_facts({"update": done.state, "text": done.text})
    return 0 if done.state == "installed" else 1


def _author() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def _updates(socket: str) -> Updates:
    from appliance.control.update_client import Updates

    return Updates(socket, author=_author())
