"""Framing: what is found in a segment is what was written, whatever lies around it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.spool import record
from appliance.spool.record import HEAD_BYTES, Kind

PREFIX = record.prefix(b"saltsalt")
OTHER = record.prefix(b"othersal")


def framed(payload: bytes, number: int = 7, prefix: bytes = PREFIX) -> bytes:
    return record.head(prefix, Kind.CHUNK, number, len(payload), (payload,)) + payload


def found(octets: bytes) -> list[tuple[int, bytes]]:
    def read(offset: int, length: int) -> bytes:
        return octets[offset : offset + length]

    return [(r.number, bytes(r.payload)) for r in record.scan(read, len(octets), PREFIX)]


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=40)), max_size=8))
def test_every_record_is_found_behind_any_gap(parts: list[tuple[bytes, bytes]]) -> None:
    octets = b"".join(gap + framed(payload, n) for n, (payload, gap) in enumerate(parts))
    assert found(octets) == [(n, payload) for n, (payload, _) in enumerate(parts)]


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.data())
def test_a_damaged_octet_costs_the_record_it_lies_in_and_no_other(payloads: list[bytes], data: st.DataObject) -> None:
    octets = bytearray(b"".join(framed(payload, n) for n, payload in enumerate(payloads)))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    starts = [sum(HEAD_BYTES + len(p) for p in payloads[:n]) for n in range(len(payloads))]
    hit = max(n for n, start in enumerate(starts) if start <= at)
    assert found(bytes(octets)) == [(n, p) for n, p in enumerate(payloads) if n != hit]


def test_stale_records_of_the_files_last_life_are_not_found() -> None:
    assert found(framed(b"new") + framed(b"stale", prefix=OTHER)) == [(7, b"new")]


def test_a_record_inside_a_whole_records_payload_is_not_found() -> None:
    assert found(framed(framed(b"forged"), 1)) == [(1, framed(b"forged"))]


def test_a_torn_last_record_is_not_found() -> None:
    whole = framed(b"first", 1) + framed(b"x" * 100, 2)
    assert all(found(whole[:size]) == [(1, b"first")] for size in range(HEAD_BYTES + 5, len(whole)))


def test_a_record_longer_than_the_read_window_is_found() -> None:
    payload = bytes(range(256)) * 8192
    assert found(b"\0" * 1000 + framed(payload, 3) + framed(b"after", 4)) == [(3, payload), (4, b"after")]


def test_a_record_across_the_read_windows_edge_is_found() -> None:
    for gap in range((1 << 20) - 50, (1 << 20) + 5):
        assert found(b"\0" * gap + framed(b"edge", 5)) == [(5, b"edge")]
