"""The arguments and results of `sysd`'s requests, as both ends of the socket know them. Values only.

Arguments with unknown fields are refused. Results may grow: a client ignores what it does not know.
"""

from __future__ import annotations

import msgspec

from appliance.config.complaints import Complaint
from appliance.control.arguments import Args


class GetArgs(Args):
    revision: int = 0  # 0: the one in force


class TextArgs(Args):
    """One of the two: a text that fits the line, or a parcel with it."""

    text: str = ""
    parcel: str = ""
    reason: str = ""
    author: str = ""


class ImportArgs(Args):
    parcel: str
    reason: str = ""  # empty: says where the archive comes from
    author: str = ""


class CommitArgs(Args):
    revision: int
    within_s: float = 120.0
    author: str = ""


class RollBackArgs(Args):
    to: int = 0  # 0: ends the unconfirmed commit; else proposes that revision's text
    author: str = ""


class HistoryArgs(Args):
    limit: int = 50


class DiffArgs(Args):
    old: int | None = None  # None: the one in force; 0: nothing
    new: int | None = None


class ProbeArgs(Args):
    kind: str
    target: str


class VerifyArgs(Args):
    password: str
    source: str  # the client that guesses: an address, or "console"


class SetPasswordArgs(Args):
    password: str
    old: str = ""  # asked of every role but root
    source: str = ""


class StickArgs(Args):
    device: str


class StickLoadArgs(Args):
    device: str
    name: str
    author: str = ""


class ShellArgs(Args):
    line: str  # the terminal's name below /dev
    password: str
    author: str = ""


class ResetArgs(Args):
    typed: str
    author: str = ""


RESET_WORDS = "erase everything"


class Text(msgspec.Struct, kw_only=True):
    """A text, or the parcel that has it."""

    text: str = ""
    parcel: str = ""
    revision: int = 0


class Proposal(msgspec.Struct, kw_only=True):
    """Revision 0: it was refused, and the complaints say why."""

    revision: int = 0
    complaints: list[Complaint] = []


class Archive(msgspec.Struct, kw_only=True):
    parcel: str
    size_bytes: int
    revision: int
    outside: list[str] = []
    """Files that the configuration refers to, and that lie elsewhere: not in the archive."""


class Stick(msgspec.Struct):
    """A removable file system."""

    device: str
    kind: str
    label: str
    size_bytes: int
    model: str


class StickList(msgspec.Struct, kw_only=True):
    sticks: list[Stick]


class StickFile(msgspec.Struct):
    name: str
    size_bytes: int
    at_s: float


class StickFiles(msgspec.Struct, kw_only=True):
    files: list[StickFile]
    """Newest first."""


class Saved(msgspec.Struct, kw_only=True):
    """A backup that is on the stick, which is unmounted again."""

    name: str
    size_bytes: int
    revision: int
    outside: list[str] = []


class Revision(msgspec.Struct, kw_only=True):
    """One line of the history. `state`: see `config.store.revision.State`."""

    number: int
    base: int
    state: str
    author: str
    at_s: float
    reason: str
    concluded_by: str = ""
    concluded_at_s: float = 0.0
    outcome_reason: str = ""


class History(msgspec.Struct, kw_only=True):
    revisions: list[Revision]
    """Newest first."""
    total: int


class Status(msgspec.Struct, kw_only=True):
    release: str
    config_version: int
    revision: int
    """In force; 0: not configured."""
    unconfirmed: bool
    confirm_left_s: float
    proposals: list[int]
    """That can be committed, newest first."""
    password_set: bool
    resetting: bool
    """The next start erases everything."""
    up_s: float
    trouble: str
    """The last one since the start; empty: none."""
    sticks: bool = False
    """Sticks can be mounted here."""
    shell: bool = False
    """A root shell can be had here, with the password."""
