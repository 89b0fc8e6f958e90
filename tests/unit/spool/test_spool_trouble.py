"""A disk that is full, fails or comes back: nobody is told a lie, and nobody has to restart anything."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from pathlib import Path

import pytest

from appliance.config import schema
from appliance.core.errors import SpoolFull, SpoolTrouble
from appliance.spool.disk import Disk
from appliance.spool.spool import Spool, SpoolInUse
from tests.support.spool_fixture import Answer, Bench, meta


@pytest.mark.parametrize(
    ("operation", "number", "expected"),
    [
        ("sync", errno.EIO, SpoolTrouble),
        ("write", errno.EIO, SpoolTrouble),
        ("write", errno.ENOSPC, SpoolFull),
        ("write", errno.EROFS, SpoolTrouble),
        ("sync", errno.ENOSPC, SpoolFull),
    ],
)
def test_every_message_of_a_failed_batch_is_refused(operation: str, number: int, expected: type[Exception]) -> None:
    bench = Bench()
    bench.keep("before")
    answers = [bench.put(f"m{n}", b"x")[1] for n in range(5)]
    bench.disk.faults[operation] = number
    bench.run_loop()
    late = bench.put("late", b"x")[1]  # gathers in the same segment while the sync fails
    bench.syncer.work_off()
    assert all(len(a.calls) == 1 and isinstance(a.calls[0], expected) for a in [*answers, late])
    assert set(bench.spool._entries) == {"before"} and bench.octets("before")


def test_new_messages_are_refused_while_the_trouble_is_fresh() -> None:
    bench = Bench()
    bench.disk.faults["sync"] = errno.EIO
    bench.put("a", b"x")
    bench.settle_failing()
    with pytest.raises(SpoolTrouble):
        bench.spool.begin()


def test_a_disk_that_is_well_again_is_used_without_a_restart() -> None:
    bench = Bench()
    bench.keep("before")
    bench.disk.faults["sync"] = errno.EIO
    bench.put("refused", b"x")
    bench.settle_failing()
    bench.disk.faults.clear()
    bench.now_s += 5
    bench.keep("after")
    for seed in range(20):
        assert bench.cut_power(seed).ids() == {"before", "after"}


def test_octets_written_before_a_failed_sync_do_not_become_a_message() -> None:
    bench = Bench()
    draft = bench.spool.begin()
    draft.write(os.urandom(200_000))
    bench.disk.faults["sync"] = errno.EIO
    bench.put("refused", b"x")
    bench.settle_failing()
    bench.disk.faults.clear()
    bench.now_s += 5
    answer = Answer()
    draft.commit(meta("long"), answer)
    bench.settle()
    assert isinstance(answer.calls[0], SpoolTrouble)
    assert "long" not in bench.spool._entries


def test_octets_synced_before_the_failure_are_good() -> None:
    bench = Bench()
    draft = bench.spool.begin()
    octets = os.urandom(200_000)
    draft.write(octets)
    bench.keep("syncs it")
    bench.disk.faults["sync"] = errno.EIO
    bench.put("refused", b"x")
    bench.settle_failing()
    bench.disk.faults.clear()
    bench.now_s += 5
    answer = Answer()
    draft.commit(meta("long"), answer)
    bench.settle()
    assert answer.durable and bench.cut_power().octets("long") == octets


def test_removals_and_states_of_a_failed_batch_are_written_later() -> None:
    bench = Bench()
    bench.keep("removed")
    entry = bench.keep("changed")
    bench.disk.faults["sync"] = errno.EIO
    bench.spool.remove("removed")
    entry.recipients[0].attempts = 3
    bench.spool.update("changed")
    bench.settle_failing()
    bench.disk.faults.clear()
    bench.settle()
    for seed in range(20):
        after = bench.cut_power(seed)
        assert after.ids() == {"changed"} and after.recovered[0].recipients[0].attempts == 3


def test_a_long_message_that_meets_a_full_disk_is_refused_while_it_is_written() -> None:
    bench = Bench()
    bench.keep("before")
    bench.disk.space_bytes = sum(len(file.octets) for file in bench.disk.files.values())
    draft = bench.spool.begin()
    with contextlib.suppress(SpoolFull):
        while draft.size_bytes < 6_000_000:
            draft.write(os.urandom(60_000))
    assert draft.size_bytes < 6_000_000
    draft.abandon()
    bench.disk.space_bytes = 1 << 30
    bench.now_s += 5
    bench.keep("after", os.urandom(300_000))


def test_a_failed_segment_is_removed_when_nothing_in_it_lives() -> None:
    bench = Bench()
    bench.keep("before", os.urandom(60_000))  # too much of the segment to be moved out
    failed = bench.files()[0]
    bench.disk.faults["sync"] = errno.EIO
    bench.put("refused", b"x")
    bench.settle_failing()
    bench.disk.faults.clear()
    bench.now_s += 5
    bench.keep("after")
    assert failed in bench.files()
    bench.spool.remove("before")
    bench.settle()
    assert failed not in bench.disk.files and not bench.files(".spare")[1:]


def test_what_can_be_read_of_a_damaged_segment_is_recovered_and_the_file_kept() -> None:
    bench = Bench()
    bench.keep("a")
    bench.keep("b")
    disk = bench.disk.after_cut(random.Random(0))
    whole_read = disk.read

    def damaged(fd: int, length: int, offset: int) -> bytes:
        if offset < 4096 < offset + length or offset == 4096:
            raise OSError(errno.EIO, "bad sector")
        return whole_read(fd, length, offset)

    disk.read = damaged  # type: ignore[method-assign]
    after = bench.again(disk)
    assert after.ids() == {"a"}
    name = after.files()[0]
    after.spool.remove("a")
    after.settle()
    assert name in after.files()
    assert not after.spool.spent, "the file would go with the directory"


def test_a_spool_is_spent_when_no_message_is_in_it_or_on_its_way() -> None:
    bench = Bench()
    assert bench.spool.spent
    bench.put("a", b"x")
    assert not bench.spool.spent
    bench.settle()
    assert not bench.spool.spent
    bench.spool.remove("a")
    assert bench.spool.spent


def test_a_record_of_another_version_stops_the_start_and_destroys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.keep("a")
    monkeypatch.setattr("appliance.spool.codec.encode_commit", lambda meta, extents: b"\4\0\0\0\xc0\xc0\xc0\xc0")
    bench.put("strange", b"x")
    bench.settle()
    names = bench.files()
    with pytest.raises(SpoolTrouble):
        bench.cut_power()
    assert bench.files() == names


def test_a_second_process_is_told_that_the_directory_is_taken(tmp_path: Path) -> None:
    def spool() -> Spool:
        config = schema.Spool(segment=schema.Size(1 << 20), keep_free=schema.Size(0))
        return Spool(tmp_path / "0", config, loop_call_soon=lambda call: None)

    first, second = spool(), spool()
    first.open()
    with pytest.raises(SpoolInUse, match="in use"):
        second.open()
    first.close()
    assert second.open() == []
    second.close()


def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    fd = disk.create(tmp_path / "file")
    whole_write = os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: whole_write(fd, bytes(buffers[0])[:3], offset))
    monkeypatch.setattr(os, "pwrite", lambda fd, view, offset: whole_write(fd, bytes(view)[:2], offset))
    disk.write(fd, [b"hello", b" ", b"world"], 4)
    assert disk.read(fd, 100, 0) == b"\0\0\0\0hello world"
    disk.close(fd)


def test_more_buffers_than_one_call_takes_are_all_written(tmp_path: Path) -> None:
    disk = Disk()
    fd = disk.create(tmp_path / "file")
    disk.write(fd, [b"%04d" % n for n in range(3000)], 0)
    assert disk.read(fd, 20_000, 0) == b"".join(b"%04d" % n for n in range(3000))
    disk.close(fd)


def test_what_waits_for_a_broken_disk_does_not_grow_with_the_attempts() -> None:
    bench = Bench()
    for n in range(3):
        bench.keep(f"m{n}", os.urandom(60_000))
    bench.keep("in another segment", os.urandom(60_000))
    bench.disk.faults["sync"] = errno.EIO
    for n in range(3):
        bench.spool.remove(f"m{n}")
    for _ in range(200):
        bench.settle_failing()
        bench.now_s += 0.5
    assert len(bench.spool._removals) == 3
    bench.disk.faults.clear()
    bench.settle()
    assert bench.cut_power().ids() == {"in another segment"}
    assert len(bench.disk.files) <= 5


def test_a_damaged_copy_of_a_moved_message_does_not_hide_the_old_one() -> None:
    bench = Bench()
    octets = os.urandom(20_000)
    entry = bench.keep("stuck", octets)
    old_one = entry.extents[0].segment
    for n in range(12):
        bench.put(f"m{n}", os.urandom(20_000))
        bench.settle(background=False)  # so that the old segment is not given up yet
        bench.spool.remove(f"m{n}")
    bench.settle(background=False)
    extent = entry.extents[0]
    assert extent.segment is not old_one and old_one.retiring, "it was not moved"
    bench.disk.files[extent.segment.path.name].durable[extent.offset] ^= 1
    assert bench.cut_power().octets("stuck") == octets
