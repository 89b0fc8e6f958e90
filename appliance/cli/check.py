"""`mailweir check FILE`: everything that is wrong with a configuration, each with its line and its remedy."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from appliance.cli.output import DEFAULT_CONFIG, json_option, print_json, printable
from appliance.config.complaints import Complaint, complaints
from appliance.config.load import read


@click.command()
@click.argument("file", default=DEFAULT_CONFIG, envvar="MAILWEIR_CONFIG")
@click.option("--no-files", is_flag=True, help="Do not look at the files that the configuration names.")
@json_option
@click.pass_context
def check(context: click.Context, file: str, no_files: bool, as_json: bool) -> None:
    """Check the configuration FILE; exit status 2 if it has errors."""
    found = complaints(read(file), file, files=not no_files)
    if print_complaints(file, found, as_json):
        context.exit(2)


def print_complaints(file: str, found: Sequence[Complaint], as_json: bool) -> int:
    """Prints what is wrong with `file`, and how much; the number of errors."""
    errors = sum(complaint.severity == "error" for complaint in found)
    warnings = len(found) - errors
    if as_json:
        listed = [msgspec.structs.asdict(complaint) for complaint in found]
        print_json({"file": file, "ok": not errors, "errors": errors, "warnings": warnings, "problems": listed})
        return errors
    for complaint in found:
        what = f"{complaint.key}: {complaint.text}" if complaint.key else complaint.text
        click.echo(printable(f"{file}:{complaint.line}: {complaint.severity}: {what}"))
        click.echo(printable(f"    {complaint.remedy}"))
    click.echo(f"{printable(file)}: {errors} errors, {warnings} warnings" if found else f"{printable(file)}: good")
    return errors
