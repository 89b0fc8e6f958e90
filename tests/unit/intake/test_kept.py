"""What a path keeps of a body: by reference where it is much, by copy where it is little, and never more than it is."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from appliance.intake.buffers import BUFFER_BYTES, BufferPool
from appliance.intake.paths import COPY_LIMIT_BYTES, Kept
from appliance.observe.metrics import Counters


def kept() -> Kept:
    return Kept(BufferPool(64 * BUFFER_BYTES), Counters())


def octets(held: Kept) -> bytes:
    return b"".join(bytes(view) for view in held.views)


def test_a_small_body_needs_no_buffer() -> None:
    held = kept()
    held.add(memoryview(b"x" * COPY_LIMIT_BYTES))
    assert not held.secure(may_copy=True)
    assert octets(held) == b"x" * COPY_LIMIT_BYTES


def test_a_large_body_asks_for_the_buffer_it_lies_in() -> None:
    held = kept()
    held.add(memoryview(bytearray(COPY_LIMIT_BYTES + 1)))
    assert held.secure(may_copy=True)


def test_a_body_that_comes_octet_by_octet_costs_little_more_than_its_octets() -> None:
    held = kept()
    for _ in range(100_000):
        held.add(memoryview(b"."))
        held.secure(may_copy=True)
    assert octets(held) == b"." * 100_000
    assert sum(map(sys.getsizeof, held.views)) < 300_000


@given(st.lists(st.tuples(st.binary(max_size=900), st.booleans(), st.integers(0, 700)), max_size=30))
def test_whatever_is_added_and_cut_comes_out_in_order(steps: list[tuple[bytes, bool, int]]) -> None:
    held = kept()
    expected, got = b"", b""
    for piece, secured, cut in steps:
        buffer = bytearray(piece)
        held.add(memoryview(buffer))
        expected += piece
        if secured:
            held.secure(may_copy=True)
            buffer[:] = b"\0" * len(buffer)  # the door reads on into its buffer
        else:
            held.secure(may_copy=False)
        got += b"".join(bytes(view) for view in held.cut_front(min(cut, held.size_bytes)))
    assert got + octets(held) == expected
    assert held.size_bytes == len(expected) - len(got)
