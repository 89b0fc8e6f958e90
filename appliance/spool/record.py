"""The framing of records in a segment.

A record is a head of 32 octets and a payload. The head opens with the magic and the segment's salt: 64 random bits,
drawn anew each time a file is used, so that neither the stale octets of a recycled file nor a message body that
imitates a record can be taken for one. A CRC over head and payload tells a torn record. Records may lie behind gaps
(no two commits share a page, and a write may have failed), hence `scan` looks for the next one instead of stopping.

Knows nothing of files: `scan` is given a way to read. Called by the journal (writing) and by recovery (reading).
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

MAGIC = b"MWR1"
SALT_BYTES = 8
HEAD_BYTES = 32
PAGE_BYTES = 4096
MAX_CHUNK_BYTES = (256 << 10) - HEAD_BYTES
"""So that a chunk with its head is so many whole pages."""

_WINDOW_BYTES = 1 << 20
_HEAD = Struct("<12sB3xQI")  # magic and salt, kind, entry number, payload length; then the CRC
_CRC = Struct("<I")
_CRC_AT = _HEAD.size
COMMIT_HEAD = Struct("<I")
"""A COMMIT's payload begins with the length of its meta; then the meta, then the last octets of the body."""


class Kind(enum.IntEnum):
    CHUNK = 1
    """Octets of a body whose commit comes later."""
    COMMIT = 2
    STATES = 3
    """The recipients' states of an entry; the last one counts."""
    REMOVED = 4
    """Numbers of entries that are no more, 8 octets each, little endian."""


class Record(NamedTuple):
    kind: int
    number: int
    payload_offset: int
    payload: memoryview


def page_end(offset: int) -> int:
    """`offset`, or the beginning of the next page."""
    return -(-offset // PAGE_BYTES) * PAGE_BYTES


def prefix(salt: bytes) -> bytes:
    """What every record of a segment with this salt begins with."""
    return MAGIC + salt


def head(
    segment_prefix: bytes, kind: int, number: int, length: int, payload: Sequence[bytes | bytearray | memoryview]
) -> bytes:
    """The head of a record whose payload is the pieces in `payload`, `length` octets in all."""
    start = _HEAD.pack(segment_prefix, kind, number, length)
    crc = zlib.crc32(start)
    for piece in payload:
        crc = zlib.crc32(piece, crc)
    return start + _CRC.pack(crc)


def scan(read: Callable[[int, int], bytes], size_bytes: int, segment_prefix: bytes) -> Iterator[Record]:
    """The whole records of a segment, in order; torn ones, gaps and foreign octets are passed over.

    `read(offset, length)` gives octets of the file, fewer only at its end. A record's payload is valid until the next
    one is asked for.
    """
    position = 0
    window, window_at = b"", 0
    while position + HEAD_BYTES <= size_bytes:
        if position + HEAD_BYTES > window_at + len(window):
            window, window_at = read(position, _WINDOW_BYTES), position
            if len(window) < HEAD_BYTES:
                return
        at = position - window_at
        if not window.startswith(segment_prefix, at):
            found = window.find(segment_prefix, at)
            position = window_at + (found if found >= 0 else len(window) - len(segment_prefix) + 1)
            continue
        _, kind, number, length = _HEAD.unpack_from(window, at)
        end = position + HEAD_BYTES + length
        if end <= size_bytes and end > window_at + len(window):
            window, window_at = read(position, max(_WINDOW_BYTES, HEAD_BYTES + length)), position
            at = 0
        payload = memoryview(window)[at + HEAD_BYTES : at + HEAD_BYTES + length]
        crc = zlib.crc32(payload, zlib.crc32(memoryview(window)[at : at + _CRC_AT]))
        if len(payload) == length and crc == _CRC.unpack_from(window, at + _CRC_AT)[0]:
            yield Record(kind, number, position + HEAD_BYTES, payload)
            position = end
        else:
            position += len(segment_prefix)
