"""`image build --twice`: builds from the locks two times, nothing shared but what was fetched, and compares.

Called by `__main__`. What differs is named, from the outermost part inwards.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from firmware.builder.board import Board

_PARTS = ("work/vmlinuz", "work/initrd.img", "work/root.img", "work/boot.img", "work/esp.img", "work/core.img")
_RESULTS = ("disk.img", "sbom.json")


def build_twice(board: Board, build: Callable[[], Path]) -> str:
    """The SHA-256 of the image, the same both times.

    Raises:
        SystemExit: the two differ; the text says where.
    """
    first = board.cache.with_name(f"{board.cache.name}.first")
    shutil.rmtree(first, ignore_errors=True)
    shutil.rmtree(board.cache, ignore_errors=True)
    build()
    board.cache.replace(first)
    image = build()
    different = list(differences(first, board.cache))
    if different:
        raise SystemExit(f"two builds differ, the first one is in {first}:\n" + "\n".join(different))
    shutil.rmtree(first)
    return _digest(image)


def differences(one: Path, other: Path) -> Iterator[str]:
    """The names of parts that differ between two folders of builds."""
    for name in (*_RESULTS, *_PARTS):
        if (one / name).exists() != (other / name).exists():
            yield f"{name}: only in one"
        elif (one / name).exists() and _digest(one / name) != _digest(other / name):
            yield name
    if all((folder / "work/root.tar").exists() for folder in (one, other)):
        mine, theirs = _members(one / "work/root.tar"), _members(other / "work/root.tar")
        paths = sorted(mine.keys() | theirs.keys())
        yield from (f"root: /{path}" for path in paths if mine.get(path) != theirs.get(path))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _members(archive: Path) -> dict[str, str]:
    found = {}
    with tarfile.open(archive) as source:
        for it in source:
            stream = source.extractfile(it) if it.isreg() else None
            octets = stream.read() if stream is not None else b""
            what = (it.type, it.mode, it.uid, it.gid, it.mtime, it.linkname, hashlib.sha256(octets).hexdigest())
            found[it.name.removeprefix("./")] = repr(what)
    return found
