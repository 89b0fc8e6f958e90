"""An entry's meta and states come back from the disk as they went there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.address import Address
from appliance.core.envelope import Body, Envelope, Notify, Recipient
from appliance.spool import codec
from appliance.spool.meta import EntryMeta, Phase, RecipientState

TEXT = st.text(max_size=20)
ADDRESS = st.builds(Address, TEXT, TEXT, TEXT)
NOTIFY = st.integers(0, 15).map(Notify)
ENVELOPE = st.builds(
    Envelope,
    sender=ADDRESS,
    recipients=st.lists(st.builds(Recipient, address=ADDRESS, notify=NOTIFY, orcpt=TEXT), max_size=4),
    body=st.sampled_from(Body),
    declared_size_bytes=st.integers(0, 2**40),
    smtputf8=st.booleans(),
    requiretls=st.booleans(),
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    envid=TEXT,
)
META = st.builds(
    EntryMeta,
    id=TEXT,
    envelope=ENVELOPE,
    received_at_s=st.floats(0, 1e12),
    dotted=st.booleans(),
    client=st.dictionaries(TEXT, TEXT, max_size=3),
    header_bytes=st.integers(0, 2**40),
    size_bytes=st.integers(0, 2**40),
    held=st.booleans(),
    hold_reason=TEXT,
)
STATE = st.builds(
    RecipientState,
    phase=st.sampled_from(Phase),
    attempts=st.integers(0, 1000),
    reply=TEXT,
    due_s=st.floats(0, 1e12),
    warned=st.booleans(),
    reported=st.booleans(),
)


@given(META, st.binary(max_size=50))
def test_a_meta_comes_back_as_it_went(meta: EntryMeta, tail: bytes) -> None:
    payload = codec.encode_commit(meta, []) + tail
    stored, tail_at = codec.decode_commit(memoryview(payload))
    assert stored.entry_meta() == meta
    assert payload[tail_at:] == tail


@given(META, st.lists(STATE, max_size=6))
def test_states_come_back_as_they_went(meta: EntryMeta, states: list[RecipientState]) -> None:
    stored = codec.decode_states(memoryview(codec.encode_states(meta, states)))
    assert stored.states() == states
    assert (stored.held, stored.hold_reason) == (meta.held, meta.hold_reason)


def test_the_same_reply_for_a_thousand_recipients_is_stored_once() -> None:
    states = [RecipientState(reply="450 4.2.0 " + "busy " * 20) for _ in range(1000)]
    meta = EntryMeta("x", Envelope(), 0.0, True)
    assert len(codec.encode_states(meta, states)) < 20_000


@pytest.mark.parametrize("octets", [b"", b"\0", b"\xff" * 4, b"\0\0\0\0", b"\1\0\0\0\x90", b"\1\0\0\0\xc1"])
def test_foreign_octets_are_an_error_and_not_an_absence(octets: bytes) -> None:
    with pytest.raises(ValueError):
        codec.decode_commit(memoryview(octets))
    with pytest.raises(ValueError):
        codec.decode_states(memoryview(octets))
