"""Answers are kept as long as they may be, and never more of them than there is room for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.dns.cache import Cache


def test_a_value_is_there_until_its_time_to_live_ends_and_then_gone() -> None:
    cache: Cache[str, str] = Cache(10)
    cache.put("a", "value", ttl_s=60, now_s=1_000)
    assert cache.get("a", 1_059.9) == "value"
    assert cache.get("a", 1_060) is None
    assert len(cache) == 0


def test_a_value_with_no_time_to_live_is_not_kept_and_removes_its_predecessor() -> None:
    cache: Cache[str, str] = Cache(10)
    cache.put("a", "old", ttl_s=60, now_s=0)
    cache.put("a", "new", ttl_s=0, now_s=0)
    assert cache.get("a", 0) is None


def test_when_full_the_oldest_value_leaves() -> None:
    cache: Cache[int, int] = Cache(2)
    for key in (1, 2, 1, 3):
        cache.put(key, key, ttl_s=60, now_s=0)
    assert [cache.get(key, 1) for key in (1, 2, 3)] == [1, None, 3]


def test_a_cache_without_entries_keeps_nothing() -> None:
    cache: Cache[int, int] = Cache(0)
    cache.put(1, 1, ttl_s=60, now_s=0)
    assert cache.get(1, 0) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 3))), st.integers(0, 4))
def test_a_cache_never_gives_a_stale_value_nor_grows_over_its_bound(
    puts: list[tuple[int, int, int]], entries: int
) -> None:
    cache: Cache[int, float] = Cache(entries)
    good_until: dict[int, float] = {}
    now_s = 0.0
    for key, ttl_s, step_s in puts:
        now_s += step_s
        cache.put(key, now_s + ttl_s, ttl_s, now_s)
        good_until[key] = now_s + ttl_s
        assert len(cache) <= entries
        for asked in range(10):
            value = cache.get(asked, now_s)
            assert value is None or value == good_until[asked] > now_s
