"""A small body leaves by BDAT where the next hop takes it, and only if no line of it is dot-stuffed (RFC 3030 §2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.intake.buffers import BufferPool
from appliance.intake.paths import COPY_LIMIT_BYTES, Kept, RamPath
from appliance.observe.metrics import Counters
from tests.unit.intake.hop_double import HopDouble

RECEIVED = b"Received: by gateway.example; now\r\n"


def delivered(reads: list[bytes], *, chunks: bool) -> HopDouble:
    """What the next hop saw of a body that came in `reads`."""
    hop = HopDouble(takes_chunks=chunks)
    path = RamPath(hop, Kept(BufferPool(1 << 30), Counters()))
    buffer = bytearray(COPY_LIMIT_BYTES * 2)
    for number, octets in enumerate(reads, 1):
        buffer[: len(octets)] = octets
        path.take(memoryview(buffer)[: len(octets)])
        if number < len(reads) and path.secure():
            path.own(buffer)
            buffer = bytearray(len(buffer))
    path.deliver(RECEIVED, binary=False, done=hop.finals.append)
    return hop


def test_a_small_body_leaves_in_one_chunk_with_its_length() -> None:
    hop = delivered([b"Subject: a\r\n\r\n", b"text\r\n"], chunks=True)
    assert hop.chunk == RECEIVED + b"Subject: a\r\n\r\ntext\r\n"
    assert hop.announced_bytes == len(hop.chunk)
    assert hop.data is None


def test_a_next_hop_without_chunking_gets_data() -> None:
    hop = delivered([b"Subject: a\r\n\r\ntext\r\n"], chunks=False)
    assert hop.chunk is None
    assert hop.data == RECEIVED + b"Subject: a\r\n\r\ntext\r\n"


@pytest.mark.parametrize(
    "reads",
    [
        [b"..first line\r\n"],
        [b"Subject: a\r\n\r\n..\r\n"],
        [b"Subject: a\r\n\r\n", b"..\r\n"],
        [b"Subject: a\r\n\r", b"\n..x\r\n"],
    ],
)
def test_a_stuffed_line_goes_by_data_wherever_the_reads_are_cut(reads: list[bytes]) -> None:
    hop = delivered(reads, chunks=True)
    assert hop.chunk is None
    assert hop.data == RECEIVED + b"".join(reads)


def test_a_longer_body_goes_by_data_from_the_buffers_it_lies_in() -> None:
    line = b"x" * 70 + b"\r\n"
    body = line * (COPY_LIMIT_BYTES // len(line) + 1)
    hop = delivered([body], chunks=True)
    assert hop.chunk is None
    assert hop.data == RECEIVED + body


@given(st.lists(st.sampled_from([b"a", b".", b"..", b"b.c", b""]), min_size=1), st.data())
def test_no_octet_is_lost_or_changed_whichever_way_it_leaves(lines: list[bytes], data: st.DataObject) -> None:
    body = b"".join(line + b"\r\n" for line in lines)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=3)))
    reads = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    hop = delivered(reads, chunks=True)
    stuffed = any(line.startswith(b".") for line in lines)
    assert (hop.data if stuffed else hop.chunk) == RECEIVED + body
    assert (hop.chunk if stuffed else hop.data) is None
