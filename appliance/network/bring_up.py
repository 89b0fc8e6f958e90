"""The whole network from the configuration: firewall, links and addresses, DHCP client, resolver, clock; or as it was.

The firewall is first, so that no address is ever without it; services are told last, when their links are there.
Blocking: `sysd` calls it in a thread, at its start and at each commit, and `refresh_names` now and then. A workstation
does not come here.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.config.schema import Config
from appliance.network import clock, dhcp, firewall, journal, lease, names, nft
from appliance.network.apply import ApplyFailed, apply, recover
from appliance.network.files import install
from appliance.network.netlink import IPRoute
from appliance.network.plan import Unplannable
from appliance.network.read import read
from appliance.network.steps import Step
from appliance.network.values import Wanted
from appliance.network.wanted import wanted_of

RUN_DIR = Path("/run")
_RELOAD_TIMEOUT_S = 30.0
_READERS = {
    "systemd-networkd.service": ("systemd/network/", "systemd/networkd.conf.d/"),
    "systemd-timesyncd.service": (clock.TIMESYNCD,),
    "unbound.service": (names.UNBOUND,),
}

Reload = Callable[[str], None]
"""Makes a unit read its files anew; see `systemctl_reload`."""


class BroughtUp(msgspec.Struct, frozen=True):
    """What was done."""

    steps: list[Step] = []
    missing: list[str] = []
    """Interfaces of the configuration for which there is no port."""
    told: list[str] = []
    """Units whose files have changed."""
    troubles: list[str] = []
    """Files that could not be written and units that could not be told, each with the reason."""


class BringUpFailed(Exception):
    """Firewall and links are as they were, as far as that could be had; `str()` says what went wrong."""


def systemctl_reload(unit: str) -> None:
    """Lets systemd do it.

    Raises:
        OSError: it did not.
    """
    command = ["systemctl", "reload-or-restart", unit]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_RELOAD_TIMEOUT_S)
    except subprocess.SubprocessError as error:
        raise OSError(f"cannot reload {unit}: {error}") from error


def recover_and_bring_up(config: Config, run_dir: Path = RUN_DIR, reload: Reload = systemctl_reload) -> BroughtUp:
    """At the start: undoes what broke off, then sets up the configuration in force.

    Raises:
        BringUpFailed: as `bring_up`.
    """
    with contextlib.suppress(ApplyFailed):  # the configuration in force is the better cure
        recover(_journal(run_dir))
    return bring_up(config, run_dir, reload)


def bring_up(config: Config, run_dir: Path = RUN_DIR, reload: Reload = systemctl_reload) -> BroughtUp:
    """Sets up what `config` says; done twice, the second time changes nothing.

    Raises:
        BringUpFailed: nothing of it is in force, and no service was told.
    """
    wanted, missing = _wanted(config)
    try:
        rules_before = nft.loaded()
        nft.load(firewall.render(config, wanted.leased))
    except nft.NftFailed as error:
        raise BringUpFailed(str(error)) from error
    try:
        _journal(run_dir).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        steps = apply(wanted, _journal(run_dir)) if config.network.interface else []
    except (ApplyFailed, Unplannable, OSError) as error:
        with contextlib.suppress(nft.NftFailed):
            nft.load(rules_before)
        raise BringUpFailed(str(error)) from error
    files = dhcp.render(wanted) | clock.render(config.network)
    try:
        changed = install(files | names.render(config.network, _forwarders(config, wanted, run_dir)), run_dir)
    except OSError as error:
        return BroughtUp(steps, missing, [], [str(error)])
    told, troubles = _tell(changed, reload)
    if config.network.interface and "systemd-networkd.service" in told:
        # A link that networkd lets go of loses its lease's address, which may be the very one that is ours now.
        try:
            steps = [*steps, *apply(wanted, _journal(run_dir))]
        except (ApplyFailed, Unplannable, OSError) as error:
            troubles.append(str(error))
    return BroughtUp(steps, missing, told, troubles)


def refresh_names(config: Config, run_dir: Path = RUN_DIR, reload: Reload = systemctl_reload) -> list[str]:
    """Takes over the resolvers that DHCP names by now; the units that were told.

    Raises:
        OSError: the file could not be written, or the resolver not be told.
    """
    if not config.network.dns_from_dhcp:
        return []
    wanted, _ = _wanted(config)
    changed = install(names.render(config.network, _forwarders(config, wanted, run_dir)), run_dir)
    told, troubles = _tell(changed, reload)
    if troubles:
        raise OSError(troubles[0])
    return told


def _wanted(config: Config) -> tuple[Wanted, list[str]]:
    if not config.network.interface:
        return Wanted(), []
    with IPRoute() as ip:
        return wanted_of(config.network, read(ip))


def _journal(run_dir: Path) -> Path:
    return run_dir / journal.FILE.relative_to(RUN_DIR)


def _forwarders(config: Config, wanted: Wanted, run_dir: Path) -> list[str]:
    if config.network.dns or not config.network.dns_from_dhcp:
        return config.network.dns
    found: dict[str, None] = {}
    for name in sorted({name for name, _ in wanted.leased}):
        with contextlib.suppress(OSError):  # no such link, or no lease yet
            note = (run_dir / lease.NOTES / str(socket.if_nametoindex(name))).read_text()
            found |= dict.fromkeys(lease.resolvers(note))
    return list(found)


def _tell(changed: set[str], reload: Reload) -> tuple[list[str], list[str]]:
    told, troubles = [], []
    for unit, prefixes in _READERS.items():
        if any(name.startswith(prefixes) for name in changed):
            try:
                reload(unit)
                told.append(unit)
            except OSError as error:
                troubles.append(str(error))
    return told, troubles
