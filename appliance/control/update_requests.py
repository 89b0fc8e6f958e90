"""The requests `update.*`: the slots' state, an update taken in or named, installed, and taken back.

Made by `daemon.sysd`, which gives the handlers to `access.admit`. What needs root's whole power, the installation, is a
unit of its own, which is only started from here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from appliance.control import update_messages as messages
from appliance.control.access import ROOT, AskedHandler, Asker
from appliance.control.arguments import AuthorArgs, Nothing, typed
from appliance.control.protocol import RequestRefused
from appliance.control.refusals import in_words
from appliance.removable.sticks import Sticks
from appliance.update import activity, install
from appliance.update.activity import DOWNLOADING, FAILED, INSTALLING, RECEIVING, Activity
from appliance.update.incoming import Incoming, NotTaken, check_url
from appliance.update.keeper import Keeper, NotFromASlot
from appliance.update.slots import TRIES, NoSuchSlot, Slot, Slots

STICKS = Path("/run/mailweir")
"""Files below it may be named by every role that may update; others by root alone."""
SUFFIX = ".raucb"
_LOOK_EVERY_S = 1.0
_UNMOUNT_S = 60.0
Tell = Callable[[str, dict[str, object]], None]


def _download(url: str, path: Path, told: Callable[[int], None]) -> Path:
    from appliance.update.fetch import fetch  # HTTP is for the day of an update

    return fetch(url, path, told)


class UpdateRequests:
    """See the module."""

    def __init__(
        self,
        keeper: Keeper,
        folder: Path,
        incoming: Path,
        start_installer: Callable[[], Awaitable[None]],
        *,
        tell: Tell,
        sticks: Sticks | None = None,
        download: Callable[[str, Path, Callable[[int], None]], Path] = _download,
    ) -> None:
        """`folder` is for what is under way, `incoming` the file that an update is received in; `start_installer`
        begins `install.Installer.apply` and raises OSError. `sticks`: None where this machine has none to offer.
        """
        self._keeper = keeper
        self._folder = folder
        self._incoming = incoming
        self._start_installer = start_installer
        self._tell = tell
        self._sticks = sticks
        self._download = download
        self._upload: tuple[str, int, Incoming] | None = None
        self._task: asyncio.Task[None] | None = None
        if activity.read(folder).state in (RECEIVING, DOWNLOADING):  # by a `sysd` that is no more
            activity.write(folder, Activity(FAILED, text="it was interrupted; begin again"))

    def handlers(self) -> dict[str, AskedHandler]:
        """Arguments and results are the structs of `update_messages`."""
        handlers: dict[str, AskedHandler] = {
            "update.status": self._status,
            "update.sticks": self._list_sticks,
            "update.install": self._install,
            "update.upload": self._begin_upload,
            "update.append": self._append,
            "update.roll_back": self._roll_back,
            "update.mark": self._mark,
        }
        return in_words(handlers, (NotTaken, NotFromASlot, NoSuchSlot), "{}")

    async def close(self) -> None:
        """A download ends with its present piece; what was received is of no use to the next `sysd`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # -- what there is

    async def _status(self, asker: Asker, args: dict[str, Any]) -> object:
        typed(args, Nothing)
        return await asyncio.to_thread(self._looked)

    def _looked(self) -> messages.UpdateStatus:
        keeper = self._keeper
        booted, slots, record = keeper.booted(), keeper.slots(), keeper.remembered()
        now, health = activity.read(self._folder), keeper.told_health()
        states = [
            messages.SlotState(
                name=slot.name,
                booted=slot.name == booted.name,
                wanted=slot.name == slots.wanted(),
                state=_state(slot, slot.name == booted.name, slot.name in record.versions),
                tries=slot.tries,
                version=booted.version if slot.name == booted.name else record.versions.get(slot.name, ""),
            )
            for slot in slots.slots.values()
        ]
        failures = [
            messages.FailureNote(slot=it.slot, version=it.version, at_s=it.at_s, reason=it.reason)
            for it in reversed(record.failures)
        ]
        return messages.UpdateStatus(
            booted=booted.name,
            version=booted.version,
            slots=states,
            failures=failures,
            health=str(health.get("state", "")),
            health_reason=str(health.get("reason", "")),
            activity=now.state,
            percent=now.percent,
            text=now.text,
        )

    # -- an update comes in

    async def _install(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.InstallArgs)
        if [bool(it) for it in (asked.path, asked.stick, asked.url, asked.upload)].count(True) != 1:
            raise RequestRefused("name one of path, stick, url and upload")
        self._keeper.booted()
        self._refuse_a_second(but=RECEIVING if asked.upload else "")
        source = asked.url or asked.path or asked.name or "upload"
        fields: dict[str, object] = {"author": asker.author(asked.author), "from": source}
        if asked.url:
            check_url(asked.url)
            self._drop_upload()
            activity.write(self._folder, Activity(DOWNLOADING, text=f"from {asked.url}"))
            self._task = asyncio.create_task(self._fetched(asked.url, asked.way_back))
        elif asked.stick:
            if asker.role != ROOT:
                raise RequestRefused(f"the role {asker.role} may not use sticks")
            sticks = self._offered()
            activity.write(self._folder, Activity(INSTALLING, text="the stick is looked at"))
            self._task = asyncio.create_task(self._from_stick(sticks, asked.stick, asked.name, asked.way_back))
        elif asked.upload:
            path = await asyncio.to_thread(self._uploaded(asker, asked.upload).complete)
            self._upload = None
            await self._begin(install.Request(str(path), asked.way_back, remove=True))
        else:
            path = _allowed(asker, asked.path)
            await self._begin(install.Request(str(path), asked.way_back))
        self._tell("update_begun", fields)
        return {"under_way": True}

    async def _begin(self, request: install.Request) -> None:
        activity.write(self._folder, Activity(INSTALLING, text="the installer starts"))
        try:
            install.ask(self._folder, request)
            await self._start_installer()
        except OSError as error:
            text = f"the installer did not start: {error.strerror or error}"
            activity.write(self._folder, Activity(FAILED, text=text))
            raise

    async def _fetched(self, url: str, way_back: bool) -> None:
        def told(percent: int) -> None:
            activity.write(self._folder, Activity(DOWNLOADING, percent, f"from {url}"))

        try:
            path = await asyncio.to_thread(self._download, url, self._incoming, told)
            await self._begin(install.Request(str(path), way_back, remove=True))
        except (NotTaken, OSError) as error:
            activity.write(self._folder, Activity(FAILED, text=str(error)))
            self._tell("update_failed", {"reason": str(error)})

    async def _list_sticks(self, asker: Asker, args: dict[str, Any]) -> object:
        typed(args, Nothing)
        sticks, found = self._offered(), []
        self._refuse_a_second(but=RECEIVING)
        if self._task is not None:
            # The last update may have come from a stick, which is not shown while it is still mounted.
            await asyncio.wait({self._task}, timeout=_UNMOUNT_S)
        for stick in await sticks.found():
            files = await sticks.files(stick.device, SUFFIX)
            found += [messages.StickBundle(device=stick.device, name=it.name, size_bytes=it.size_bytes) for it in files]
        return messages.StickBundles(bundles=found)

    async def _from_stick(self, sticks: Sticks, device: str, name: str, way_back: bool) -> None:
        """Keeps the stick mounted until the installer is done with it."""
        try:
            if name not in {it.name for it in await sticks.files(device, SUFFIX)}:
                raise NotTaken(f"there is no update {name[:80]!r} on the stick (any more)")
            async with sticks.mounted(device) as folder:
                await self._begin(install.Request(str(folder / name), way_back))
                while activity.read(self._folder).state == INSTALLING:  # noqa: ASYNC110  another process ends it
                    await asyncio.sleep(_LOOK_EVERY_S)
        except (NotTaken, OSError) as error:
            if activity.read(self._folder).state == INSTALLING:
                activity.write(self._folder, Activity(FAILED, text=f"the stick: {error}"))
            self._tell("update_failed", {"reason": str(error)})

    def _offered(self) -> Sticks:
        if self._sticks is None:
            raise RequestRefused("this machine mounts no sticks; name the file: `mailweir update install FILE`")
        return self._sticks

    async def _begin_upload(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.UploadArgs)
        self._refuse_a_second(but=RECEIVING)
        self._drop_upload()
        incoming = await asyncio.to_thread(Incoming.begin, self._incoming, asked.size_bytes)
        self._upload = secrets.token_hex(8), asker.uid, incoming
        activity.write(self._folder, Activity(RECEIVING, text="an upload"))
        return {"upload": self._upload[0]}

    async def _append(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.PieceArgs)
        incoming = self._uploaded(asker, asked.upload)
        await asyncio.to_thread(incoming.append, asked.offset, asked.data)
        activity.write(self._folder, Activity(RECEIVING, incoming.percent, "an upload"))
        return {"size_bytes": incoming.received_bytes}

    def _uploaded(self, asker: Asker, name: str) -> Incoming:
        if self._upload is None or self._upload[:2] != (name, asker.uid):
            raise RequestRefused("there is no such upload, or another one took its place; begin again")
        return self._upload[2]

    def _drop_upload(self) -> None:
        if self._upload is not None:
            self._upload[2].drop()
            self._upload = None

    def _refuse_a_second(self, but: str) -> None:
        now = activity.read(self._folder)
        if now.busy and now.state != but:
            raise RequestRefused(f"an update is under way: {now.state}, {now.percent} %")

    # -- which slot

    async def _roll_back(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, AuthorArgs)
        self._refuse_a_second(but="")
        booted = self._keeper.booted()

        def other(slots: Slots) -> Slots:
            return slots.returned_to(slots.other(booted.name))

        slots = await asyncio.to_thread(self._keeper.change, other)
        self._tell("update_rolled_back", {"author": asker.author(asked.author), "to": slots.wanted()})
        return {"slot": slots.wanted()}

    async def _mark(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.MarkArgs)
        self._refuse_a_second(but="")
        booted = self._keeper.booted()
        if asked.good and asked.slot != booted.name:
            raise RequestRefused(f"only the slot that runs, {booted.name}, can be called good")
        if not asked.good and asked.slot == booted.name and not self._has_another(booted.name):
            raise RequestRefused(f"there is no other slot to start than {booted.name}")
        await asyncio.to_thread(self._keeper.change, partial(_marked, name=asked.slot, good=asked.good))
        self._tell("slot_marked", {"author": asker.author(asked.author), "slot": asked.slot, "good": asked.good})
        return {"slot": asked.slot, "good": asked.good}

    def _has_another(self, name: str) -> bool:
        slots = self._keeper.slots()
        return slots.slots[slots.other(name)].whole


def _marked(slots: Slots, name: str, good: bool) -> Slots:
    return slots.good(name) if good else slots.bad(name)


def _state(slot: Slot, booted: bool, known: bool) -> str:
    if slot.whole and (booted or slot.tries < TRIES):
        return "on trial" if slot.new else "good"
    return "failed" if slot.whole or known else "empty"


def _allowed(asker: Asker, raw_path: str) -> Path:
    path = Path(raw_path)
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError) as error:
        raise RequestRefused(f"{raw_path[:200]} cannot be read: {getattr(error, 'strerror', '') or error}") from error
    if not path.is_absolute() or not real.is_file():
        raise RequestRefused(f"{raw_path[:200]} is no file, or not named from the root")
    if asker.role != ROOT and not real.is_relative_to(STICKS):
        raise RequestRefused(f"the role {asker.role} may name files below {STICKS} only")
    return real
