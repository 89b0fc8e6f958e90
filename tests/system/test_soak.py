"""A few thousand messages of every kind leave nothing behind; `scripts/soak` does the same with a million."""

from __future__ import annotations

import asyncio

from tests.support.soak import GROWTH_MAX_KIB, Sample, Soak, growth

MESSAGES = 2_400


def test_mixed_load_leaves_memory_flat_and_the_spool_empty(tmp_path):
    soak = Soak(tmp_path, MESSAGES)
    asyncio.run(soak.run())
    assert soak.problems == []
    assert soak.samples[-1].messages >= MESSAGES


def samples(*memory_kib):
    return [Sample(number, 100 * number, 1.0 * number, (50_000, each)) for number, each in enumerate(memory_kib)]


def test_memory_that_grows_in_the_second_half_is_told():
    grows = samples(*range(50_000, 150_000, 10_000))
    assert len(growth(grows)) == 1 and "worker 1" in growth(grows)[0]


def test_memory_that_grows_only_at_first_or_wobbles_is_not():
    assert growth(samples(10_000, 20_000, 30_000, 40_000, 50_000, *[50_000, 50_000 + GROWTH_MAX_KIB] * 3)) == []
