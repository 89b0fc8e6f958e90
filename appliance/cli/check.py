"""`mailweir check FILE`: everything that is wrong with a configuration, each with its line and its remedy."""

from __future__ import annotations

from typing import NamedTuple

import click

from appliance.cli.output import DEFAULT_CONFIG, json_option, print_json, printable
from appliance.config.check import problems
from appliance.config.lines import dotted, locate
from appliance.config.load import BadConfig, parse, read


class _Complaint(NamedTuple):
    severity: str
    line: int
    key: str
    text: str
    remedy: str


@click.command()
@click.argument("file", default=DEFAULT_CONFIG, envvar="MAILWEIR_CONFIG")
@click.option("--no-files", is_flag=True, help="Do not look at the files that the configuration names.")
@json_option
@click.pass_context
def check(context: click.Context, file: str, no_files: bool, as_json: bool) -> None:
    """Check the configuration FILE; exit status 2 if it has errors."""
    complaints = _complaints(file, not no_files)
    errors = sum(complaint.severity == "error" for complaint in complaints)
    warnings = len(complaints) - errors
    if as_json:
        listed = [complaint._asdict() for complaint in complaints]
        print_json({"file": file, "ok": not errors, "errors": errors, "warnings": warnings, "problems": listed})
    else:
        for severity, line, key, text, remedy in complaints:
            what = f"{key}: {text}" if key else text
            click.echo(printable(f"{file}:{line}: {severity}: {what}"))
            click.echo(printable(f"    {remedy}"))
        click.echo(
            f"{printable(file)}: {errors} errors, {warnings} warnings" if complaints else f"{printable(file)}: good"
        )
    if errors:
        context.exit(2)


def _complaints(file: str, files: bool) -> list[_Complaint]:
    text = read(file)
    try:
        config = parse(text, file)
    except BadConfig as error:
        return [_Complaint("error", fault.line, dotted(fault.path), fault.text, fault.remedy) for fault in error.faults]
    places = locate(text)
    return [
        _Complaint(problem.severity, places.line(problem.path), problem.key, problem.text, problem.remedy)
        for problem in problems(config, files)
    ]
