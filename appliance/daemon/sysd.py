"""`sysd`: owns the configuration, and does for the other roles what only root may. Wiring only.

On plain asyncio, never uvloop: pyroute2's sockets need it. What is applied at a commit is the list in `_appliers`, in
that order; undone in the reverse one. Started by systemd before all other roles, or by `mailweir sysd`.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config.schema import Log
from appliance.config.store import reset
from appliance.config.store.applier import Applier, Timer
from appliance.config.store.commit import Commits
from appliance.config.store.files import Files
from appliance.config.store.revisions import Store
from appliance.control.access import MTA, ROOT, WEB, admit
from appliance.control.administrator import Administrator
from appliance.control.config_requests import ConfigRequests
from appliance.control.gateway import Gateway
from appliance.control.parcels import Parcels
from appliance.control.ports import Power, Probes, Service, Shells
from appliance.control.server import ControlServer
from appliance.control.stick_requests import StickRequests
from appliance.control.system_requests import SystemRequests
from appliance.core.errors import ConfigError
from appliance.daemon.journal_applier import JournalApplier
from appliance.daemon.notify import notify, watchdog_interval_s
from appliance.daemon.systemd import SystemdPower, SystemdService
from appliance.daemon.updates import update_requests
from appliance.observe.events import ERROR, INFO, EventLog
from appliance.removable.sticks import Sticks

if TYPE_CHECKING:
    from appliance.daemon.network_applier import NetworkApplier

REQUEST_TIMEOUT_S = 180.0
"""A commit may take a minute in each applier, and as long to go back."""
_JOURNALD, _ON_DISK = "systemd-journald.service", "mailweir-journal.service"
_TROUBLE = frozenset(
    {"config_unusable", "apply_failed", "undo_failed", "store_failed", "config_recovered", "request_failed"}
)


class LoopTimer:
    """The `Timer` of the running event loop."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(delay_s, call).cancel


@dataclass(slots=True)
class Options:
    """What the command line says; the rest are the appliance's ways, which tests replace."""

    store: Path
    socket: Path
    factory: Path | None = None
    """The configuration as delivered, for a store without any."""
    erase: Sequence[Path] = ()
    """Directories that a factory reset empties, beside the store."""
    unit: str = "mailweir-mtad.service"
    installer: str = "mailweir-update.service"
    """The unit that puts an update into the other slot."""
    log: Log = field(default_factory=Log)
    power: Power = field(default_factory=SystemdPower)
    service: Service | None = None
    probes: Probes | None = None
    sticks: Sticks | None = None
    shells: Shells | None = None
    timer: Timer = field(default_factory=LoopTimer)
    network: bool = False
    """Sets up this machine's network and firewall, too."""
    journal: bool = False
    """Keeps this machine's journal on the disk as the configuration says, too."""
    more_appliers: Sequence[Applier] = ()
    """Before the gateway."""


def run(options: Options) -> int:
    """Until SIGTERM or SIGINT; returns the exit status.

    Raises:
        ConfigError: the store cannot be used.
        ControlError: the socket cannot be had.
        OSError: the disk.
    """
    return asyncio.run(_main(options))


async def _main(options: Options) -> int:
    loop = asyncio.get_running_loop()
    events = EventLog.open(options.log)
    events.attach(loop)
    events.bridge()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    def tell(name: str, fields: dict[str, object]) -> None:
        # From any thread: commits do their disk work in others.
        loop.call_soon_threadsafe(events.event, name, fields, ERROR if name in _TROUBLE else INFO)

    try:
        await serve(options, stop, tell)
        return 0
    finally:
        await asyncio.sleep(0)  # what was told is an event now
        events.close()


async def serve(options: Options, stop: asyncio.Event, tell: Callable[[str, dict[str, object]], None]) -> None:
    """The role without process and log around it; ends when `stop` is set."""
    files = Files(_group_id("mta"))
    _erase_if_asked(options, tell)
    store = Store.open(options.store, files, clock=time.time)
    network = _network(options, tell)
    try:
        _deliver(options.factory, store, tell)
        commits = Commits(store, [*network, *_appliers(options, tell)], options.timer, tell)
        await commits.start()
        administrator = Administrator(options.store, files, clock=time.time, monotonic=time.monotonic)
        parcels = Parcels()
        system = SystemRequests(
            commits,
            administrator,
            options.power,
            options.probes,
            options.shells,
            lambda: reset.request(options.store, files),
            has_sticks=options.sticks is not None,
            is_resetting=lambda: reset.is_requested(options.store),
            monotonic=time.monotonic,
            tell=tell,
        )
        config = ConfigRequests(commits, parcels)
        updates = update_requests(SystemdService(options.installer), options.sticks, tell)
        rooms = (config, parcels, system, StickRequests(options.sticks, config, tell), updates)
        handlers = {name: handler for room in rooms for name, handler in room.handlers().items()}
        server = ControlServer(
            options.socket,
            admit(handlers, _roles()),
            timeout_s=REQUEST_TIMEOUT_S,
            on_trouble=lambda name, error: tell("request_failed", {"request": name, "reason": repr(error)}),
        )
        await server.open()
        try:
            tell("sysd_ready", {"revision": store.current, "pid": os.getpid()})
            notify("READY=1")
            await commits.after_start()
            await _until(stop)
        finally:
            notify("STOPPING=1")
            await server.close()
            await updates.close()
            await commits.close()
            tell("sysd_stopped", {"revision": store.current})
    finally:
        for applier in network:
            await applier.close()
        store.close()


async def _until(stop: asyncio.Event) -> None:
    """Waits, and shows the watchdog that the loop turns."""
    interval_s = watchdog_interval_s(os.getpid())
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await stop.wait()
        notify("WATCHDOG=1")


def _network(options: Options, tell: Callable[[str, dict[str, object]], None]) -> list[NetworkApplier]:
    if not options.network:
        return []
    from appliance.daemon.network_applier import NetworkApplier  # pyroute2 only where it is wanted

    return [NetworkApplier(tell)]


def _appliers(options: Options, tell: Callable[[str, dict[str, object]], None]) -> list[Applier]:
    journal = [JournalApplier(SystemdService(_JOURNALD), SystemdService(_ON_DISK), tell)] if options.journal else []
    return [*options.more_appliers, *journal, Gateway(options.service or SystemdService(options.unit))]


def _erase_if_asked(options: Options, tell: Callable[[str, dict[str, object]], None]) -> None:
    try:
        if reset.finish(options.store, options.erase):
            tell("factory_reset_done", {})
    except OSError as error:
        tell("store_failed", {"reason": f"not all could be erased: {error}; the next start tries again"})


def _deliver(factory: Path | None, store: Store, tell: Callable[[str, dict[str, object]], None]) -> None:
    if factory is None:
        return
    try:
        store.deliver(factory.read_text(encoding="utf-8"))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        tell("config_unusable", {"reason": f"{factory}: {error}"})


def _roles() -> dict[int, str]:
    """Which role the users of this machine have; who started this process may do what root may."""
    roles = {}
    for role in (MTA, WEB):
        with suppress(KeyError):
            roles[pwd.getpwnam(role).pw_uid] = role
    return {**roles, 0: ROOT, os.geteuid(): ROOT}


def _group_id(name: str) -> int | None:
    """The group that reads the configuration; None where there is none, or this process may not give it files."""
    with suppress(KeyError):
        group_id = grp.getgrnam(name).gr_gid
        return group_id if os.geteuid() == 0 or group_id in os.getgroups() else None
    return None
