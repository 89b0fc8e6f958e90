"""The command's entry: groups the sub-commands, and turns whatever goes wrong into a sentence and an exit status.

Status 0: done; 1: not found or failed; 2: wrong usage or configuration. Never a traceback. The sub-commands stand in
their own modules, one of which is imported when its command is asked for: all of them are 9 MiB, and some of them run
as long as the box does.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click
from click.core import ParameterSource

from appliance import __version__
from appliance.cli.output import config_option, json_option, print_json, printable
from appliance.control.protocol import ControlError
from appliance.core.errors import ConfigError, GatewayError

_MODULES = ("check", "config", "console", "health", "mode", "queue", "route", "sysd", "trace", "update", "user")
"""Of this package; each has one command, which is called as it is."""


class _Commands(click.Group):
    """Those written here, and those of `_MODULES`."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *_MODULES])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _MODULES:
            return super().get_command(context, name)
        command = getattr(import_module(f"appliance.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Mailweir, an e-mail security gateway."""


@cli.command()
@config_option
@click.option("--demo", is_flag=True, help="Run the built-in demonstration on loopback ports, without any file.")
@click.pass_context
def run(context: click.Context, config_path: str, demo: bool) -> int:
    """Run the gateway in the foreground until SIGTERM or Ctrl-C."""
    if demo and context.get_parameter_source("config_path") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--demo brings its own configuration; leave --config out")
    from appliance.daemon.mtad import run as run_gateway

    return run_gateway(None if demo else config_path)


@cli.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        click.echo(f"mailweir {__version__}, Python {platform.python_version()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line in `arguments` (default: the process' own) and returns its exit status."""
    try:
        status = cli.main(args=arguments, prog_name="mailweir", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        click.echo("mailweir: interrupted", err=True)
        return 1
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except ConfigError as error:
        return _complain(error, 2)
    except BrokenPipeError:
        # The reader left, as `head` does; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ControlError, GatewayError, OSError) as error:
        return _complain(error, 1)
    except Exception as error:  # noqa: BLE001  the last line of defence: a sentence instead of a traceback
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        return _complain(f"a defect in this program: {type(error).__name__}: {error} ({where})", 1)
    return status if isinstance(status, int) else 0


def _show(error: click.ClickException) -> None:
    """As `error.show()`, also where an argument is octets that are no text."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        click.echo(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n", err=True)
    click.echo(f"Error: {printable(error.format_message())}", err=True)


def _complain(error: object, status: int) -> int:
    for line in str(error).splitlines() or [type(error).__name__]:
        click.echo(f"mailweir: {printable(line)}", err=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
