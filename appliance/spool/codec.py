"""The payloads of COMMIT and STATES records: MessagePack arrays.

Octets from the disk have passed a checksum when they come here, so what cannot be decoded was written by another
version of this program; that is told as an error, never taken for absence. Called by the spool and by recovery.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from appliance.core.address import Address
from appliance.core.envelope import Body, Envelope, Notify, Recipient
from appliance.spool.meta import EntryMeta, Extent, Phase, RecipientState
from appliance.spool.record import COMMIT_HEAD

StoredExtent = tuple[int, int, int]
"""Generation, offset, length."""
_Path = tuple[str, str, str]

_encode = msgspec.msgpack.Encoder().encode


class StoredMeta(msgspec.Struct, array_like=True):
    """A COMMIT's meta as it lies on disk; `encode_commit` writes the same order."""

    id: str
    sender: _Path
    recipients: list[tuple[_Path, int, str]]
    body: str
    declared_size_bytes: int
    smtputf8: bool
    requiretls: bool
    ret: str
    envid: str
    client: dict[str, str]
    received_at_s: float
    dotted: bool
    header_bytes: int
    size_bytes: int
    held: bool
    hold_reason: str
    extents: list[StoredExtent]

    def entry_meta(self) -> EntryMeta:
        envelope = Envelope(
            Address(*self.sender),
            [Recipient(Address(*path), Notify(notify), orcpt) for path, notify, orcpt in self.recipients],
            Body(self.body),
            self.declared_size_bytes,
            self.smtputf8,
            self.requiretls,
            self.ret,
            self.envid,
        )
        return EntryMeta(
            self.id,
            envelope,
            self.received_at_s,
            self.dotted,
            self.client,
            self.header_bytes,
            self.size_bytes,
            self.held,
            self.hold_reason,
        )


class StoredStates(msgspec.Struct, array_like=True):
    """A STATES payload. Replies are told once: a thousand recipients mostly get the same one."""

    held: bool
    hold_reason: str
    replies: list[str]
    rows: list[tuple[int, int, int, float, bool, bool]]
    """Phase, attempts, index into `replies`, due, warned, reported."""

    def states(self) -> list[RecipientState]:
        return [
            RecipientState(Phase(phase), attempts, self.replies[reply], due_s, warned, reported)
            for phase, attempts, reply, due_s, warned, reported in self.rows
        ]


def _path(address: Address) -> _Path:
    return address.raw, address.local, address.domain


_decode_meta = msgspec.msgpack.Decoder(StoredMeta).decode
_decode_states = msgspec.msgpack.Decoder(StoredStates).decode


def encode_commit(meta: EntryMeta, extents: Iterable[Extent]) -> bytes:
    """A COMMIT's payload up to the octets of the body that go with it."""
    # `_value_` is a plain attribute; `value` is a descriptor in Python that costs more than the rest of its line.
    envelope = meta.envelope
    stored = _encode(
        (
            meta.id,
            _path(envelope.sender),
            [(_path(r.address), r.notify._value_, r.orcpt) for r in envelope.recipients],
            envelope.body._value_,
            envelope.declared_size_bytes,
            envelope.smtputf8,
            envelope.requiretls,
            envelope.ret,
            envelope.envid,
            meta.client,
            meta.received_at_s,
            meta.dotted,
            meta.header_bytes,
            meta.size_bytes,
            meta.held,
            meta.hold_reason,
            [(segment.generation, offset, length) for segment, offset, length in extents],
        )
    )
    return COMMIT_HEAD.pack(len(stored)) + stored


def decode_commit(payload: memoryview) -> tuple[StoredMeta, int]:
    """The meta in a COMMIT's payload, and where in the payload the body's octets begin.

    Raises:
        ValueError: not what this version writes.
    """
    if len(payload) < COMMIT_HEAD.size:
        raise ValueError("commit without meta")
    end = COMMIT_HEAD.size + COMMIT_HEAD.unpack_from(payload)[0]
    if end > len(payload):
        raise ValueError("meta longer than its record")
    try:
        return _decode_meta(payload[COMMIT_HEAD.size : end]), end
    except msgspec.MsgspecError as error:
        raise ValueError(f"commit: {error}") from error


def encode_states(meta: EntryMeta, recipients: Iterable[RecipientState]) -> bytes:
    """A STATES payload."""
    replies: dict[str, int] = {}
    rows = [
        (r.phase.value, r.attempts, replies.setdefault(r.reply, len(replies)), r.due_s, r.warned, r.reported)
        for r in recipients
    ]
    return _encode((meta.held, meta.hold_reason, list(replies), rows))


def decode_states(payload: memoryview) -> StoredStates:
    """The states in a STATES payload.

    Raises:
        ValueError: not what this version writes.
    """
    try:
        return _decode_states(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"states: {error}") from error
