"""The initial RAM disk, as octets: busybox, dmsetup, drivers and one script, in a cpio archive (`newc`).

Made here and not by initramfs-tools: it is the same twice, needs no emulator for another architecture, and leaves some
ten packages out of the image. Called by `build`.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or symbolic link; `mode` with its kind, as in stat(2)."""

    mode: int
    octets: bytes = b""


def program(octets: bytes) -> Entry:
    """A file that can be run."""
    return Entry(stat.S_IFREG | 0o755, octets)


def file(octets: bytes) -> Entry:
    """A file that is only read."""
    return Entry(stat.S_IFREG | 0o644, octets)


def link(target: str) -> Entry:
    """A symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Mapping[str, Entry], at_s: int) -> bytes:
    """All `entries`, by their paths without a leading slash, with the folders that they need; sorted."""
    folders = {"/".join(path.split("/")[:depth]) for path in entries for depth in range(1, path.count("/") + 1)}
    whole = {**{path: Entry(stat.S_IFDIR | 0o755) for path in folders}, **entries}
    parts = [_record(number, path, whole[path], at_s) for number, path in enumerate(sorted(whole), 1)]
    return b"".join([*parts, _record(0, _TRAILER, Entry(0), 0)])


def _record(number: int, path: str, entry: Entry, at_s: int) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    numbers = (number, entry.mode, 0, 0, links, at_s, len(entry.octets), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name
    return _padded(head) + _padded(entry.octets)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
