"""Hands rule sets to `nft`, as one transaction each, and says what it makes of them. Blocking; called by `bring_up`.

Through the command and not pyroute2's nftables: the text is what a person can read, check and diff, and its grammar
is stable, where pyroute2 would have us write netlink expressions by hand.
"""

from __future__ import annotations

import subprocess

from appliance.network.firewall import TABLE

_TIMEOUT_S = 20.0


class NftFailed(Exception):
    """The rules were refused as a whole; those from before are in force."""


def load(rules: str) -> None:
    """Puts the rules in force.

    Raises:
        NftFailed: nothing has changed.
    """
    _nft(["-f", "-"], rules)


def loaded() -> str:
    """Our table as it is in force, in a form that `load` takes to put it back; it removes the table if there is none.

    Raises:
        NftFailed: it could not be asked for.
    """
    clear = f"table {TABLE} {{}}\ndelete table {TABLE}\n"
    if f"table {TABLE}" not in _nft(["list", "tables"]).splitlines():
        return clear
    return clear + _nft(["-s", "list", "table", *TABLE.split()])


def _nft(arguments: list[str], text: str = "") -> str:
    command = ["nft", *arguments]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NftFailed(f"nft: {error}") from error
    if done.returncode:
        raise NftFailed(f"nft: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout
