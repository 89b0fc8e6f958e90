"""`mailweir sysd`: runs the role that owns the configuration of an appliance. systemd starts it there."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.output import sysd_option

DEFAULT_STORE = "/var/lib/mailweir-config"


@click.command()
@click.option("--store", default=DEFAULT_STORE, show_default=True, metavar="DIR", help="Where revisions are kept.")
@sysd_option
@click.option("--factory", metavar="FILE", help="The configuration to begin with, where there is none.")
@click.option("--erase", multiple=True, metavar="DIR", help="A factory reset empties this directory, too.")
@click.option("--unit", default="mailweir-mtad.service", show_default=True, help="The gateway's systemd unit.")
@click.option("--network", is_flag=True, help="Set up this machine's network and firewall, too: on an appliance.")
@click.option("--journal", is_flag=True, help="Keep the journal as log.keep_mib says: on an appliance.")
def sysd(
    store: str, socket: str, factory: str | None, erase: tuple[str, ...], unit: str, network: bool, journal: bool
) -> int:
    """Own the configuration and answer the other roles, until SIGTERM."""
    from appliance.daemon.lean import without_openssl

    with without_openssl():
        from appliance.daemon.sysd import Options, run
        from appliance.daemon.systemd import SystemdMounts, SystemdShells
        from appliance.network.look import Look
        from appliance.removable.devices import Devices
        from appliance.removable.sticks import Sticks

    return run(
        Options(
            store=Path(store).absolute(),
            socket=Path(socket).absolute(),
            factory=Path(factory) if factory else None,
            erase=[Path(folder).absolute() for folder in erase],
            unit=unit,
            network=network,
            journal=journal,
            probes=Look(),
            sticks=Sticks(Devices(), SystemdMounts()) if SystemdMounts.are_there() else None,
            shells=SystemdShells() if SystemdShells.are_there() else None,
        )
    )
