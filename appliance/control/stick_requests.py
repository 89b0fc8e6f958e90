"""The requests `stick.*`: which sticks there are, the archives on one, a backup written to it, one read from it.

A backup is what `config.export` gives; what is read is proposed as by `config.import`, and commits nothing. Made by
`daemon.sysd`, which gives the handlers to `access.admit`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from appliance.config.store.archive import MAX_ARCHIVE_BYTES
from appliance.config.store.revision import StoreError
from appliance.control import sysd_messages as messages
from appliance.control.access import AskedHandler, Asker
from appliance.control.arguments import Nothing, typed
from appliance.control.config_requests import ConfigRequests
from appliance.control.protocol import RequestRefused
from appliance.control.refusals import in_words
from appliance.core.errors import ConfigError
from appliance.removable.sticks import Sticks

_NO_FILE_NAME = re.compile(r"[^A-Za-z0-9.-]")
_LONGEST_STEM = 60

Tell = Callable[[str, dict[str, object]], None]


class StickRequests:
    """See the module."""

    def __init__(self, sticks: Sticks | None, config: ConfigRequests, tell: Tell) -> None:
        """`sticks`: None where this machine has none to offer."""
        self._sticks = sticks
        self._config = config
        self._tell = tell

    def handlers(self) -> dict[str, AskedHandler]:
        """Arguments and results are the structs of `sysd_messages`."""
        handlers: dict[str, AskedHandler] = {
            "stick.list": self._list,
            "stick.files": self._files,
            "stick.save": self._save,
            "stick.load": self._load,
        }
        return in_words(handlers, (StoreError, ConfigError), "the stick: {}")

    async def _list(self, asker: Asker, args: dict[str, Any]) -> object:
        typed(args, Nothing)
        found = await self._offered().found()
        return messages.StickList(
            sticks=[messages.Stick(it.device, it.kind, it.label, it.size_bytes, it.model) for it in found]
        )

    async def _files(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.StickArgs)
        files = await self._offered().files(asked.device)
        return messages.StickFiles(files=[messages.StickFile(it.name, it.size_bytes, it.at_s) for it in files])

    async def _save(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.StickArgs)
        sticks = self._offered()
        made = self._config.exported()
        stem = f"{_NO_FILE_NAME.sub('_', made.hostname)[:_LONGEST_STEM]}-{made.revision}"
        name = await sticks.write(asked.device, stem, made.octets)
        self._tell("backup_written", {"revision": made.revision, "device": asked.device, "by": asker.role})
        return messages.Saved(name=name, size_bytes=len(made.octets), revision=made.revision, outside=made.outside)

    async def _load(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.StickLoadArgs)
        octets = await self._offered().read(asked.device, asked.name, MAX_ARCHIVE_BYTES)
        return await self._config.taken_in(octets, asker.author(asked.author), f"restored from {asked.name}")

    def _offered(self) -> Sticks:
        if self._sticks is None:
            raise RequestRefused("this machine mounts no sticks; use `mailweir config export` and `import`")
        return self._sticks
