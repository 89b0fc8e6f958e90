"""`mailweir queue ...`: looks at and acts on the queues of all workers, through their control sockets.

A message is in the queue of one worker only; each is asked, and what one of them has is what there is.
"""

from __future__ import annotations

import datetime
from typing import Any

import click

from appliance.cli.output import Failed, config_option, json_option, print_facts, print_json, print_table
from appliance.config.load import load
from appliance.control.client import ask
from appliance.control.protocol import ControlError, NoAnswer, worker_sockets


@click.group()
def queue() -> None:
    """Look at the queue and act on it."""


@queue.command("list")
@config_option
@json_option
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1), help="Messages per worker.")
def list_(config_path: str, as_json: bool, limit: int) -> None:
    """List the messages in the queue."""
    entries: list[dict[str, Any]] = []
    total = 0
    for worker, result in _ask_all(config_path, "queue.list", {"limit": limit}):
        entries += [{"worker": worker, **entry} for entry in result["entries"]]
        total += result["total"]
    if as_json:
        print_json({"entries": entries, "total": total})
        return
    if entries:
        print_table(("ID", "SIZE", "RECEIVED", "NEXT TRY", "SENDER", "RECIPIENTS"), [_row(entry) for entry in entries])
    more = f", {total - len(entries)} more not shown" if total > len(entries) else ""
    click.echo(f"{total} message{'' if total == 1 else 's'} in the queue{more}")


@queue.command()
@click.argument("entry_id", metavar="ID")
@config_option
@json_option
def show(entry_id: str, config_path: str, as_json: bool) -> None:
    """Show all about one message in the queue."""
    for worker, result in _ask_all(config_path, "queue.show", {"ids": [_id(entry_id)]}):
        for entry in result["entries"]:
            facts = {"worker": worker, **entry}
            if as_json:
                print_json(facts)
            else:
                print_facts(_readable(facts))
            return
    raise Failed(f"{entry_id} is not in the queue; `mailweir trace {entry_id}` may tell what became of it")


@queue.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All messages.")
@config_option
@json_option
def retry(ids: tuple[str, ...], everything: bool, config_path: str, as_json: bool) -> None:
    """Try to deliver messages now."""
    if bool(ids) == everything:
        raise click.UsageError("give ids, or --all")
    _act("retry", ids, config_path, as_json, {"all": True} if everything else {})


def _acting(name: str, explanation: str) -> None:
    @queue.command(name, help=explanation)
    @click.argument("ids", metavar="ID...", nargs=-1, required=True)
    @config_option
    @json_option
    def command(ids: tuple[str, ...], config_path: str, as_json: bool) -> None:
        _act(name, ids, config_path, as_json, {})


_acting("hold", "Keep messages in the queue until they are released.")
_acting("release", "Let held messages go.")
_acting("delete", "Remove messages for good; nobody is told.")


def _act(name: str, raw_ids: tuple[str, ...], config_path: str, as_json: bool, more: dict[str, Any]) -> None:
    ids = [_id(raw_id) for raw_id in raw_ids]
    done: list[str] = []
    for _, result in _ask_all(config_path, f"queue.{name}", {"ids": ids, **more}):
        done += result["done"]
    missing = [entry_id for entry_id in ids if entry_id not in done]
    if as_json:
        print_json({"done": done, "not_found": missing})
    else:
        click.echo(f"{name}: {len(done)} message{'' if len(done) == 1 else 's'}")
    if missing:
        raise Failed(f"not in the queue: {', '.join(missing)}")


def _ask_all(config_path: str, request: str, args: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each worker's name and result. One that does not answer is complained about, for its messages are not told.

    Raises:
        ControlError: no worker answers, or one refuses.
    """
    state = load(config_path).state
    sockets = worker_sockets(state)
    results: list[tuple[str, dict[str, Any]]] = []
    silent: list[NoAnswer] = []
    for socket in sockets:
        try:
            results.append((socket.stem, ask(socket, request, args)))
        except NoAnswer as error:
            silent.append(error)
    if not results:
        reason = f": {silent[0]}" if silent else f" in {state}/control"
        raise ControlError(f"no worker of the gateway answers{reason}; is it running with this configuration?")
    for trouble in silent:
        click.echo(f"mailweir: {trouble}; the messages of this worker are missing here", err=True)
    return results


def _id(raw_id: str) -> str:
    return raw_id.strip().strip("[]").upper()


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    recipients = entry["recipients"]
    first = recipients[0]["address"] if recipients else ""
    more = f" +{len(recipients) - 1}" if len(recipients) > 1 else ""
    next_try = _local_time(entry["due_s"]) if entry["state"] == "waiting" else entry["state"]
    received = _local_time(entry["received_at_s"])
    return (entry["id"], entry["size_bytes"], received, next_try, entry["sender"] or "<>", f"{first}{more}")


def _readable(facts: dict[str, Any]) -> dict[str, Any]:
    """`facts` with times for people."""
    readable: dict[str, Any] = {}
    for name, value in facts.items():
        if name.endswith("_s"):
            readable[name.removesuffix("_s")] = _local_time(value)
        elif isinstance(value, list):
            readable[name] = [_readable(inner) for inner in value]
        else:
            readable[name] = value
    return readable


def _local_time(epoch_s: object) -> str:
    if not isinstance(epoch_s, int | float) or not epoch_s:
        return "-"
    return datetime.datetime.fromtimestamp(epoch_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
