"""`mailweir config ...`: looks at the configuration that `sysd` keeps, and changes it: propose, commit, confirm.

Everything goes through `sysd`'s socket. A gateway that is run with `--config FILE` has no part in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from appliance.cli.check import print_complaints
from appliance.cli.output import Failed, json_option, print_json, print_lines, print_table, sysd_option
from appliance.core.errors import ConfigError

if TYPE_CHECKING:
    from appliance.control.sysd_client import Sysd
    from appliance.control.sysd_messages import Proposal

_Command = TypeVar("_Command", bound=Callable[..., Any])

_reason = click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
_commit_too = click.option("--commit", "commit_too", is_flag=True, help="Commit at once; then confirm.")
_within = click.option(
    "--confirm-within", "within_s", default=120.0, show_default=True, metavar="S", help="Seconds to confirm it."
)


@click.group()
def config() -> None:
    """Look at the configuration of the appliance and change it."""


@config.command()
@click.argument("revision", type=click.IntRange(1), required=False)
@sysd_option
@json_option
def show(revision: int | None, socket: str, as_json: bool) -> None:
    """Print the configuration in force, or of REVISION."""
    found = _sysd(socket).text(revision or 0)
    if as_json:
        print_json({"revision": found.revision, "text": found.text})
    elif not found.revision:
        raise Failed("nothing is configured yet; begin with `mailweir config propose FILE`")
    else:
        print_lines(found.text.splitlines())


@config.command()
@click.argument("old", type=click.IntRange(0), required=False)
@click.argument("new", type=click.IntRange(0), required=False)
@sysd_option
@json_option
def diff(old: int | None, new: int | None, socket: str, as_json: bool) -> None:
    """What changed from revision OLD to NEW.

    With one number: from the configuration in force to that revision; without: what the one in force changed.
    """
    if new is None:
        old, new = None, old
    text = _sysd(socket).diff(old, new)
    if as_json:
        print_json({"diff": text})
    else:
        print_lines(text.splitlines())


@config.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Revisions.")
@sysd_option
@json_option
def history(limit: int, socket: str, as_json: bool) -> None:
    """List the revisions, newest first: who, when, why, and what became of them."""
    found = _sysd(socket).history(limit)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    rows = [
        (r.number, r.state, datetime.fromtimestamp(r.at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S"), r.author,
         ": ".join(filter(None, (r.reason, r.outcome_reason))))
        for r in found.revisions
    ]  # fmt: skip
    print_table(("REVISION", "STATE", "TIME", "AUTHOR", "REASON"), rows)
    if found.total > len(rows):
        click.echo(f"{found.total - len(rows)} older ones not shown")


@config.command()
@click.argument("file", metavar="FILE")
@_reason
@_commit_too
@_within
@sysd_option
@json_option
@click.pass_context
def propose(
    context: click.Context, file: str, reason: str, commit_too: bool, within_s: float, socket: str, as_json: bool
) -> None:
    """Check FILE and keep it as a proposal.

    Files that it refers to as "secrets/NAME" are taken along from the folder secrets beside it.
    """
    from appliance.config.load import read

    text = read(file)
    proposed = _sysd(socket).propose(text, reason, _secrets_beside(file, text))
    _after(context, proposed, file, socket, as_json, within_s if commit_too else None)


@config.command("set")
@click.argument("pairs", metavar="KEY VALUE...", nargs=-1, required=True)
@click.option("--on", "revision", default=0, metavar="REVISION", help="Change this one, not the one in force.")
@_reason
@_commit_too
@_within
@sysd_option
@json_option
@click.pass_context
def set_(
    context: click.Context,
    pairs: tuple[str, ...],
    revision: int,
    reason: str,
    commit_too: bool,
    within_s: float,
    socket: str,
    as_json: bool,
) -> None:
    """Propose the configuration with single values changed; comments and order stay.

    A KEY is written as in limits.sessions, next_hop[0].tls or domain[example.com].policy; [+] adds an element.
    """
    if len(pairs) % 2:
        raise click.UsageError("give a value for each key")
    from appliance.config.store.edit import assigned

    text = _sysd(socket).text(revision).text
    for key, raw_value in zip(pairs[::2], pairs[1::2], strict=True):
        text = assigned(text, key, raw_value)
    proposed = _sysd(socket).propose(text, reason or f"set {', '.join(pairs[::2])}")
    _after(context, proposed, "the changed configuration", socket, as_json, within_s if commit_too else None)


@config.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option("--on", "revision", default=0, metavar="REVISION", help="Change this one, not the one in force.")
@_reason
@sysd_option
@json_option
@click.pass_context
def unset(
    context: click.Context, keys: tuple[str, ...], revision: int, reason: str, socket: str, as_json: bool
) -> None:
    """Propose the configuration without some keys, tables or elements."""
    from appliance.config.store.edit import removed

    text = _sysd(socket).text(revision).text
    for key in keys:
        text = removed(text, key)
    proposed = _sysd(socket).propose(text, reason or f"unset {', '.join(keys)}")
    _after(context, proposed, "the changed configuration", socket, as_json, None)


@config.command()
@click.argument("revision", type=click.IntRange(1), required=False)
@_within
@sysd_option
@json_option
def commit(revision: int | None, within_s: float, socket: str, as_json: bool) -> None:
    """Put a proposal (REVISION, or the newest) in force until it is confirmed or the time is over."""
    sysd = _sysd(socket)
    if revision is None:
        proposals = sysd.status().proposals
        if not proposals:
            raise Failed("there is no proposal; begin with `mailweir config propose FILE` or `mailweir config set`")
        revision = proposals[0]
    left_s = sysd.commit(revision, within_s)
    if as_json:
        print_json({"revision": revision, "confirm_left_s": left_s})
    else:
        click.echo(f"revision {revision} is in force; it is rolled back unless you confirm it within {left_s:.0f} s:")
        click.echo("    mailweir config confirm")


@config.command()
@sysd_option
@json_option
def confirm(socket: str, as_json: bool) -> None:
    """Make the last commit stay."""
    _say("confirmed", _sysd(socket).confirm(), as_json)


@config.command()
@click.argument("revision", type=click.IntRange(1), required=False)
@sysd_option
@json_option
@click.pass_context
def rollback(context: click.Context, revision: int | None, socket: str, as_json: bool) -> None:
    """End an unconfirmed commit now; with REVISION, propose that earlier one again."""
    sysd = _sysd(socket)
    if revision is None:
        _say("rolled back to", sysd.roll_back(), as_json)
    else:
        _after(context, sysd.return_to(revision), f"revision {revision}", socket, as_json, None)


@config.command()
@click.argument("file", metavar="FILE")
@click.option("--revision", default=0, metavar="REVISION", help="Default: the one in force.")
@sysd_option
@json_option
def export(file: str, revision: int, socket: str, as_json: bool) -> None:
    """Write the configuration and its secrets, unencrypted, to the new file FILE (a tar archive)."""
    made, octets = _sysd(socket).export(revision)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as target:
        target.write(octets)
        target.flush()
        os.fsync(target.fileno())
    if as_json:
        print_json({"file": file, "revision": made.revision, "size_bytes": len(octets), "outside": made.outside})
        return
    click.echo(f"revision {made.revision}: {len(octets)} bytes in {file}; keep it as secret as the keys in it")
    for path in made.outside:
        click.echo(f"not in it, for it lies elsewhere: {path}")


@config.command("import")
@click.argument("file", metavar="FILE")
@_reason
@sysd_option
@json_option
@click.pass_context
def import_(context: click.Context, file: str, reason: str, socket: str, as_json: bool) -> None:
    """Propose what `export` wrote; commits nothing."""
    from appliance.config.store.archive import MAX_ARCHIVE_BYTES

    try:
        with open(file, "rb") as source:
            octets = source.read(MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; name the archive that export wrote") from error
    _after(context, _sysd(socket).take_in(octets, reason), file, socket, as_json, None)


def _sysd(socket: str) -> Sysd:
    from appliance.control.sysd_client import Sysd

    return Sysd(socket, author=os.environ.get("SUDO_USER", ""))


def _secrets_beside(file: str, text: str) -> dict[str, bytes]:
    """What `text` refers to as `secrets/NAME` and lies there beside `file`; what does not may be in the store."""
    from appliance.config.store.edit import document_of
    from appliance.config.store.revision import StoreError
    from appliance.config.store.secrets import FOLDER, secret_names

    try:
        names = secret_names(document_of(text))
    except StoreError:
        return {}  # the check tells the line
    folder = os.path.join(os.path.dirname(os.path.abspath(file)), FOLDER)
    found = {}
    for name in names:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            with open(path, "rb") as source:
                found[name] = source.read()
    return found


def _after(
    context: click.Context, proposed: Proposal, name: str, socket: str, as_json: bool, within_s: float | None
) -> None:
    """Tells what came of a proposal, status 2 where it was refused; commits it if `within_s` is given."""
    if not proposed.revision:
        print_complaints(name, proposed.complaints, as_json)
        context.exit(2)
    sysd = _sysd(socket)
    left_s = sysd.commit(proposed.revision, within_s) if within_s is not None else 0.0
    if as_json:
        found = {"proposed": proposed.revision, "complaints": msgspec.to_builtins(proposed.complaints)}
        print_json({**found, "confirm_left_s": left_s} if left_s else found)
        return
    if proposed.complaints:
        print_complaints(name, proposed.complaints, as_json)
    print_lines(sysd.diff(None, proposed.revision).splitlines())
    if left_s:
        click.echo(f"revision {proposed.revision} is in force; confirm it within {left_s:.0f} s:")
        click.echo("    mailweir config confirm")
    else:
        click.echo(f"proposed as revision {proposed.revision}; to put it in force:")
        click.echo(f"    mailweir config commit {proposed.revision}")


def _say(what: str, revision: int, as_json: bool) -> None:
    if as_json:
        print_json({"done": what, "revision": revision})
    else:
        click.echo(f"{what}: {f'revision {revision}' if revision else 'nothing is configured'}")
