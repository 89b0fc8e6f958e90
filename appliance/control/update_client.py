"""Asks `sysd` about updates, with types: for the command line and for the console's menu. Blocks.

Every method raises what `control.client.ask` raises: NoAnswer where nobody listens, RequestRefused with the reason.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from appliance.control.client import ask
from appliance.control.parcels import PIECE_OCTETS
from appliance.control.sysd_client import DEFAULT_SOCKET
from appliance.control.update_messages import StickBundle, StickBundles, UpdateStatus
from appliance.update.activity import BUSY

_LOOK_EVERY_S = 0.5


class Updates:
    """`sysd`'s updates behind one socket."""

    def __init__(self, path: str | os.PathLike[str] = DEFAULT_SOCKET, *, author: str = "") -> None:
        """`author`: the person who asks, for the log."""
        self._path = path
        self._author = author

    def status(self) -> UpdateStatus:
        return msgspec.convert(self._ask("update.status", {}), UpdateStatus)

    def install_file(self, path: Path, *, way_back: bool = True) -> None:
        """Begins with a file that `sysd` can read."""
        self._install({"path": str(path)}, way_back)

    def stick_bundles(self) -> list[StickBundle]:
        """The updates on all sticks that are plugged in."""
        return msgspec.convert(self._ask("update.sticks", {}), StickBundles).bundles

    def install_from_stick(self, device: str, name: str, *, way_back: bool = True) -> None:
        self._install({"stick": device, "name": name}, way_back)

    def install_url(self, url: str, *, way_back: bool = True) -> None:
        self._install({"url": url}, way_back)

    def install_upload(self, path: Path, told: Callable[[int], None], *, way_back: bool = True) -> None:
        """Sends a file that only this process can read; `told` hears the percentage. Raises OSError."""
        size_bytes = path.stat().st_size
        upload = str(self._ask("update.upload", {"size_bytes": size_bytes})["upload"])
        with path.open("rb") as source:
            offset = 0
            while piece := source.read(PIECE_OCTETS):
                data = base64.b64encode(piece).decode()
                self._ask("update.append", {"upload": upload, "offset": offset, "data": data})
                offset += len(piece)
                told(100 * offset // size_bytes)
        self._install({"upload": upload}, way_back)

    def followed(self, sleep: Callable[[float], None] = time.sleep) -> Iterator[UpdateStatus]:
        """The status whenever it changed, until nothing is under way any more; the last one is the end."""
        before: tuple[object, ...] = ()
        while True:
            status = self.status()
            now = (status.activity, status.percent, status.text)
            if now != before:
                before = now
                yield status
            if status.activity not in BUSY:
                return
            sleep(_LOOK_EVERY_S)

    def roll_back(self) -> str:
        """The next start takes the other slot; its name."""
        return str(self._ask("update.roll_back", {"author": self._author})["slot"])

    def mark(self, slot: str, *, good: bool) -> None:
        self._ask("update.mark", {"slot": slot, "good": good, "author": self._author})

    def _install(self, source: dict[str, str], way_back: bool) -> None:
        self._ask("update.install", {**source, "way_back": way_back, "author": self._author})

    def _ask(self, request: str, args: dict[str, Any]) -> Any:
        return ask(self._path, request, args, timeout_s=60.0)
