"""Debian's part of the root, as a tar archive: the locked packages unpacked, and what their scripts would have done.

No package's script is run, so that a root of another architecture needs neither an emulator nor root's rights nor a
mount, and takes seconds (mmdebstrap: 81 s for amd64; for arm64 under emulation 20 minutes). What the scripts of these
packages would have left is little, and is made by `installed`. Made again only when the lock or what stands here
changes. Called by `build`.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from firmware.builder import installed
from firmware.builder.board import Board
from firmware.builder.debian import Package, fetch, is_kernel

# Nobody reads them on a box without a login.
_LEFT_OUT = ("man", "doc", "locale", "info", "bash-completion", "lintian", "zsh", "gcc", "gdb", "i18n", "zoneinfo")


def root_archive(board: Board, lock: Sequence[Package], offline: bool) -> Path:
    """The archive's path; it has no kernel, nothing of ours, and no device nodes."""
    mine = [it for it in lock if not is_kernel(it.name) and it.name not in board.boot_packages]
    key = hashlib.sha256()
    for part in (*(it.sha256 for it in mine), *map(inspect.getsource, (sys.modules[__name__], installed))):
        key.update(part.encode())
    archive = board.cache / f"debian-{key.hexdigest()[:16]}.tar"
    if archive.exists():
        return archive
    beside = archive.with_suffix(".new")
    with tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as out:
        _write(out, [(it.name, fetch(it, offline)) for it in mine])
    beside.replace(archive)
    return archive


def unpack(file: Path, folder: Path) -> Path:
    """The package's files below `folder`, for tools of the build."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "--extract", str(file), str(folder)], check=True)
    return folder


@contextmanager
def members(file: Path) -> Iterator[tarfile.TarFile]:
    """The files of a Debian package, as a stream.

    Raises:
        SystemExit: dpkg-deb cannot read it.
    """
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as process:
        stream: IO[bytes] | None = process.stdout
        if stream is None:
            raise SystemExit("dpkg-deb has no output")
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            yield archive
        stream.read()  # what tar pads with, or dpkg-deb would die of a closed pipe
    if process.returncode:
        raise SystemExit(f"{file}: dpkg-deb ended with status {process.returncode}")


def _write(out: tarfile.TarFile, packages: Sequence[tuple[str, Path]]) -> None:
    """All files of `packages` and what their scripts would add.

    Raises:
        SystemExit: two packages bring the same file; one of them would be diverted.
    """
    owner: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    for name, file in packages:
        with members(file) as archive:
            for member in archive:
                path = _place(member.name)
                alias = member.issym() and member.name.removeprefix("./") in installed.ALIASES
                if not path or alias or any(fnmatch(path, f"usr/share/{part}/*") for part in _LEFT_OUT):
                    continue
                if path in owner:
                    if member.isdir():
                        continue
                    raise SystemExit(f"{path} is in {owner[path]} and in {name}")
                owner[path] = name
                member.name = f"./{path}"
                if member.islnk():
                    member.linkname = f"./{_place(member.linkname)}"
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None and installed.read_by_scripts(path):
                    kept[path] = stream.read()
                    stream = io.BytesIO(kept[path])
                out.addfile(member, stream)
    for path, content in installed.additions(kept, frozenset(owner)).items():
        if path not in owner:
            _add(out, path, content)


def _place(name: str) -> str:
    """The path without a leading slash, in the merged /usr."""
    path = name.removeprefix("./").strip("/")
    return f"usr/{path}" if path.partition("/")[0] in installed.ALIASES else path


def _add(out: tarfile.TarFile, path: str, content: bytes | str) -> None:
    member = tarfile.TarInfo(f"./{path}")
    if isinstance(content, str):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, content, 0o777
        out.addfile(member)
        return
    member.size = len(content)
    member.mode = 0o640 if path.endswith("shadow") else 0o644
    member.gid = 42 if path.endswith("shadow") else 0
    out.addfile(member, io.BytesIO(content))
