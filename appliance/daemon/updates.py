"""Updates on an appliance, wired: `sysd`'s requests, and the installer that runs as a unit of its own."""

from __future__ import annotations

import os
from collections.abc import Callable

from appliance.control.update_requests import UpdateRequests
from appliance.daemon.systemd import SystemdService
from appliance.removable.sticks import Sticks
from appliance.update import places
from appliance.update.install import Installer
from appliance.update.keeper import Keeper


def update_requests(
    installer: SystemdService, sticks: Sticks | None, tell: Callable[[str, dict[str, object]], None]
) -> UpdateRequests:
    """For `sysd`."""
    return UpdateRequests(Keeper(), places.RUNNING, places.INCOMING, installer.begin, sticks=sticks, tell=tell)


def installer() -> Installer:
    """For the unit."""
    return Installer(Keeper(), run=os.environ.get("INVOCATION_ID", ""))
