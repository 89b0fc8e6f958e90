"""A segment whose end is missing, cut at every single octet: what was whole before the cut counts, and nothing else."""

from __future__ import annotations

import os
import random
from array import array
from pathlib import Path

import pytest

from appliance.spool import draft, journal, record, removal
from appliance.spool.record import HEAD_BYTES, Kind, Record
from appliance.spool.segment import generation_of
from appliance.spool.spool import Spool
from tests.support.simulated_disk import HandSyncer, SimulatedDisk
from tests.support.spool_fixture import Bench

SEGMENT_BYTES = 48 << 10
SMALL, LONG = b"Subject: small\r\n\r\nbody\r\n", os.urandom(2500)


def eventful() -> Bench:
    """One segment with a commit, chunks with their commit, states, a removal and another commit."""
    bench = Bench(segment_bytes=SEGMENT_BYTES)
    bench.keep("first", SMALL)
    bench.put("long", LONG, pieces=5)
    bench.settle()
    bench.keep("goes", SMALL)
    bench.spool._entries["first"].recipients[0].attempts = 3
    bench.spool.update("first")
    bench.settle()
    bench.spool.remove("goes")
    bench.settle()
    bench.keep("last", SMALL)
    return bench


class Whole:
    """What the whole records say, by a reckoning that shares nothing with recovery but the framing."""

    def __init__(self, bench: Bench) -> None:
        (self.name,) = [name for name, file in bench.disk.files.items() if record.MAGIC in file.octets]
        self.octets = bytes(bench.disk.files[self.name].octets)
        salt = bytes.fromhex(self.name.partition("-")[2].removesuffix(".seg"))
        self.records: list[Record] = list(
            record.scan(lambda at, size: self.octets[at : at + size], len(self.octets), record.prefix(salt))
        )
        self.names = {entry.number: entry.id for entry in bench.spool._entries.values()}

    def ends(self) -> list[int]:
        return [found.payload_offset + len(found.payload) for found in self.records]

    def in_what_is_left(self, octets: bytes) -> tuple[set[str], int]:
        """Ids of the messages, and the attempts that are known of `first`."""
        ids, attempts = set(), 0
        for found, end in zip(self.records, self.ends(), strict=True):
            start = found.payload_offset - HEAD_BYTES
            if octets[start:end] != self.octets[start:end]:
                continue
            if found.kind == Kind.COMMIT:
                ids.add(self.names.get(found.number, "goes"))
            elif found.kind == Kind.STATES:
                attempts = 3
            elif found.kind == Kind.REMOVED:
                assert len(array("Q", bytes(found.payload))) == 1
                ids.discard("goes")
        return ids, attempts


def cut_at(disk: SimulatedDisk, name: str, cut: int, rest: str) -> SimulatedDisk:
    """The disk after the power went when `cut` octets of the segment had been written."""
    survivor = disk.after_cut(random.Random(0))
    file = survivor.files[name]
    missing = len(file.octets) - cut
    file.octets[cut:] = {"missing": b"", "zeros": bytes(missing), "stale": b"\xa5MWR1" * (missing // 5 + 1)}[rest][
        :missing
    ]
    file.durable = bytearray(file.octets)
    return survivor


@pytest.mark.parametrize("rest", ["missing", "zeros", "stale"])
def test_a_segment_torn_at_any_octet_keeps_what_was_whole_and_takes_new_messages(
    rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "INLINE_BYTES", 1024)
    monkeypatch.setattr(journal, "_MIN_CHUNK_BYTES", 512)
    bench = eventful()
    whole = Whole(bench)
    assert {found.kind for found in whole.records} == set(Kind), "a kind of record is not tried"
    inside = [
        cut
        for found, end in zip(whole.records, whole.ends(), strict=True)
        for cut in range(found.payload_offset - HEAD_BYTES, end + 1)
    ]
    for cut in inside:
        torn = cut_at(bench.disk, whole.name, cut, rest)
        ids, attempts = whole.in_what_is_left(torn.files[whole.name].octets)
        after = bench.again(torn)
        assert after.ids() == ids, f"cut at {cut}"
        for entry in after.recovered:
            assert after.octets(entry.id) == (LONG if entry.id == "long" else SMALL)
            assert entry.recipients[0].attempts == (attempts if entry.id == "first" else 0)
        if cut % 16 == 0:  # the others differ in nothing that this could show
            after.keep("new", SMALL)
            assert after.cut_power().ids() == ids | {"new"}


def test_a_spool_that_is_being_removed_brings_nothing_back_wherever_that_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(segment_bytes=SEGMENT_BYTES)
    bench.keep("dead", SMALL)
    for n in range(6):
        bench.keep(f"m{n}", os.urandom(30_000))
    for entry_id in ("dead", *(f"m{n}" for n in range(6))):
        bench.spool.remove(entry_id)
    bench.syncer.work_off(background=False)  # nothing is retired yet
    bench.settle(background=False)
    segments = [name for name in bench.disk.files if generation_of(name)]
    assert len(segments) > 3
    plain_unlink = os.unlink
    for most in range(len(segments)):
        directory = tmp_path / str(most)
        directory.mkdir()
        for name in sorted(segments, key=lambda name: random.Random(name).random()):
            (directory / name).write_bytes(bench.disk.files[name].octets)
        left = iter(range(most))

        def unlink(path: Path, left=left) -> None:
            next(left)
            plain_unlink(path)

        monkeypatch.setattr(removal.os, "unlink", unlink)
        with pytest.raises(StopIteration):
            removal.remove_spool(directory)
        monkeypatch.setattr(removal.os, "unlink", plain_unlink)
        assert len(os.listdir(directory)) == len(segments) - most
        spool = Spool(directory, bench.spool._config, loop_call_soon=lambda call: None, syncer=HandSyncer())
        assert spool.open() == []
        spool.close()
    removal.remove_spool(directory)
    assert not directory.exists()
