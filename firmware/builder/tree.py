"""Debian's archive, what is laid over it, and our users, as one archive with one time. Called by `build`.

Owners come from Debian's archive; whatever is ours belongs to root.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

# Needed to install packages, or never: a root that is not written has no package manager.
LEFT_OUT = (
    "boot/*", "dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "var/cache/*", "var/log/*", "var/lib/*", "var/backups/*",
    "etc/apt/*", "etc/dpkg/*", "etc/cron.*", "etc/kernel/*", "etc/logrotate.d/*", "etc/machine-id", "etc/hostname",
    "etc/resolv.conf", "usr/lib/apt/*", "usr/lib/dpkg/*", "usr/share/zoneinfo/*", "usr/share/perl*", "usr/lib/*/perl*",
    "usr/bin/perl*", "usr/share/debconf/*", "usr/share/polkit-1/*", "usr/share/bug/*", "usr/share/man/*",
    "usr/share/doc/*", "usr/share/common-licenses/*", "usr/lib/python3/dist-packages/*", "usr/share/python3/*",
    "usr/lib/python3.13/test/*", "usr/lib/python3.13/idlelib/*", "usr/lib/python3.13/lib2to3/*",
    "usr/lib/python3.13/pydoc_data/*", "usr/lib/python3.13/ensurepip/*", "usr/lib/python3.13/turtle*",
    "usr/share/pixmaps/*", "usr/share/icons/*", "usr/share/initramfs-tools/*", "usr/lib/*/gconv/*",
    "usr/bin/dpkg*", "usr/bin/deb*", "usr/bin/apt*", "usr/bin/localedef",
    "usr/lib/udev/hwdb*", "usr/sbin/unbound-[!a]*", "usr/lib/*/libdb-5*",
    "usr/lib/systemd/system-generators/systemd-gpt-auto-generator",
)  # fmt: skip


def left_out(path: str, patterns: Sequence[str] = LEFT_OUT) -> bool:
    """Whether `path`, without a leading slash, is not taken along from Debian."""
    return any(fnmatch(path, pattern) for pattern in patterns)


def add_users(name: str, octets: bytes, users: Iterable[tuple[str, int]]) -> bytes:
    """`etc/passwd`, `etc/group` or `etc/shadow` with our users, who have neither password nor shell."""
    lines = {
        "etc/passwd": "{0}:x:{1}:{1}:Mailweir:/nonexistent:/usr/sbin/nologin\n",
        "etc/group": "{0}:x:{1}:\n",
        "etc/shadow": "{0}:!*:20000::::::\n",
    }
    return octets + "".join(lines[name].format(*user) for user in users).encode()


def users(sysusers: str) -> list[tuple[str, int]]:
    """Names and numbers in the text of a sysusers.d file; lines are `u NAME NUMBER ...`."""
    fields = [line.split() for line in sysusers.splitlines() if line.startswith("u ")]
    return [(field[1], int(field[2])) for field in fields]


def merge(debian: Path, over: Sequence[Path], ours: Sequence[tuple[str, int]], at_s: int, target: Path) -> None:
    """Writes the archive `target`; of two files with one path, that of the later folder in `over` is taken."""
    laid = dict(item for folder in over for item in _walk(folder))
    with tarfile.open(debian) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:
        for member in source:
            path = member.name.removeprefix("./")
            if path in laid and not member.isdir():
                continue
            laid.pop(path, None)
            if left_out(path) or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                continue
            member.mtime = at_s
            stream = source.extractfile(member) if member.isreg() else None
            if path in ("etc/passwd", "etc/group", "etc/shadow") and stream is not None:
                octets = add_users(path, stream.read(), ours)
                member.size, stream = len(octets), io.BytesIO(octets)
            out.addfile(member, stream)
        for path in sorted(laid):
            _add(out, path, laid[path], at_s)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if "__pycache__" not in path.parts or path.suffix == ".pyc" or path.name == "__pycache__":
            yield str(path.relative_to(folder)), path


def _add(out: tarfile.TarFile, path: str, file: Path, at_s: int) -> None:
    member = out.gettarinfo(str(file), f"./{path}")
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = at_s
    # What git keeps of a mode is whether it can be run; the umask of the build machine does not count.
    member.mode = 0o755 if file.is_dir() or os.access(file, os.X_OK) else 0o644
    if member.isreg():
        with file.open("rb") as stream:
            out.addfile(member, stream)
    else:
        out.addfile(member)


def read_files(archive: Path, wanted: Callable[[str], bool]) -> dict[str, bytes | str]:
    """Octets of files, and targets of symbolic links, by path without a leading slash."""
    found: dict[str, bytes | str] = {}
    with tarfile.open(archive) as source:
        for member in source:
            path = member.name.removeprefix("./")
            if not wanted(path):
                continue
            if member.issym():
                found[path] = member.linkname
            elif member.isreg() and (stream := source.extractfile(member)) is not None:
                found[path] = stream.read()
    return found
