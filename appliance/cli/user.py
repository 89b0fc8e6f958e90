"""`mailweir user ...`: logins for the submission ports. A password is asked for or read from standard input, and
never an argument, where every user of the host could read it.
"""

from __future__ import annotations

import sys

import click
import msgspec

from appliance.cli.output import Failed, config_option, json_option, print_json, print_table
from appliance.config.load import load
from appliance.core.address import BadAddress
from appliance.core.errors import ConfigError, GatewayError
from appliance.intake.users import User, hashed, rule_of
from appliance.intake.users_file import edited, normal_name, read

_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, one line."
)


@click.group()
def user() -> None:
    """Manage the logins of the submission ports."""


@user.command()
@click.argument("name")
@click.option(
    "--address", "addresses", multiple=True, metavar="ADDRESS", help="May send as this; @domain for all of it."
)
@_password_stdin
@config_option
@json_option
def add(name: str, addresses: tuple[str, ...], password_stdin: bool, config_path: str, as_json: bool) -> None:
    """Add the login NAME. Without --address it may send as itself, if it is an address."""
    path = _users_file(config_path)
    login = _login(name)
    rules = [_rule(address) for address in addresses]
    if not rules and "@" not in login:
        raise click.UsageError(f"{name!r} is no address: say with --address what it may send as")
    if not rules:
        _rule(login)
    _refuse_known(path, login)
    new = User(name=login, hash=_new_hash(password_stdin), addresses=rules)
    with edited(path) as users:
        if login in users:
            raise Failed(f"{login} exists already; see `mailweir user passwd`")
        users[login] = new
    _say("added", login, as_json)


@user.command()
@click.argument("name")
@_password_stdin
@config_option
@json_option
def passwd(name: str, password_stdin: bool, config_path: str, as_json: bool) -> None:
    """Give the login NAME a new password."""
    path = _users_file(config_path)
    login = _login(name)
    if login not in read(path):
        raise Failed(f"there is no login {login}")
    new_hash = _new_hash(password_stdin)
    with edited(path) as users:
        if login not in users:
            raise Failed(f"there is no login {login}")
        users[login] = msgspec.structs.replace(users[login], hash=new_hash)
    _say("changed", login, as_json)


@user.command()
@click.argument("name")
@config_option
@json_option
def remove(name: str, config_path: str, as_json: bool) -> None:
    """Remove the login NAME."""
    login = _login(name)
    with edited(_users_file(config_path)) as users:
        if users.pop(login, None) is None:
            raise Failed(f"there is no login {login}")
    _say("removed", login, as_json)


@user.command("list")
@config_option
@json_option
def list_(config_path: str, as_json: bool) -> None:
    """List the logins, without their hashes."""
    users = sorted(read(_users_file(config_path)).values(), key=lambda user: user.name)
    if as_json:
        print_json([{"name": u.name, "addresses": u.addresses, "disabled": u.disabled} for u in users])
        return
    rows = [(u.name, ", ".join(u.addresses) or "(itself)", "disabled" if u.disabled else "") for u in users]
    print_table(("LOGIN", "MAY SEND AS", ""), rows)


def _users_file(config_path: str) -> str:
    path = load(config_path).submission.users_file
    if not path:
        raise ConfigError(f"{config_path}: submission.users_file is not set; name a file there for the logins")
    return path


def _refuse_known(path: str, login: str) -> None:
    """Before a password is asked for; `edited` decides, under its lock."""
    try:
        known = read(path)
    except GatewayError:
        return  # most likely there is none yet; `edited` tells what else it is
    if login in known:
        raise Failed(f"{login} exists already; see `mailweir user passwd`")


def _login(name: str) -> str:
    try:
        return normal_name(name)
    except ValueError as error:
        raise click.UsageError(f"{name!r}: {error}") from error


def _rule(address: str) -> str:
    try:
        return rule_of(address)
    except BadAddress as error:
        raise click.UsageError(f"{address!r} is neither an address nor a domain: {error}") from error


def _new_hash(password_stdin: bool) -> str:
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt="Again")
    else:
        raise click.UsageError("no terminal to ask for the password; use --password-stdin")
    try:
        return hashed(password)
    except ValueError as error:
        raise Failed(str(error)) from error


def _say(what: str, login: str, as_json: bool) -> None:
    if as_json:
        print_json({what: login})
    else:
        click.echo(f"{what}: {login}")
