"""How the commands take `--json`, `--config` and `--socket`, and how they print.

Results go to standard output, complaints to standard error. Knows no command; every command calls it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

DEFAULT_CONFIG = "/etc/mailweir/mailweir.toml"
DEFAULT_SOCKET = "/run/mailweir/sysd.sock"
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Failed(click.ClickException):
    """The command could not do what was asked; exit status 1."""

    exit_code = 1


def config_option(command: _Command) -> _Command:
    """Adds `--config FILE` as argument `config_path`."""
    return click.option(
        "--config",
        "config_path",
        metavar="FILE",
        default=DEFAULT_CONFIG,
        envvar="MAILWEIR_CONFIG",
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(command)


def json_option(command: _Command) -> _Command:
    """Adds `--json` as argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def sysd_option(command: _Command) -> _Command:
    """Adds `--socket PATH` as argument `socket`."""
    return click.option(
        "--socket", default=DEFAULT_SOCKET, envvar="MAILWEIR_SYSD", show_default=True, show_envvar=True, metavar="PATH"
    )(command)


def print_json(value: object) -> None:
    # ASCII: whatever a peer wrote, no terminal obeys it.
    click.echo(json.dumps(value, indent=2, default=str))


def printable(value: object) -> str:
    """`value` on one line, without anything that a terminal obeys: peers choose much of what we print."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", str(value))


def print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(printable(line))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they must be; the last one is not padded."""
    texts = [list(titles), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(titles))]
    for row in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_facts(facts: Mapping[str, object], indent: str = "") -> None:
    """One `name: value` a line; tables and lists below their name, empty ones left out."""
    for name, value in facts.items():
        if value is None or value in ("", [], {}):
            continue
        if isinstance(value, dict):
            click.echo(f"{indent}{printable(name)}:")
            print_facts(value, indent + "  ")
        elif isinstance(value, list) and isinstance(value[0], dict):
            click.echo(f"{indent}{printable(name)}:")
            for element in value:
                click.echo(f"{indent}  -")
                print_facts(element, indent + "    ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            click.echo(f"{indent}{printable(name)}: {printable(text)}")
