"""Debian's part of the root file system, as a tar archive: mmdebstrap from the locked packages alone.

Runs as root in a mount namespace of its own, or as an ordinary user in mmdebstrap's unshare mode. Made again only when
the lock or what stands here changes. Called by `build`.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from firmware.builder.board import Board, packages
from firmware.builder.debian import Package, fetch, repository
from firmware.builder.run import run, words

# Never installed: nobody reads them on a box without a login.
_LEFT_OUT = ("man", "doc", "locale", "info", "bash-completion", "lintian", "zsh", "gcc", "gdb", "i18n")


def root_archive(board: Board, lock: Sequence[Package], offline: bool) -> Path:
    """The archive's path; it has no kernel, nothing of ours, and no device nodes that matter."""
    mine = [package for package in lock if not is_kernel(package)]
    key = hashlib.sha256()
    for part in (*(package.sha256 for package in mine), inspect.getsource(sys.modules[__name__])):
        key.update(part.encode())
    archive = board.cache / f"debian-{key.hexdigest()[:16]}.tar"
    if archive.exists():
        return archive
    folder = board.cache / "repository"
    shutil.rmtree(folder, ignore_errors=True)
    repository([fetch(package, offline) for package in mine], folder, board.suite)
    beside = archive.with_suffix(".new")
    run(*_command(board, folder, beside))
    beside.replace(archive)
    return archive


def is_kernel(package: Package) -> bool:
    """The kernel is unpacked, not installed: what it depends on makes initial RAM disks, and we make our own."""
    return package.name.startswith("linux-image-")


def _command(board: Board, folder: Path, archive: Path) -> list[str]:
    as_root = os.geteuid() == 0
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    return [
        # What mmdebstrap mounts in the tree ends with the namespace, whatever happens.
        *(["unshare", "--mount"] if as_root else []),
        *("mmdebstrap", f"--mode={'root' if as_root else 'unshare'}", "--variant=essential", "--format=tar"),
        *(f"--architectures={board.architecture}", f"--include={words(list(packages()))}"),
        *("--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Languages none"),
        *excluded,
        *(board.suite, str(archive), f"deb [trusted=yes] copy:{folder} ./"),
    ]
