"""Asks `sysd`, with types: for the command line and for the console's menu. Blocks.

One method a request; long texts and archives go in pieces without the caller's doing. Every method raises what
`control.client.ask` raises: NoAnswer where nobody listens, RequestRefused with the reason in words.
"""

from __future__ import annotations

import base64
import os
from typing import Any, TypeVar

import msgspec

from appliance import __version__
from appliance.config.complaints import Complaint
from appliance.config.store.archive import About, Bundle, packed
from appliance.control import sysd_messages as messages
from appliance.control.client import ask
from appliance.control.parcels import LONGEST_INLINE_OCTETS, PIECE_OCTETS
from appliance.control.protocol import NoAnswer

DEFAULT_SOCKET = "/run/mailweir/sysd.sock"
COMMIT_TIMEOUT_S = 180.0
"""Each room that applies a change has a minute, and may have to go back."""

STICK_TIMEOUT_S = 120.0
"""Old sticks are slow to write, and slower to be checked when they are mounted."""

_T = TypeVar("_T")


class Sysd:
    """`sysd` behind one socket."""

    def __init__(self, path: str | os.PathLike[str] = DEFAULT_SOCKET, *, author: str = "") -> None:
        """`author`: the person who asks, for the history."""
        self._path = path
        self._author = author

    def status(self) -> messages.Status:
        return self._ask("status", messages.Status)

    # -- configuration

    def text(self, revision: int = 0) -> messages.Text:
        """The text of a revision; 0: of the one in force. `parcel` is resolved."""
        return self._whole(self._ask("config.get", messages.Text, {"revision": revision}))

    def diff(self, old: int | None = None, new: int | None = None) -> str:
        """Unified; without arguments what the revision in force changed."""
        return self._whole(self._ask("config.diff", messages.Text, {"old": old, "new": new})).text

    def history(self, limit: int = 50) -> messages.History:
        return self._ask("config.history", messages.History, {"limit": limit})

    def check(self, text: str) -> list[Complaint]:
        """What is wrong with `text` there, errors first."""
        return self._ask("config.check", messages.Proposal, self._text_args(text)).complaints

    def propose(self, text: str, reason: str = "", secrets: dict[str, bytes] | None = None) -> messages.Proposal:
        """Keeps `text`, and the secrets that it refers to, as a proposal. Its revision is 0 if it has errors."""
        if secrets:
            about = About(release=__version__, revision=0, author=self._author, at_s=0.0, reason=reason)
            archive = packed(Bundle(about=about, text=text, secrets=secrets))
            return self.take_in(archive, reason or "proposed with secrets")
        args = {**self._text_args(text), "reason": reason, "author": self._author}
        return self._ask("config.propose", messages.Proposal, args)

    def commit(self, revision: int, within_s: float = 120.0) -> float:
        """Puts a proposal in force; the seconds within which to confirm it."""
        args = {"revision": revision, "within_s": within_s, "author": self._author}
        return float(self._plain("config.commit", args, COMMIT_TIMEOUT_S)["confirm_left_s"])

    def confirm(self) -> int:
        """Makes the commit last; its revision."""
        return int(self._plain("config.confirm", {"author": self._author})["revision"])

    def roll_back(self) -> int:
        """Ends the unconfirmed commit now; the revision in force, 0 for none."""
        return int(self._plain("config.roll_back", {"author": self._author}, COMMIT_TIMEOUT_S)["revision"])

    def return_to(self, revision: int) -> messages.Proposal:
        """Proposes the text of an earlier revision."""
        return self._ask("config.roll_back", messages.Proposal, {"to": revision, "author": self._author})

    def export(self, revision: int = 0) -> tuple[messages.Archive, bytes]:
        """An archive with text and secrets, and what is known of it."""
        made = self._ask("config.export", messages.Archive, {"revision": revision})
        return made, self._fetched(made.parcel)

    def take_in(self, archive: bytes, reason: str = "") -> messages.Proposal:
        """Proposes what an archive holds; commits nothing."""
        args = {"parcel": self._sent(archive), "reason": reason, "author": self._author}
        return self._ask("config.import", messages.Proposal, args)

    # -- sticks

    def sticks(self) -> list[messages.Stick]:
        """Those that are plugged in."""
        return self._ask("stick.list", messages.StickList).sticks

    def stick_files(self, device: str) -> list[messages.StickFile]:
        """The backups on it, newest first."""
        return self._ask("stick.files", messages.StickFiles, {"device": device}, STICK_TIMEOUT_S).files

    def save_to_stick(self, device: str) -> messages.Saved:
        """Writes what is in force to it."""
        return self._ask("stick.save", messages.Saved, {"device": device}, STICK_TIMEOUT_S)

    def load_from_stick(self, device: str, name: str) -> messages.Proposal:
        """Proposes what a backup holds; commits nothing."""
        args = {"device": device, "name": name, "author": self._author}
        return self._ask("stick.load", messages.Proposal, args, STICK_TIMEOUT_S)

    # -- the machine

    def ports(self) -> list[dict[str, Any]]:
        return list(self._plain("network.ports", {})["ports"])

    def probe(self, kind: str, target: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """`kind` is "ping", "dns" or "smtp"; `ok` tells the end of it."""
        return dict(self._plain("network.probe", {"kind": kind, "target": target}, timeout_s))

    def reboot(self) -> None:
        self._plain("power.reboot", {"author": self._author})

    def power_off(self) -> None:
        self._plain("power.off", {"author": self._author})

    def verify_password(self, password: str, source: str) -> bool:
        return bool(self._plain("password.verify", {"password": password, "source": source})["good"])

    def set_password(self, password: str, old: str = "", source: str = "") -> None:
        """RequestRefused says what would make a weak one stronger."""
        self._plain("password.set", {"password": password, "old": old, "source": source})

    def open_shell(self, line: str, password: str) -> None:
        """A root shell takes the place of the menu on the terminal `line`, as "ttyS0"."""
        self._plain("shell.open", {"line": line, "password": password, "author": self._author})

    def factory_reset(self, typed: str) -> None:
        """Erases everything at the restart that this begins; `typed` must be `RESET_WORDS`."""
        self._plain("factory_reset", {"typed": typed, "author": self._author})

    # -- how

    def _plain(self, request: str, args: dict[str, Any], timeout_s: float = 30.0) -> Any:
        try:
            return ask(self._path, request, args, timeout_s=timeout_s)
        except NoAnswer as error:
            if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                raise NoAnswer(
                    f"nobody answers on {os.fspath(self._path)}: sysd is not running; "
                    "a gateway that runs with --config FILE has none, change that file and send it SIGHUP"
                ) from error
            raise

    def _ask(
        self, request: str, kind: type[_T], args: dict[str, Any] | None = None, timeout_s: float = 30.0
    ) -> _T:
        return msgspec.convert(self._plain(request, args or {}, timeout_s), kind)

    def _text_args(self, text: str) -> dict[str, str]:
        octets = text.encode()
        return {"text": text} if 0 < len(octets) <= LONGEST_INLINE_OCTETS else {"parcel": self._sent(octets)}

    def _whole(self, text: messages.Text) -> messages.Text:
        if text.parcel:
            text.text, text.parcel = self._fetched(text.parcel).decode(), ""
        return text

    def _sent(self, octets: bytes) -> str:
        parcel = str(self._plain("parcel.open", {})["parcel"])
        for begin in range(0, len(octets), PIECE_OCTETS):
            piece = base64.b64encode(octets[begin : begin + PIECE_OCTETS]).decode()
            self._plain("parcel.append", {"parcel": parcel, "data": piece})
        return parcel

    def _fetched(self, parcel: str) -> bytes:
        octets = b""
        while True:
            piece = self._plain("parcel.read", {"parcel": parcel, "offset": len(octets)})
            octets += base64.b64decode(piece["data"])
            if len(octets) >= piece["size_bytes"]:
                return octets
