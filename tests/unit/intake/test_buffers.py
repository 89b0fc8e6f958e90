"""Receive buffers: one owner at a time, the budget told, and no more kept than is worth it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.intake.buffers import BUFFER_BYTES, BufferPool


def test_the_scratch_buffer_that_is_taken_over_keeps_its_octets():
    pool = BufferPool(10 * BUFFER_BYTES)
    pool.scratch_view[:5] = b"hello"
    taken = pool.adopt_scratch()
    pool.scratch_view[:5] = b"other"
    assert taken[:5] == b"hello" and pool.scratch is not taken


def test_the_view_is_always_that_of_the_scratch_buffer():
    pool = BufferPool(BUFFER_BYTES)
    assert pool.scratch_view.obj is pool.scratch
    pool.adopt_scratch()
    assert pool.scratch_view.obj is pool.scratch and len(pool.scratch_view) == BUFFER_BYTES


def test_the_budget_is_used_up_by_what_is_owned_and_not_by_scratch():
    pool = BufferPool(2 * BUFFER_BYTES)
    first = pool.adopt_scratch()
    assert not pool.exhausted
    pool.take()
    assert pool.exhausted
    pool.give(first)
    assert not pool.exhausted


def test_a_buffer_that_came_back_is_used_again():
    pool = BufferPool(BUFFER_BYTES)
    taken = pool.take()
    pool.give(taken)
    assert pool.take() is taken


@given(st.lists(st.sampled_from(["adopt", "take", "give"]), max_size=150))
def test_no_buffer_ever_has_two_owners_and_the_count_is_right(acts):
    pool = BufferPool(BUFFER_BYTES)
    owned = []
    for act in acts:
        if act == "give":
            if owned:
                pool.give(owned.pop(0))
        else:
            owned.append(pool.adopt_scratch() if act == "adopt" else pool.take())
        assert len({id(buffer) for buffer in [pool.scratch, *owned]}) == len(owned) + 1
        assert pool.owned_bytes == len(owned) * BUFFER_BYTES
