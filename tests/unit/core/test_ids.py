"""Transaction ids: unique, sortable, and telling their time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.ids import IdSource, milliseconds_of


def test_an_id_has_sixteen_characters_of_base_32():
    assert re.fullmatch("[0-9A-HJKMNP-TV-Z]{16}", IdSource().next(1_700_000_000_000))


def test_ten_thousand_ids_of_one_millisecond_differ():
    source = IdSource()
    assert len({source.next(1_700_000_000_000) for _ in range(10_000)}) == 10_000


@given(st.integers(0, 2**48 - 1))
def test_an_id_tells_its_time(now_ms):
    assert milliseconds_of(IdSource().next(now_ms)) == now_ms


@given(st.integers(0, 2**48 - 2))
def test_a_later_millisecond_sorts_behind(now_ms):
    source = IdSource()
    first, second = source.next(now_ms), source.next(now_ms + 1)
    assert first < second


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "U" * 16, "a" * 16, "é" * 16])
def test_what_is_no_id_has_no_time(text):
    with pytest.raises(ValueError):
        milliseconds_of(text)
