"""A tar archive of few small plain files, as octets: the POSIX `ustar` form and nothing else of what tar can be.

Python's own `tarfile` reads every dialect, and hostile archives have kept it busy for ever; what comes here is from a
stick. Refuses links, devices, long names and extensions. Does no I/O; called by `config.store.archive`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

BLOCK_BYTES = 512
MAX_NAME_BYTES = 100
_MAGIC = b"ustar"
_PLAIN, _DIRECTORY = b"0\0", b"5"
_CHECKSUM = slice(148, 156)


def written(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive of `members`, name and octets; the same octets for the same members."""
    blocks: list[bytes] = []
    for name, octets in members:
        blocks += (_header(name, len(octets)), octets, bytes(-len(octets) % BLOCK_BYTES))
    return b"".join([*blocks, bytes(2 * BLOCK_BYTES)])


def _header(name: str, size_bytes: int) -> bytes:
    raw_name = name.encode("ascii")
    if len(raw_name) > MAX_NAME_BYTES:
        raise ValueError(f"{name!r} is too long for the archive")
    header = bytearray(BLOCK_BYTES)
    header[: len(raw_name)] = raw_name
    header[100:108], header[108:116], header[116:124] = b"0000600\0", b"0000000\0", b"0000000\0"  # mode, uid, gid
    header[124:136] = b"%011o\0" % size_bytes
    header[136:148] = b"%011o\0" % 0  # time: the facts inside tell
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    header[_CHECKSUM] = b"%06o\0 " % _checksum(header)
    return bytes(header)


def _checksum(header: bytes | bytearray) -> int:
    return sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")


def read(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of `archive` in their order; directories are passed over.

    Raises:
        ValueError: it is not of this form; the text says where and what.
    """
    at = 0
    while True:
        header = archive[at : at + BLOCK_BYTES]
        if len(header) < BLOCK_BYTES:
            raise ValueError("the archive is cut off")
        if not any(header):
            return
        if _number(header[_CHECKSUM]) != _checksum(header) or header[257:262] != _MAGIC:
            raise ValueError(f"no tar header at octet {at}")
        name = header[:MAX_NAME_BYTES].partition(b"\0")[0].decode("ascii", "backslashreplace")
        size_bytes = _number(header[124:136])
        kind = header[156:157]
        begin, at = at + BLOCK_BYTES, at + BLOCK_BYTES + size_bytes + -size_bytes % BLOCK_BYTES
        if kind == _DIRECTORY:
            continue
        if kind not in _PLAIN or any(header[345:500]):
            raise ValueError(f"{name!r} is no plain file with a short name")
        if begin + size_bytes > len(archive):
            raise ValueError(f"the archive is cut off in {name!r}")
        yield name, archive[begin : begin + size_bytes]


def _number(raw: bytes) -> int:
    text = raw.strip(b"\0 ")
    if not text or text.strip(b"01234567"):
        raise ValueError("a number in a tar header is none")
    return int(text, 8)
