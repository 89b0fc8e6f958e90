"""The programs that make and take the load: our C sources compiled into the cache, Postfix's tools where installed.

Knows compilers and paths, nothing of SMTP. `traffic` runs what this finds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".cache" / "bench"

_PROGRAMS = {
    "load": (("load.c", "session.c", "body.c"), ("-lssl", "-lcrypto")),
    "sink": (("sink.c",), ()),
}
_HEADERS = ("session.h", "body.h")
_FLAGS = ("-O2", "-Wall", "-Wextra", "-std=gnu11")
_SYSTEM_PATHS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


class MissingTool(Exception):
    """A program that a measurement needs is not installed; the text says which package has it."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    load: Path
    sink: Path
    smtp_source: Path | None
    smtp_sink: Path | None


def find_program(name: str) -> Path | None:
    """Where `name` is, also in the directories that are not in a plain user's PATH."""
    search = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_PATHS))
    found = shutil.which(name, path=search)
    return Path(found) if found else None


def need_program(name: str, package: str) -> Path:
    """As `find_program`.

    Raises:
        MissingTool: not installed.
    """
    found = find_program(name)
    if found is None:
        raise MissingTool(f"{name} is not installed (Debian package {package})")
    return found


def build() -> Toolchain:
    """Compiles what changed since the last time; safe to call from several processes at once.

    Raises:
        MissingTool: no C compiler, or no OpenSSL headers.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "build.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs = {name: _compile(name, sources, libraries) for name, (sources, libraries) in _PROGRAMS.items()}
    return Toolchain(programs["load"], programs["sink"], find_program("smtp-source"), find_program("smtp-sink"))


def _compile(name: str, sources: tuple[str, ...], libraries: tuple[str, ...]) -> Path:
    text = b"".join((HERE / file).read_bytes() for file in (*sources, *_HEADERS))
    target = CACHE / f"{name}-{hashlib.sha256(text + repr(_FLAGS).encode()).hexdigest()[:16]}"
    if target.exists():
        return target
    compiler = need_program("cc", "gcc")
    unfinished = target.with_suffix(".new")
    command: list[str | Path] = [compiler, *_FLAGS, "-o", unfinished, *(HERE / file for file in sources), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingTool(f"cannot compile {name} (Debian packages gcc, libc6-dev, libssl-dev):\n{done.stderr}")
    unfinished.rename(target)
    return target


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-made P-256 certificate for localhost, the same for all: (certificate, key) as PEM files in `folder`."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    openssl = need_program("openssl", "openssl")
    command: list[str | Path] = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key
