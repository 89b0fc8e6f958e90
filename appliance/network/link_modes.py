"""Ports that are held to one speed and duplex: which of them are, what they could do, and holding and releasing one.

Two things the kernel cannot tell: whether a port that knows no negotiation (a virtual machine's, many with fibre) is at
its speed because we said so, and how it was before. They are in a note in `/run`, which a reboot empties together with
the settings that it speaks of. Who sets no speed, and never did since the boot, is asked nothing and loads nothing.
Called by `apply`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

import msgspec
from msgspec.structs import replace

from appliance.network import ethtool
from appliance.network.ethtool import Settings
from appliance.network.netlink import NetlinkError
from appliance.network.values import Abilities, Kind, Link, LinkMode, State, Wanted

NOTE = "network.link_modes"
"""The note's name, beside the journal."""
_UNFINISHED = LinkMode(0)
_NEGOTIATED_FROM_MBIT = 1000
"""From here on twisted pair needs negotiation to work at all (IEEE 802.3 clauses 28, 40): nothing else is offered."""


class ModeRefused(OSError):
    """The port was not set; `str()` says why, what it can do, and the remedy."""


class Held(msgspec.Struct, frozen=True):
    """What the note says of one port."""

    mode: LinkMode | None
    """None: it was about to be changed."""
    speed_before: int
    duplex_before: int


def with_modes(state: State, wanted: Wanted, note: Path) -> State:
    """`state` with what is known of its ports' modes; as it is if that is nobody's concern.

    Raises:
        NetlinkError: the kernel's refusal.
    """
    noted = _read(note)
    if not noted and not any(link.held for link in wanted.links.values()):
        return state
    links = {
        name: _with_mode(link, noted) if link.kind is Kind.PHYSICAL else link for name, link in state.links.items()
    }
    return replace(state, links=links)


def _with_mode(link: Link, noted: dict[str, Held]) -> Link:
    try:
        settings = ethtool.settings(link.name)
    except NetlinkError as error:
        # Some drivers wake up only with their port: then it will be seen at the step itself.
        return replace(link, abilities=Abilities(False)) if error.code == errno.EOPNOTSUPP else link
    abilities = replace(_abilities(settings), settable=ethtool.can_be_set(link.name))
    return replace(link, held=held_to(settings, noted.get(str(settings.index))), abilities=abilities)


def _abilities(settings: Settings) -> Abilities:
    return Abilities(True, tuple(sorted(set(settings.supported.values()))))


def held_to(settings: Settings, noted: Held | None) -> LinkMode | None:
    """The mode that a port with these settings is held to; None: to none. Pure."""
    if noted and noted.mode is None:
        return _UNFINISHED
    ours = noted.mode if noted else None
    if settings.negotiates:
        offered, supported = set(settings.offered.values()), set(settings.supported.values())
        # A port that can do one thing only offers it always.
        return offered.pop() if len(offered) == 1 and (len(supported) > 1 or ours in offered) else None
    if not settings.can_negotiate and not noted:
        return None
    # Many ports show their speed only while there is a link.
    return settings.mode or ours or _UNFINISHED


def hold(name: str, mode: LinkMode | None, note: Path) -> None:
    """Does a `HoldMode` step, and notes it.

    Raises:
        ModeRefused: the driver does not want to; nothing was changed.
        NetlinkError: the kernel does not even say how the port is set.
        OSError: the note cannot be written.
    """
    settings = ethtool.settings(name)
    noted, key = _read(note), str(settings.index)
    before = noted.get(key) or Held(None, settings.speed_mbit, settings.duplex)
    _write(note, noted | {key: replace(before, mode=None)})
    try:
        if mode is not None:
            negotiating = settings.can_negotiate and mode.speed_mbit >= _NEGOTIATED_FROM_MBIT
            ethtool.hold(name, mode, negotiating=negotiating)
        elif settings.can_negotiate:
            ethtool.negotiate(name, settings.supported)
        else:
            ethtool.change(name, AUTONEG=0, SPEED=before.speed_before, DUPLEX=before.duplex_before)
    except NetlinkError as error:
        _write(note, noted)
        reason = f"its driver refuses ({os.strerror(error.code)})"
        remedy = "write another speed_mbit or duplex, or remove both"
        raise ModeRefused(f"{reason}; {_abilities(settings).in_words()}; {remedy}") from error
    _write(note, {**noted, key: replace(before, mode=mode)} if mode else noted, released="" if mode else key)


def _read(note: Path) -> dict[str, Held]:
    """By the kernel's index of the port, which no other gets; what cannot be read counts as nothing."""
    try:
        return msgspec.json.decode(note.read_bytes(), type=dict[str, Held])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def _write(note: Path, noted: dict[str, Held], released: str = "") -> None:
    """Whole or not at all, without the port that was `released` and those that are not there any more."""
    there = {str(index) for index, _ in socket.if_nameindex()} - {released}
    noted = {index: held for index, held in noted.items() if index in there}
    if not noted:
        with contextlib.suppress(FileNotFoundError):
            note.unlink()
        return
    beside = note.with_name(f"{note.name}.new")
    beside.write_bytes(msgspec.json.encode(noted))
    os.replace(beside, note)
