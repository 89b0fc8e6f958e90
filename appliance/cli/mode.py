"""`mailweir mode [MODE]`: how a box can stand in the flow of mail, and what a change would do. Changes nothing."""

from __future__ import annotations

import click

from appliance.cli.output import config_option, json_option, print_json, print_lines


@click.command()
@click.argument("name", metavar="MODE", required=False)
@config_option
@json_option
def mode(name: str | None, config_path: str, as_json: bool) -> None:
    """List the modes, or tell what a change to MODE would change, and what would stay (a dry run)."""
    from appliance.config.box_tables import Mode
    from appliance.config.load import parse, read
    from appliance.console.mode_switch import dry_run, switched
    from appliance.console.modes import MODES

    text = read(config_path)
    now = parse(text, config_path).mode
    if name is None:
        if as_json:
            print_json([{"mode": line.mode.value, "title": line.title, "now": line.mode is now} for line in MODES])
            return
        for line in MODES:
            print_lines([f"{'*' if line.mode is now else ' '} {line.title}", *(f"    {words}" for words in line.help)])
        return
    if name not in {line.mode.value for line in MODES}:
        raise click.UsageError(f"there is no mode {name!r}; built are: {', '.join(line.mode.value for line in MODES)}")
    found = dry_run(text, switched(text, Mode(name)))
    if as_json:
        print_json({"mode": name, "changes": found.changes, "stays": found.stays})
        return
    print_lines([f"changes: {sentence}" for sentence in found.changes] or ["nothing changes"])
    print_lines([f"stays:   {sentence}" for sentence in found.stays])
