"""Installs a bundle into the other slot, by RAUC, and tells how far it is. Runs as a unit of its own, as root.

RAUC installs only by way of its D-Bus service. This machine has no system bus, so both get one of their own for as
long as it takes (`dbus-run-session`); the service is started by that bus. Blocks. Called by `mailweir update apply`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.update import activity, places
from appliance.update.activity import FAILED, INSTALLED, INSTALLING, Activity
from appliance.update.bundle import BadBundle, check, look, reason
from appliance.update.keeper import Keeper, NotFromASlot

_PROGRESS = re.compile(r"^\s*(\d{1,3})% (.*)$")
_REQUEST = "request.json"
_LAST_RUN = "last-run"
_COMPATIBLE = re.compile(r"^compatible=(\S+)$", re.MULTILINE)
SYSTEM = Path("/etc/rauc/system.conf")
COMMAND = ("dbus-run-session", "--", "env", "DBUS_STARTER_BUS_TYPE=session", str(places.RAUC), "install")
"""`dbus-run-session` takes the variable away that tells RAUC which bus to use; hence `env`."""


@dataclass(frozen=True, slots=True)
class Request:
    """What `sysd` wants installed."""

    path: str
    way_back: bool = True
    remove: bool = False
    """The file is of no use afterwards."""


def ask(folder: Path, request: Request) -> None:
    """Lays the request out for `apply`. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / _REQUEST).write_text(json.dumps({name: getattr(request, name) for name in Request.__slots__}))


def asked(folder: Path) -> Request:
    """Raises BadBundle: there is no request."""
    try:
        return Request(**json.loads((folder / _REQUEST).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise BadBundle(f"nothing was asked to be installed: {error}") from error


@dataclass(frozen=True, slots=True)
class Installer:
    """The places and commands of this machine; tests have their own."""

    keeper: Keeper
    folder: Path = places.RUNNING
    system: Path = SYSTEM
    command: tuple[str, ...] = COMMAND
    rauc: Path = places.RAUC
    clock: Callable[[], float] = time.time
    run: str = ""
    """systemd's name for this run of the unit: INVOCATION_ID."""

    def apply(self) -> Activity:
        """Installs what was asked for; its end, which is also in the activity's file."""
        state = Activity(INSTALLING, text="checking the signature")
        request = None
        try:
            request = asked(self.folder)
            state = self._install(Path(request.path), request, state)
        except (BadBundle, NotFromASlot, OSError) as error:
            state = replace(state, state=FAILED, text=str(error))
            self._remember_failure(state)
        finally:
            if request is not None and request.remove:
                Path(request.path).unlink(missing_ok=True)
        activity.write(self.folder, state)
        (self.folder / _LAST_RUN).write_text(self.run)
        return state

    def ended(self, result: str) -> None:
        """This run of the unit is over; one that did not get to say how it ended did not end well."""
        with suppress(OSError):
            if (self.folder / _LAST_RUN).read_text() == self.run:
                return  # it did; what is under way now is the next one
        state = activity.read(self.folder)
        if state.state == INSTALLING:
            state = replace(state, state=FAILED, text=f"the installer ended before its time ({result})")
            activity.write(self.folder, state)
            self._remember_failure(state)

    def _install(self, path: Path, request: Request, state: Activity) -> Activity:
        booted, slots = self.keeper.booted(), self.keeper.slots()
        if slots.slots[booted.name].new:
            raise BadBundle(f"slot {booted.name} itself has not shown yet that it is healthy: wait, or go back first")
        activity.write(self.folder, state)
        bundle = look(path, self.rauc)
        state = replace(state, version=bundle.version, slot=slots.other(booted.name), text="installing")
        check(bundle, self._compatible(), way_back=request.way_back)
        activity.write(self.folder, state)
        self._run_rauc(path, state)
        # RAUC's boot handler has made the slot wanted, and new, when all was written.
        self.keeper.remember(self.keeper.remembered().holds(state.slot, bundle.version))
        text = f"release {bundle.version} is in slot {state.slot}; the next start tries it"
        return replace(state, state=INSTALLED, percent=100, text=text)

    def _compatible(self) -> str:
        found = _COMPATIBLE.search(self.system.read_text())
        if found is None:
            raise BadBundle(f"{self.system} does not say which board this is")
        return found[1]

    def _run_rauc(self, path: Path, state: Activity) -> None:
        environment = {**os.environ, "LC_ALL": "C"}
        process = subprocess.Popen(
            [*self.command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
        )
        with process:
            assert process.stdout is not None
            said = list(self._followed(iter(process.stdout), state))
        if process.returncode:
            raise BadBundle(f"it could not be installed: {_why(said)}")

    def _followed(self, lines: Iterator[str], state: Activity) -> Iterator[str]:
        """Tells the percentages, and gives the other lines."""
        for line in lines:
            found = _PROGRESS.match(line)
            if found is None:
                print(line, end="", flush=True)  # the journal's
                yield line
            else:
                activity.write(self.folder, replace(state, percent=min(100, int(found[1])), text=found[2].strip()))

    def _remember_failure(self, state: Activity) -> None:
        found = self.keeper.remembered()
        self.keeper.remember(found.failed(state.slot, state.version, self.clock(), f"not installed: {state.text}"))


def _why(said: list[str]) -> str:
    """RAUC puts the reason behind `LastError:`."""
    for line in reversed(said):
        if "LastError:" in line and line.partition("LastError:")[2].strip():
            return reason(line.partition("LastError:")[2])
    return reason("\n".join(said))
