"""The service for the target's Python: wheels of the lock unpacked here, the package beside them, byte-compiled.

Nothing of the target runs but its interpreter, to byte-compile, and that one may be of the build machine's
architecture: bytecode is the same on all. Called by `build`.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from firmware.builder.board import CACHE, ROOT, Board
from firmware.builder.run import run

HOME = "usr/lib/mailweir"
_PYTHON = "3.13"
_GLIBC = (36, 35, 34, 31, 28, 27, 26, 17, 12, 5)  # manylinux tags that trixie's libc can load
# Sources of compiled modules, and tests: a third of the size.
_LEFT_OUT = ("*.pyx", "*.pxd", "*.pxi", "*.pyi", "*.c", "*.h", "*.cpp", "bin", "tests", "test", "include")


def build(board: Board, interpreter: Path, folder: Path, compiled: Path | None, offline: bool) -> None:
    """Fills `folder` with `usr/lib/mailweir/`.

    `interpreter` is the unpacked root of a Debian with the target's Python; `compiled` a copy of the package with
    modules compiled for the target, instead of the one in this tree.
    """
    shutil.rmtree(folder, ignore_errors=True)
    home = folder / HOME
    _unpack_wheels(board, _wheels(board, offline), home)
    for pattern in _LEFT_OUT:
        for path in home.rglob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    source = compiled or ROOT / "appliance"
    shutil.copytree(source, home / "appliance", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    _byte_compile(interpreter, folder)


def _wheels(board: Board, offline: bool) -> Path:
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


def _unpack_wheels(board: Board, wheels: Path, home: Path) -> None:
    files = sorted(str(path) for path in wheels.iterdir())
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
    """By the loader and libraries of that root, so that it needs neither chroot nor this machine's Python."""
    loader = next(interpreter.glob("usr/lib64/ld-linux-*.so.*"), None) or next(
        interpreter.glob("usr/lib/*/ld-linux-*.so.*")
    )
    libraries = next(interpreter.glob("usr/lib/*-linux-gnu"))
    python: list[str | Path] = [loader, "--library-path", libraries, interpreter / f"usr/bin/python{_PYTHON}", "-S"]
    # Unchecked: the root is read-only, nobody needs to look whether a source is newer.
    options = ["-q", "-s", str(folder), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    environment = {"PYTHONHOME": str(interpreter / "usr"), "PYTHONDONTWRITEBYTECODE": "1"}
    run(*python, "-m", "compileall", *options, folder / HOME, env=environment)
