"""`mailweir health`: does this machine relay a message, and do its parts answer? On an appliance the gate of a slot.

systemd starts it once a boot (`--gate`); a person may ask as often as he likes, which changes nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from appliance.cli.output import json_option, print_json, print_lines, sysd_option

if TYPE_CHECKING:
    from appliance.update.health import Conclusion, Verdict


@click.command()
@click.option("--within", "within_s", default=60.0, show_default=True, metavar="S", help="Seconds for all of it.")
@click.option("--gate", "is_gate", is_flag=True, hidden=True, help="Keep the verdict; start again as it says.")
@click.option("--gate-ended", "ended", is_flag=True, hidden=True, help="systemd's word that the gate did not end well.")
@sysd_option
@json_option
def health(within_s: float, is_gate: bool, ended: bool, socket: str, as_json: bool) -> int:
    """Send a message through the running gateway, and see that its parts answer."""
    from appliance.daemon import health as wired
    from appliance.update.keeper import Keeper

    if ended:
        verdict = wired.unfinished(Keeper(), os.environ.get("SERVICE_RESULT", "unknown"), stopping=_is_stopping())
        if verdict is not None:
            _follow(wired.end(Keeper(), verdict))
        return 0
    if not is_gate:
        verdict = wired.look(wired.gate(socket), within_s)
        print_json(verdict.plain()) if as_json else print_lines(_lines(verdict))
        return 0 if verdict.well else 1
    try:
        done = wired.run(wired.gate(socket), Keeper(), within_s)
    except wired.NotFromASlot as error:
        print_lines([str(error)])
        return 0
    told = Keeper().told_health()
    print_lines([f"health: {told.get('reason') or 'good'}"])
    _follow(done)
    return 0 if told.get("state") == "good" else 1


def _is_stopping() -> bool:
    """Whether the machine goes down just now."""
    done = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "stopping"


def _lines(verdict: Verdict) -> list[str]:
    return [f"{'good' if look.well else 'BAD ':4}  {look.name:14} {look.text}" for look in verdict.seen]


def _follow(done: Conclusion) -> None:
    """A slot that has not proven itself is started again, and by the boot loader's count falls in the end."""
    if done.restart:
        last = done.record.failures[-1]
        print(f"slot {last.slot}, release {last.version}: {last.reason}. Starting again.", file=sys.stderr, flush=True)
        subprocess.run(["systemctl", "--no-block", "reboot"], check=True)
