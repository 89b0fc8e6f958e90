"""The service for the target's Python: wheels of the lock unpacked here, the package beside them, byte-compiled.

Nothing of the target runs. The bytecode is made by Debian's Python for this machine, of the release that the target
has: it is the same on all architectures. Called by `build`.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from firmware.builder import board as boards
from firmware.builder.board import CACHE, ROOT, Board
from firmware.builder.debian import Package, fetch, read_lock
from firmware.builder.root import unpack
from firmware.builder.run import run
from firmware.builder.tree import left_out

HOME = "usr/lib/mailweir"
_PYTHON = "3.13"
STANDARD_LIBRARY = f"usr/lib/python{_PYTHON}"
# What Debian's Python is made of, as far as it takes to byte-compile.
_INTERPRETER = (
    *("libc6", "zlib1g", "libexpat1"),
    *(f"{prefix}python{_PYTHON}-{part}" for prefix, part in (("", "minimal"), ("lib", "minimal"), ("lib", "stdlib"))),
)
_GLIBC = (36, 35, 34, 31, 28, 27, 26, 17, 12, 5)  # manylinux tags that trixie's libc can load
# Sources of compiled modules, and tests: a third of the size.
_LEFT_OUT = ("*.pyx", "*.pxd", "*.pxi", "*.pyi", "*.c", "*.h", "*.cpp", "bin", "tests", "test", "include")


def build(board: Board, debian: Path, folder: Path, compiled: Path | None, offline: bool) -> None:
    """Fills `folder` with `usr/lib/mailweir/`, and Python's standard library out of the archive `debian`.

    `compiled` is a copy of the package with modules compiled for the target, instead of the one in this tree.
    """
    shutil.rmtree(folder, ignore_errors=True)
    home = folder / HOME
    _unpack_wheels(board, wheels(board, offline), home)
    for pattern in _LEFT_OUT:
        for path in home.rglob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    source = compiled or ROOT / "appliance"
    shutil.copytree(source, home / "appliance", ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyi", "*.c"))
    for library in source.parent.glob("*__mypyc*.so") if compiled else ():
        shutil.copy(library, home)  # where the compiled modules find what they share
    run("tar", "--extract", "--file", debian, "--directory", folder, f"./{STANDARD_LIBRARY}")
    for path in sorted((folder / STANDARD_LIBRARY).rglob("*"), reverse=True):
        if left_out(str(path.relative_to(folder))):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    _byte_compile(interpreter(board, offline), folder)


def interpreter(board: Board, offline: bool) -> Path:
    """The root of Debian's Python for this machine, of the same release as the board's; unpacked once.

    Raises:
        SystemExit: no board's lock has packages for this machine, or the locks have Pythons of different releases.
    """
    here = run("dpkg", "--print-architecture").decode().strip()
    locks = [(it, read_lock(it.lock.read_text())) for it in map(boards.load, boards.names()) if it.lock.exists()]
    # Its own first, if it is for this machine.
    locks.sort(key=lambda it: it[0].name != board.name)
    mine = next((lock for it, lock in locks if it.architecture == here), None)
    if mine is None:
        raise SystemExit(f"no board is of this machine's architecture, {here}: its Python is needed to byte-compile")
    found = [it for it in mine if it.name in _INTERPRETER]
    theirs = next(lock for it, lock in locks if it.name == board.name)
    if _release(found) != _release(theirs):
        raise SystemExit(f"Python is {_release(found)} here and {_release(theirs)} there: lock both boards on one day")
    key = hashlib.sha256("".join(it.sha256 for it in found).encode()).hexdigest()[:16]
    folder = CACHE / f"python-{key}"
    if not folder.exists():
        beside = folder.with_suffix(".new")
        shutil.rmtree(beside, ignore_errors=True)
        for package in found:
            unpack(fetch(package, offline), beside)
        beside.replace(folder)
    return folder


def _release(lock: Sequence[Package]) -> str:
    """Python's release; the form of its bytecode changes only between the numbers before the second dot."""
    version = next(it.version for it in lock if it.name == f"python{_PYTHON}-minimal")
    return ".".join(version.split(".")[:2])


def wheels(board: Board, offline: bool) -> Path:
    """A folder with the wheels of the lock, each of which pip verified."""
    lock = ROOT / "requirements.lock"
    folder = CACHE / "wheels" / f"{board.machine}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if folder.exists():
        return folder
    if offline:
        raise SystemExit("the wheels are not in the cache, and --offline was asked for")
    beside = folder.with_suffix(".new")
    shutil.rmtree(beside, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "download", "--no-deps", "--require-hashes", *_target(board), "--dest", beside, "--requirement", lock)
    beside.replace(folder)
    return folder


def _unpack_wheels(board: Board, folder: Path, home: Path) -> None:
    files = sorted(str(path) for path in folder.iterdir())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "install", "--no-index", "--no-deps", "--no-compile", *_target(board), "--target", home, *files)
    for path in home.glob("*.dist-info/*"):
        if path.name in ("direct_url.json", "RECORD", "INSTALLER", "REQUESTED"):
            path.unlink()  # where they lay on the build machine


def _target(board: Board) -> list[str]:
    platforms = [f"--platform=manylinux_2_{minor}_{board.machine}" for minor in _GLIBC]
    platforms.append(f"--platform=manylinux2014_{board.machine}")
    abis = [f"--abi={abi}" for abi in ("cp313", "abi3", "none")]
    return ["--only-binary=:all:", f"--python-version={_PYTHON}", "--implementation=cp", *abis, *platforms]


def _byte_compile(interpreter: Path, folder: Path) -> None:
    """By the loader and libraries of that root, so that it needs neither chroot nor the Python installed here."""
    loader = next(interpreter.glob("usr/lib64/ld-linux-*.so.*"), None) or next(
        interpreter.glob("usr/lib/*/ld-linux-*.so.*")
    )
    libraries = next(interpreter.glob("usr/lib/*-linux-gnu"))
    python: list[str | Path] = [loader, "--library-path", libraries, interpreter / f"usr/bin/python{_PYTHON}", "-S"]
    # Unchecked: the root is read-only, nobody needs to look whether a source is newer.
    options = ["-q", "-s", str(folder), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    environment = {"PYTHONHOME": str(interpreter / "usr"), "PYTHONDONTWRITEBYTECODE": "1"}
    run(*python, "-m", "compileall", *options, folder / HOME, folder / STANDARD_LIBRARY, env=environment)
