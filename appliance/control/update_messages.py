"""The arguments and results of `sysd`'s requests `update.*`, as both ends of the socket know them. Values only."""

from __future__ import annotations

import msgspec

from appliance.control.arguments import Args


class InstallArgs(Args):
    """One of the four: a file on this machine, one on a stick, a URL, or what was uploaded."""

    path: str = ""
    stick: str = ""
    """The stick's device; `name` is the file."""
    name: str = ""
    url: str = ""
    upload: str = ""
    way_back: bool = True
    """False: also what leaves data that this release could not read."""
    author: str = ""


class UploadArgs(Args):
    size_bytes: int


class PieceArgs(Args):
    upload: str
    offset: int
    data: bytes


class MarkArgs(Args):
    slot: str
    good: bool
    author: str = ""


class StickBundle(msgspec.Struct, kw_only=True):
    """An update on a stick."""

    device: str
    name: str
    size_bytes: int


class StickBundles(msgspec.Struct, kw_only=True):
    bundles: list[StickBundle]


class SlotState(msgspec.Struct, kw_only=True):
    """One slot."""

    name: str
    booted: bool
    wanted: bool
    """By the next start."""
    state: str
    """`good`, `on trial`, `failed` or `empty`."""
    tries: int
    version: str


class FailureNote(msgspec.Struct, kw_only=True):
    """Why a slot was given up, or an update not installed."""

    slot: str
    version: str
    at_s: float
    reason: str


class UpdateStatus(msgspec.Struct, kw_only=True):
    """Everything about updates. `health` is what the gate saw at this start: `state` and `looks`."""

    booted: str
    version: str
    slots: list[SlotState]
    failures: list[FailureNote]
    """Newest first."""
    health: str
    """`good`, `bad`, `looking` or empty."""
    health_reason: str
    activity: str
    """`idle`, `receiving`, `downloading`, `installing`, `installed` or `failed`."""
    percent: int
    text: str
