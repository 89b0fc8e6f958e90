"""What keeps the spool fast and the card alive, as far as it can be told without a clock: batches, pages, zeros."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from appliance.spool import draft as drafts
from appliance.spool import journal, pool
from appliance.spool.disk import Buffer
from tests.support.spool_fixture import Answer, Bench, meta


def test_a_lone_message_does_not_wait_for_company() -> None:
    bench = Bench(gathers=True)
    _, answer = bench.put("a", b"x")
    bench.run_loop()
    assert not bench.timers.waiting
    bench.settle()
    assert answer.durable


def test_a_message_waits_a_moment_for_one_that_is_being_received_and_shares_its_sync() -> None:
    bench = Bench(gathers=True)
    bench.keep("first")  # the first one also syncs the new file's directory
    before = bench.spool.fsyncs
    receiving = bench.spool.begin()
    _, first = bench.put("a", b"x")
    bench.settle()
    assert first.calls == [] and len(bench.timers.waiting) == 1
    second = Answer()
    receiving.commit(meta("b"), second)
    bench.settle()
    assert first.durable and second.durable and not bench.timers.waiting
    assert bench.spool.fsyncs == before + 1


def test_a_message_does_not_wait_for_a_slow_sender() -> None:
    bench = Bench(gathers=True)
    bench.spool.begin()
    _, answer = bench.put("a", b"x")
    bench.run_loop()
    bench.now_s += journal.GATHER_S
    bench.timers.ring()
    bench.settle()
    assert answer.durable


def test_what_waited_as_long_behind_a_slow_disk_does_not_wait_again() -> None:
    bench = Bench(gathers=True)
    bench.spool.begin()
    bench.put("a", b"x")
    bench.run_loop()
    bench.now_s += journal.GATHER_S
    bench.timers.ring()
    bench.run_loop()
    _, answer = bench.put("b", b"x")  # while the disk has the first one
    bench.now_s += journal.GATHER_S
    bench.settle()
    assert answer.durable


@pytest.mark.parametrize("size", [0, 3000, 4096, 50_000, 140_000, 600_000])
def test_only_whole_pages_are_written_so_that_none_is_read_first(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.settle()
    written: set[int] = set()
    plain_write = bench.disk.write

    def write(fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        end = offset + sum(map(len, buffers))
        assert offset % 4096 == 0 or offset // 4096 in written
        assert end % 4096 == 0
        written.update(range(offset // 4096, end // 4096))
        plain_write(fd, buffers, offset)

    monkeypatch.setattr(bench.disk, "write", write)
    octets = os.urandom(size)
    bench.put("a", octets)
    bench.put("b", octets)
    bench.settle(background=False)
    assert bench.octets("a") == bench.octets("b") == octets


def test_few_messages_cost_few_zeros() -> None:
    bench = Bench(segment_bytes=64 << 20, quota_bytes=1 << 30)
    bench.settle()
    for n in range(20):
        bench.keep(f"m{n}", os.urandom(4000))
    assert bench.spool.bytes_written <= pool.FIRST_BYTES + 20 * 8192


def test_segments_grow_with_the_mail_and_a_second_burst_of_it_needs_no_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FIRST_BYTES", 64 << 10)
    bench = Bench(segment_bytes=1 << 20)
    bench.settle()

    def burst(name: str) -> None:
        for n in range(20):
            bench.keep(f"{name}{n}", os.urandom(30_000))
        for n in range(20):
            bench.spool.remove(f"{name}{n}")
        bench.settle()

    burst("a")
    sizes = sorted(len(file.octets) for file in bench.disk.files.values())
    assert sizes[0] == 64 << 10 and sizes[-1] >= 256 << 10
    zeroed = bench.spool._pool.zeroed_bytes
    burst("b")
    assert bench.spool._pool.zeroed_bytes == zeroed


def test_many_drafts_at_a_time_keep_little_of_each_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "RAM_BYTES", 300_000)
    bench = Bench()
    open_drafts = [bench.spool.begin() for _ in range(20)]
    for _ in range(10):
        for each in open_drafts:
            each.write(bytes(10_000))
    assert bench.spool._journal.ram_bytes <= 300_000 + 20 * drafts.LEAN_BYTES
    for each in open_drafts:
        each.abandon()
    assert bench.spool._journal.ram_bytes == 0 and bench.spool._journal.drafts == 0


def test_the_memory_of_a_commit_is_counted_until_it_is_durable() -> None:
    bench = Bench()
    bench.put("a", bytes(50_000))
    bench.run_loop()
    assert bench.spool._journal.ram_bytes == 50_000
    bench.settle()
    assert bench.spool._journal.ram_bytes == 0
