"""The package with its hot modules compiled for the image's Python, by that Python: `scripts/compile.py` does the work.

Debian's interpreter and headers, out of the board's locks, and mypyc out of the tests' lock are unpacked into the
cache; the C compiler is this machine's, whose C library must not be newer than the image's. For a board of another
architecture the interpreter is this machine's all the same, of the same release; headers, Python's own record of how
it was built, and the C compiler are the board's, as in any cross-build of Python. Called by `__main__`. `python` serves
the tests, too.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from firmware.builder import board as boards
from firmware.builder import debian
from firmware.builder.board import CACHE, FIRMWARE, ROOT, Board
from firmware.builder.debian import Package, fetch, read_lock
from firmware.builder.run import run

_HEADERS = "libpython3.13-dev"
_PACKAGES = re.compile(
    r"(lib)?python3\.13(-minimal|-stdlib)?|libc6|zlib1g|libexpat1|libssl3t64|libffi8|libsqlite3-0|libbz2-1\.0|liblzma5"
    r"|libstdc\+\+6|libgcc-s1|libuuid1|libzstd1|libtinfo6|libncursesw6|libreadline8t64|libcap2"
)
_TAGS = ("cp313", "abi3", "none")
_PLATFORMS = ("manylinux_2_39", "manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux_2_5", "manylinux2014")


def lock_path(board: Board) -> Path:
    """The file that pins the headers."""
    return FIRMWARE / "boards" / board.name / "compile.lock"


def is_possible(board: Board) -> bool:
    """Whether this machine can compile for the board."""
    return lock_path(board).exists() and _native() is not None


def _native() -> Board | None:
    """The board that has this machine's architecture."""
    found = (boards.load(name) for name in boards.names())
    return next((it for it in found if it.machine == platform.machine() and lock_path(it).exists()), None)


def write_lock(board: Board, lock: Sequence[Package]) -> str:
    """The headers' lock for the Python in `lock`. Raises SystemExit: apt has none of that version."""
    version = next(it.version for it in lock if it.name == "python3.13-minimal")
    return debian.write_lock(debian.resolve_exactly(board, [f"{_HEADERS}={version}"]))


def package(board: Board, offline: bool) -> Path:
    """A folder with the package, as `application.build` wants it.

    Raises:
        SystemExit: it cannot be had or compiled.
    """
    native = _native()
    if native is None:
        raise SystemExit(f"no board is of this machine's architecture, {platform.machine()}: there is no Python for it")
    interpreter = python(native, offline)
    target = interpreter.parent if board.machine == native.machine else _target(board, offline)
    include = target / "usr/include"
    environment = {
        "CPATH": f"{include}/python3.13:{include}",
        "MAILWEIR_COMPILED": str(CACHE / "compiled" / board.machine),
        # The same C on the same sources gives the same octets: no paths of this machine, no times.
        "CFLAGS": f"-ffile-prefix-map={CACHE}=.",
    }
    if target != interpreter.parent:
        environment |= {
            "_PYTHON_HOST_PLATFORM": f"linux-{board.machine}",
            "_PYTHON_SYSCONFIGDATA_NAME": f"_sysconfigdata__{board.machine}-linux-gnu",
            "PYTHONPATH": str(target / "record"),
        }
    said = run(interpreter, "-P", ROOT / "scripts/compile.py", env=environment).decode()
    return Path(said.strip().splitlines()[-1]) / "appliance"


def _target(board: Board, offline: bool) -> Path:
    """A folder with the headers of the board's Python in `usr/include`, and how it was built in `record`."""
    locks = [*read_lock(board.lock.read_text()), *read_lock(lock_path(board).read_text())]
    packages = [it for it in locks if it.name in (_HEADERS, "libpython3.13-stdlib", "libpython3.13-minimal")]
    key = hashlib.sha256(repr(sorted(packages)).encode())
    folder = CACHE / f"headers-{board.name}-{key.hexdigest()[:16]}"
    if not folder.exists():
        with _making(folder, packages, offline) as beside:
            (beside / "record").mkdir()
            for path in (beside / "usr/lib/python3.13").glob("_sysconfigdata_*.py"):
                shutil.copy(path, beside / "record")
    return folder


@contextmanager
def _making(folder: Path, packages: Sequence[Package], offline: bool) -> Iterator[Path]:
    """A new folder with the packages unpacked, which is `folder` once this is left."""
    beside = folder.with_suffix(".new")
    shutil.rmtree(beside, ignore_errors=True)
    for it in packages:
        run("dpkg-deb", "--extract", fetch(it, offline), beside)
    yield beside
    beside.replace(folder)


def python(board: Board, offline: bool) -> Path:
    """The image's Python as a program for this machine, with all of the tests' lock.

    Raises:
        SystemExit: something is not to be had.
    """
    locks = [*read_lock(board.lock.read_text()), *read_lock(lock_path(board).read_text())]
    packages = [it for it in locks if _PACKAGES.fullmatch(it.name) or it.name == _HEADERS]
    pinned = (ROOT / "requirements-test.lock").read_bytes()
    key = hashlib.sha256(pinned + repr((sorted(packages), _WRAPPER)).encode())
    folder = CACHE / f"python-{board.name}-{key.hexdigest()[:16]}"
    if not folder.exists():
        with _making(folder, packages, offline) as beside:
            _install(beside, offline)
            program = beside / "python3.13"
            program.write_text(_WRAPPER)
            program.chmod(0o755)
    return folder / "python3.13"


# By the loader and libraries of that root, so that it needs neither chroot nor the same C library here.
_WRAPPER = """\
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")
export PYTHONHOME="$root/usr" PYTHONPATH="$root/packages${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONDONTWRITEBYTECODE=1
exec "$root"/usr/lib64/ld-linux-x86-64.so.2 --library-path "$root/usr/lib/x86_64-linux-gnu" --argv0 "$0" \\
    "$root/usr/bin/python3.13" "$@"
"""


def _install(folder: Path, offline: bool) -> None:
    """Into `packages` of `folder`; pip verifies the hashes."""
    wheels = CACHE / "wheels-python"
    wheels.mkdir(parents=True, exist_ok=True)
    target = ["--only-binary=:all:", "--python-version=3.13", "--implementation=cp", "--no-deps"]
    target += [f"--abi={tag}" for tag in _TAGS] + [f"--platform={it}_{platform.machine()}" for it in _PLATFORMS]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    there = ["--require-hashes", "--requirement", str(ROOT / "requirements-test.lock")]
    if not offline:
        run(*pip, "download", *target, "--dest", wheels, *there)
    options = ["--no-index", "--find-links", str(wheels), "--no-compile", "--target", str(folder / "packages")]
    run(*pip, "install", *target, *options, *there, env={**os.environ, "PYTHONPATH": ""})
