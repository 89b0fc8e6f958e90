"""`mailweir trace`: what became of a message, from the tracking data base. Needs no running gateway."""

from __future__ import annotations

import datetime
import time
from typing import Any

import click

from appliance.cli.output import Failed, config_option, json_option, print_facts, print_json, print_lines, print_table
from appliance.cli.why import why
from appliance.config import units
from appliance.config.load import load
from appliance.config.state import tracking_file


@click.command()
@click.argument("transaction_id", metavar="[ID]", required=False)
@click.option("--from", "sender", metavar="ADDRESS", help="Sender: address, @domain, or <>.")
@click.option("--to", "recipient", metavar="ADDRESS", help="One of the recipients: address or @domain.")
@click.option("--since", metavar="AGE", help="Not older than this, as in 2h or 3d.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000), help="At most so many.")
@config_option
@json_option
def trace(
    transaction_id: str | None,
    sender: str | None,
    recipient: str | None,
    since: str | None,
    limit: int,
    config_path: str,
    as_json: bool,
) -> None:
    """Tell what became of a message: by its ID, or by sender, recipient and age."""
    if not (transaction_id or sender or recipient or since):
        raise click.UsageError("give the ID from the SMTP reply, or at least one of --from, --to, --since")
    config = load(config_path)
    path = tracking_file(config.state, config.tracking.folder)
    found = _search(path, transaction_id, sender, recipient, _since_s(since), limit)
    if as_json:
        print_json([{**message, "why": why(message)} for message in found])
    elif transaction_id:
        for message in found:
            print_facts({name: _readable(name, value) for name, value in message.items() if name != "verdict"})
            print_lines(["why:", *(f"  {line}" for line in why(message))])
    elif found:
        print_table(("ID", "TIME", "ACTION", "SENDER", "RECIPIENTS", "REPLY"), [_row(message) for message in found])
    if not found:
        raise Failed("nothing found; the tracking data base may not reach back so far")


def _search(
    path: str, transaction_id: str | None, sender: str | None, recipient: str | None, since_s: float | None, limit: int
) -> list[dict[str, Any]]:
    from appliance.observe.trace import TrackingUnreadable, search

    try:
        return search(
            path,
            transaction_id=transaction_id.strip("[]") if transaction_id else None,
            sender=sender,
            recipient=recipient,
            since_s=since_s,
            limit=limit,
        )
    except TrackingUnreadable as error:
        raise Failed(str(error)) from error


def _since_s(since: str | None) -> float | None:
    """The moment `since` ago, seconds since the epoch."""
    if since is None:
        return None
    try:
        return time.time() - units.duration(since)
    except ValueError as error:
        raise click.UsageError(f"--since: {error}; write an age as in 30m, 2h or 3d") from error


def _readable(name: str, value: object) -> object:
    if name == "at_s" and isinstance(value, int | float):
        return _local_time(value)
    if isinstance(value, list):
        return [
            {key: _readable(key, inner) for key, inner in element.items()} if isinstance(element, dict) else element
            for element in value
        ]
    return value


def _row(message: dict[str, Any]) -> tuple[object, ...]:
    recipients = message.get("recipients") or [""]
    more = f" +{len(recipients) - 1}" if len(recipients) > 1 else ""
    at_s = message.get("at_s")
    at = _local_time(at_s) if isinstance(at_s, int | float) else "-"
    sender = message.get("sender") or "<>"
    return (message["id"], at, message.get("action", "-"), sender, f"{recipients[0]}{more}", message.get("reply", ""))


def _local_time(epoch_s: float) -> str:
    return datetime.datetime.fromtimestamp(epoch_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
