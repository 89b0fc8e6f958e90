"""Debian's packages, pinned: which ones (`resolve`, by apt and its signatures), fetched and verified, as a repository.

The lock holds name, version, SHA-256 and path of each; what lies in the cache is used without asking anybody. Called
by `image lock` and by `root`.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from firmware.builder.board import CACHE, Board, packages
from firmware.builder.run import run

_DATE = "Thu, 01 Jan 2026 00:00:00 UTC"  # apt wants one
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_ESSENTIAL = "?and(?essential,?not(?exact-name(apt)))"  # apt is no use on a root that is never written
_FILE = re.compile(r"^'[^']+' ([^_\s]+)_([^_\s]+)_\S+\.deb ", re.MULTILINE)
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")


@cache
def mirror(label: str) -> str:
    """The mirror of `Debian` or `Debian-Security`: MAILWEIR_DEBIAN or MAILWEIR_DEBIAN_SECURITY, or the one that this
    machine's own apt uses.

    Raises:
        SystemExit: there is neither.
    """
    variable = f"MAILWEIR_{label.upper().replace('-', '_')}"
    if variable in os.environ:
        return os.environ[variable].rstrip("/")
    for line in run("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)").decode().splitlines():
        name, _, uri = line.partition(" ")
        if name == label:
            return uri.rstrip("/")
    raise SystemExit(f"apt here knows no mirror of {label}; run apt-get update, or set {variable}")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One line of the lock."""

    name: str
    version: str
    sha256: str
    path: str
    """Below the mirror; `security/` before it means the other one."""

    @property
    def uri(self) -> str:
        """Where it is had."""
        inner = self.path.removeprefix("security/")
        return f"{mirror('Debian-Security' if inner != self.path else 'Debian')}/{inner}"

    @property
    def file(self) -> Path:
        """Where it lies once it was fetched; named by what is in it."""
        return CACHE / "debs" / f"{self.name}_{self.sha256[:16]}.deb"


def read_lock(text: str) -> list[Package]:
    """The lock's lines; `#` begins a comment."""
    return [Package(*line.split()) for line in text.splitlines() if line and not line.startswith("#")]


def write_lock(found: Sequence[Package]) -> str:
    """The text that `read_lock` reads."""
    head = "# Written by `scripts/image lock`: name, version, SHA-256, path on the mirror.\n"
    return head + "".join(f"{it.name} {it.version} {it.sha256} {it.path}\n" for it in sorted(found))


def parse_names(printed: str) -> list[tuple[str, str]]:
    """Names and versions in what `apt-get --print-uris` printed; other lines are passed over."""
    return [(name, version.replace("%3a", ":")) for name, version in _FILE.findall(printed)]


def parse_uris(printed: str) -> list[Package]:
    """What `apt-get --print-uris` printed, as packages; other lines are passed over."""
    found, plain, security = [], mirror("Debian"), mirror("Debian-Security")
    for match in filter(None, map(_URI.match, printed.splitlines())):
        name, version, _ = match["file"].removesuffix(".deb").split("_")
        uri = match["uri"]
        path = f"security/{uri[len(security) + 1 :]}" if uri.startswith(security + "/") else uri[len(plain) + 1 :]
        found.append(Package(name, version.replace("%3a", ":"), match["sha256"], path))
    return found


def resolve(board: Board) -> list[Package]:
    """Everything that the board's image needs today, by apt; the kernel without what it would pull in.

    Raises:
        SystemExit: apt found no answer.
    """
    with TemporaryDirectory() as folder:
        apt = _apt(Path(folder), board)
        run("apt-get", *apt, "update")
        names = [_ESSENTIAL, "base-files", *packages(), *board.packages]
        wanted = run("apt-get", *apt, "install", "--yes", "--print-uris", *names).decode()
        # `install` prints weak hashes, or none; `download` prints the strong ones.
        exact = [f"{name}={version}" for name, version in parse_names(wanted)]
        exact += [*_kernel(apt, board), *board.boot_packages]
        return parse_uris(run("apt-get", *apt, "download", "--print-uris", *exact).decode())


def is_kernel(name: str) -> bool:
    """Whether the package is the kernel, its drivers or its device trees: unpacked, not installed, for what they depend
    on makes initial RAM disks, and we make our own."""
    return re.match(r"linux-(image|binary|modules|base)-\d", name) is not None


def _kernel(apt: Sequence[str], board: Board) -> list[str]:
    """The packages of the kernel that `board.kernel` names in its suite: one, or since Linux 6.17 several.

    Raises:
        SystemExit: it names none.
    """
    printed = run("apt-get", *apt, "download", "--print-uris", f"{board.kernel}/{board.kernel_suite}").decode()
    found: dict[str, None] = {}
    ahead = [f"{name}={version}" for name, version in parse_names(printed)]
    while ahead:
        for line in run("apt-cache", *apt, "show", ahead.pop()).decode().splitlines():
            key, _, depends = line.partition(": ")
            for name, version in re.findall(r"(\S+) \(= ([^)]+)\)", depends) if key == "Depends" else ():
                exact = f"{name}={version}"
                if is_kernel(name) and exact not in found:
                    found[exact] = None
                    ahead.append(exact)
    if not found:
        raise SystemExit(f"{board.kernel} names no kernel in {board.kernel_suite}")
    return list(found)


def resolve_exactly(board: Board, versions: Sequence[str]) -> list[Package]:
    """The packages in `versions`, each as NAME=VERSION, without what they depend on.

    Raises:
        SystemExit: apt knows one of them not.
    """
    with TemporaryDirectory() as folder:
        apt = _apt(Path(folder), board)
        run("apt-get", *apt, "update")
        return parse_uris(run("apt-get", *apt, "download", "--print-uris", *versions).decode())


def _apt(folder: Path, board: Board) -> list[str]:
    """Options that make apt look at nothing of this machine."""
    for name in ("state/lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/trusted.gpg.d"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    parts = f"[signed-by={_KEYRING} arch={board.architecture}]"
    plain, security = mirror("Debian"), mirror("Debian-Security")
    suites = [(plain, board.suite), (plain, f"{board.suite}-updates"), (security, f"{board.suite}-security")]
    if board.kernel_suite != board.suite:
        suites.append((plain, board.kernel_suite))  # backports: apt takes nothing from there that was not asked for so
    sources = "".join(f"deb {parts} {mirror} {suite} main non-free-firmware\n" for mirror, suite in suites)
    (folder / "sources.list").write_text(sources)
    settings = {
        "APT::Architecture": board.architecture,
        "APT::Architectures": board.architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Dir::State": str(folder / "state"),
        "Dir::State::status": str(folder / "status"),
        "Dir::Cache": str(folder / "cache"),
        "Dir::Etc::SourceList": str(folder / "sources.list"),
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
    }
    return [f"-o{key}={value}" for key, value in settings.items()]


def fetch(package: Package, offline: bool) -> Path:
    """The package's file, downloaded unless it is there.

    Raises:
        SystemExit: not to be had, or not what the lock says.
    """
    if package.file.exists():
        return package.file
    if offline:
        raise SystemExit(f"{package.name} {package.version} is not in the cache, and --offline was asked for")
    try:
        with urllib.request.urlopen(package.uri, timeout=60) as answer:
            octets = answer.read()
    except OSError as error:
        raise SystemExit(f"{package.uri}: {error}; if the mirror has a newer one: scripts/image lock") from error
    if hashlib.sha256(octets).hexdigest() != package.sha256:
        raise SystemExit(f"{package.uri} is not what the lock says")
    package.file.parent.mkdir(parents=True, exist_ok=True)
    beside = package.file.with_suffix(".new")
    beside.write_bytes(octets)
    beside.replace(package.file)
    return package.file


def repository(files: Sequence[Path], folder: Path, suite: str) -> None:
    """Makes `folder` a repository that holds just `files`, for apt; trusted, since the lock's hashes were verified."""
    folder.mkdir(parents=True, exist_ok=True)
    stanzas = []
    for file in files:
        octets = file.read_bytes()
        link = folder / file.name
        if not link.exists():
            os.link(file, link)
        control = run("dpkg-deb", "--field", file).decode().strip()
        sha256 = hashlib.sha256(octets).hexdigest()
        stanzas.append(f"{control}\nFilename: ./{file.name}\nSize: {len(octets)}\nSHA256: {sha256}\n")
    index = "\n".join(stanzas).encode()
    (folder / "Packages").write_bytes(index)
    # mmdebstrap looks for the essential packages of the suite that it was told, by its name.
    digest = f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    (folder / "Release").write_text(f"Suite: {suite}\nCodename: {suite}\nDate: {_DATE}\n{digest}")
