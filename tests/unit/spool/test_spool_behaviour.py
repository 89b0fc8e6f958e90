"""What the spool promises while the disk is well."""

from __future__ import annotations

import contextlib
import os
import random

import pytest

from appliance.core.errors import GatewayError, SpoolFull
from appliance.spool.meta import Phase
from tests.support.spool_fixture import SEGMENT_BYTES, Answer, Bench, meta


def test_a_message_is_acknowledged_only_after_its_sync() -> None:
    bench = Bench()
    _, answer = bench.put("a", b"hello")
    bench.run_loop()
    assert answer.calls == []
    bench.settle()
    assert answer.durable and bench.octets("a") == b"hello"


def test_messages_of_one_moment_share_one_sync() -> None:
    bench = Bench()
    bench.keep("first")  # the first one also syncs the new file's directory
    before = bench.spool.fsyncs
    answers = [bench.put(f"m{n}", b"x" * 100)[1] for n in range(50)]
    bench.settle()
    assert all(answer.durable for answer in answers)
    assert bench.spool.fsyncs == before + 1


def test_messages_that_come_during_a_sync_go_with_the_next_one() -> None:
    bench = Bench()
    _, first = bench.put("first", b"1")
    bench.run_loop()
    _, second = bench.put("second", b"2")
    bench.syncer.jobs.sort(key=lambda job: not job.urgent)
    job = bench.syncer.jobs.pop(0)
    job.step()
    job.finish()
    assert first.durable and second.calls == []
    bench.settle()
    assert second.durable


def test_the_view_is_the_callers_again_when_write_returns() -> None:
    bench = Bench()
    view = bytearray(b"a" * 50_000)
    draft = bench.spool.begin()
    for letter in b"bcd":
        draft.write(memoryview(view))
        view[:] = bytes([letter]) * len(view)
    answer = Answer()
    draft.commit(meta("long"), answer)
    bench.settle()
    assert bench.octets("long") == b"a" * 50_000 + b"b" * 50_000 + b"c" * 50_000


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 300_000, 1_000_000])
@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_octets_come_back_as_they_went_whatever_their_number(size: int, pieces: int) -> None:
    bench = Bench()
    octets = random.Random(size).randbytes(size)
    entry, answer = bench.put("x", octets, pieces=pieces)
    bench.settle()
    assert answer.durable and entry.meta.size_bytes == size
    assert bench.octets("x") == octets
    after = bench.cut_power()
    assert after.octets("x") == octets and after.recovered[0].meta == entry.meta


def test_a_draft_keeps_only_its_last_octets_in_memory() -> None:
    bench = Bench()
    draft = bench.spool.begin()
    for _ in range(100):
        draft.write(bytes(10_000))
    assert draft.tail_bytes <= 131_072
    draft.abandon()


def test_an_abandoned_draft_leaves_nothing() -> None:
    bench = Bench()
    draft = bench.spool.begin()
    draft.write(bytes(500_000))
    draft.abandon()
    bench.keep("other")
    assert bench.cut_power().ids() == {"other"}
    assert bench.spool.bytes_live == bench.spool._entries["other"].meta.size_bytes


def test_an_id_cannot_be_used_twice() -> None:
    bench = Bench()
    bench.keep("a")
    with pytest.raises(ValueError, match="already"):
        bench.put("a", b"")


def test_a_removed_entry_is_gone_after_a_power_cut() -> None:
    bench = Bench()
    bench.keep("a")
    bench.keep("b")
    answer = Answer()
    bench.spool.remove("a", answer)
    bench.settle()
    assert answer.durable
    assert bench.cut_power().ids() == {"b"}


def test_states_survive_a_power_cut() -> None:
    bench = Bench()
    entry = bench.keep("a", recipients=3)
    entry.recipients[1].phase = Phase.DELIVERED
    entry.recipients[2].attempts = 4
    entry.recipients[2].reply = "450 4.2.0 busy"
    entry.meta.held, entry.meta.hold_reason = True, "asked for"
    bench.spool.update("a")
    bench.settle()
    recovered = bench.cut_power().recovered[0]
    assert recovered.recipients == entry.recipients
    assert recovered.meta == entry.meta


def test_an_update_without_a_callback_waits_for_company_but_not_for_ever() -> None:
    bench = Bench()
    entry = bench.keep("a")
    before = bench.spool.fsyncs
    for attempts in range(20):
        entry.recipients[0].attempts = attempts
        bench.spool.update("a")
    bench.settle()
    assert bench.spool.fsyncs == before + 1
    assert bench.cut_power().recovered[0].recipients[0].attempts == 19


def test_close_makes_what_waits_durable() -> None:
    bench = Bench()
    _, answer = bench.put("a", b"x")
    bench.spool.close()
    assert answer.durable
    assert bench.cut_power().ids() == {"a"}


def test_a_callback_that_fails_costs_the_others_nothing() -> None:
    bench = Bench()

    def broken(error: GatewayError | None) -> None:
        raise RuntimeError("session's fault")

    bench.spool.begin().commit(meta("a"), broken)
    _, answer = bench.put("b", b"x")
    bench.settle()
    assert answer.durable


def test_segments_without_live_entries_are_used_again() -> None:
    bench = Bench()
    for n in range(200):
        bench.keep(f"m{n}", os.urandom(20_000))
        bench.spool.remove(f"m{n}")
    bench.settle()
    assert len(bench.disk.files) <= 4


def test_a_reused_file_brings_nothing_of_its_last_life_back() -> None:
    bench = Bench()
    for n in range(60):
        bench.keep(f"m{n}", os.urandom(20_000))
        bench.spool.remove(f"m{n}")
    bench.keep("last")
    for seed in range(20):
        assert bench.cut_power(seed).ids() == {"last"}


def test_one_stuck_message_does_not_pin_its_segment() -> None:
    bench = Bench()
    octets = os.urandom(20_000)
    entry = bench.keep("stuck", octets, recipients=2)
    entry.recipients[0].attempts = 9
    bench.spool.update("stuck")
    first = bench.files()[0]
    for n in range(40):
        bench.keep(f"m{n}", os.urandom(20_000))
        bench.spool.remove(f"m{n}")
        bench.settle()
    assert first not in bench.files()
    assert bench.octets("stuck") == octets
    after = bench.cut_power()
    assert after.octets("stuck") == octets and after.recovered[0].recipients[0].attempts == 9


def test_a_long_message_spread_over_segments_is_moved_whole() -> None:
    bench = Bench()
    octets = os.urandom(280_000)  # its first chunks share a segment with what is removed, its last with what stays
    bench.keep("before", os.urandom(60_000))
    bench.keep("x", os.urandom(60_000))
    bench.keep("y", os.urandom(60_000))
    bench.keep("z", os.urandom(50_000))
    bench.put("stuck", octets, pieces=20)
    bench.settle()
    for name in ("before", "x", "y", "z"):
        bench.spool.remove(name)
    for n in range(40):
        bench.keep(f"m{n}", os.urandom(20_000))
        bench.spool.remove(f"m{n}")
        bench.settle()
        assert bench.octets("stuck") == octets
    assert bench.cut_power().octets("stuck") == octets


def test_a_removal_outlives_the_segment_that_it_lies_in_while_it_is_needed() -> None:
    bench = Bench()
    # The first segment stays, for most of it is live; its dead entry must stay dead when later segments go.
    bench.keep("dead")
    for n in range(4):
        bench.keep(f"live{n}", os.urandom(50_000))
    for n in range(60):
        bench.keep(f"m{n}", os.urandom(20_000))
        if n == 20:
            bench.spool.remove("dead")
        bench.spool.remove(f"m{n}")
        bench.settle()
    assert bench.cut_power().ids() == {"live0", "live1", "live2", "live3"}


def test_an_open_reading_keeps_its_octets_from_being_overwritten() -> None:
    bench = Bench()
    octets = os.urandom(20_000)
    bench.keep("a", octets)
    reading = bench.spool.read("a")
    bench.spool.remove("a")
    for n in range(60):
        bench.keep(f"m{n}", os.urandom(20_000))
        bench.spool.remove(f"m{n}")
    bench.settle()
    assert b"".join(reading.chunks()) == octets
    first = bench.files()[0]
    reading.release()
    bench.settle()
    assert first not in bench.files()


def test_the_quota_refuses_new_messages_and_takes_them_again_when_room_is_made() -> None:
    bench = Bench(quota_bytes=6 * SEGMENT_BYTES)
    kept = []
    with contextlib.suppress(SpoolFull):
        while len(kept) < 100:
            kept.append(bench.keep(f"m{len(kept)}", os.urandom(50_000)).id)
    assert 10 <= len(kept) <= 24
    assert len(bench.disk.files) <= 6
    for entry_id in kept:
        bench.spool.remove(entry_id)
    bench.settle()
    bench.keep("again", os.urandom(50_000))


def test_a_message_announced_larger_than_the_room_is_refused_at_once() -> None:
    bench = Bench(quota_bytes=6 * SEGMENT_BYTES)
    with pytest.raises(SpoolFull):
        bench.spool.begin(6 * SEGMENT_BYTES)
    bench.spool.begin(SEGMENT_BYTES).abandon()


def test_the_file_system_is_not_filled_beyond_what_is_to_be_kept_free() -> None:
    bench = Bench()
    bench.settle()
    bench.disk.space_bytes = sum(len(file.octets) for file in bench.disk.files.values())
    bench.now_s += 10
    bench.keep("in the ready segment")
    with pytest.raises(SpoolFull):
        bench.spool.begin(2 * SEGMENT_BYTES)


def test_recovery_is_repeatable() -> None:
    bench = Bench()
    for n in range(5):
        bench.keep(f"m{n}")
    once = bench.cut_power()
    twice = once.cut_power()
    assert once.ids() == twice.ids() == {f"m{n}" for n in range(5)}


def test_recovered_entries_can_be_removed_for_good() -> None:
    bench = Bench()
    bench.keep("a")
    bench.keep("b")
    after = bench.cut_power()
    after.spool.remove("a")
    after.settle()
    assert after.cut_power().ids() == {"b"}


def test_entries_are_counted() -> None:
    bench = Bench()
    bench.keep("a", b"12345")
    assert (bench.spool.entries, bench.spool.bytes_live) == (1, 5)
    bench.spool.remove("a")
    assert (bench.spool.entries, bench.spool.bytes_live) == (0, 0)


def test_a_full_spool_with_little_in_it_makes_room_by_itself() -> None:
    bench = Bench(quota_bytes=8 * SEGMENT_BYTES)
    kept = set()
    for n in range(6):  # each life leaves a segment with one small message in it
        kept.add(bench.keep(f"life{n}").id)
        bench = bench.cut_power()
    bench.settle()
    assert len(bench.files()) <= 3
    assert bench.cut_power().ids() == kept
