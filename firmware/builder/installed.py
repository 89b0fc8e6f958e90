"""What the scripts of Debian's packages would have left on the root, made from the packages' own files. Pure.

Found by reading the `postinst` of every package in the locks. Not made, since nothing on the box reads it: PAM's common
files, the debconf database, systemd's presets (the overlay links the units that run), the hashed links beside the
bundle of certificates, ld.so.cache (Debian's loader looks in the multiarch folders by itself), and what lies in /var,
which is memory. Python's bytecode is made by `application`. Called by `root`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from fnmatch import fnmatch

_READ = (
    "usr/share/base-passwd/*.master", "usr/lib/sysusers.d/*.conf", "usr/share/ca-certificates/*.crt",
    "usr/share/libc-bin/nsswitch.conf", "usr/share/base-files/profile", "usr/share/debianutils/shells",
)  # fmt: skip
# The one that update-alternatives would choose, if it is there.
_ALTERNATIVES = {"awk": "mawk", "which": "which.debianutils", "pager": "more"}
ALIASES = ("bin", "sbin", "lib", "lib64")
"""Folders that the merged /usr takes the place of."""
# System users made by a script instead of a line in sysusers.d.
_BY_SCRIPT = {"usr/sbin/unbound": "unbound"}
_HIGHEST = 999
_HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def read_by_scripts(path: str) -> bool:
    """Whether `additions` wants to see the file."""
    return any(fnmatch(path, pattern) for pattern in _READ)


def additions(files: Mapping[str, bytes], paths: Set[str]) -> dict[str, bytes | str]:
    """Files, and targets of symbolic links, by path; `files` are those asked for, `paths` all that were unpacked."""
    made: dict[str, bytes | str] = {"etc/hosts": _HOSTS, "etc/environment": b"", "etc/mtab": "../proc/self/mounts"}
    for name in ALIASES:
        if any(path.startswith(f"usr/{name}/") for path in paths):
            made[name] = f"usr/{name}"
    for name, target in _ALTERNATIVES.items():
        if f"usr/bin/{target}" in paths:
            made[f"usr/bin/{name}"] = target
    for source, target in (
        ("usr/share/libc-bin/nsswitch.conf", "etc/nsswitch.conf"),
        ("usr/share/base-files/profile", "etc/profile"),
        ("usr/share/debianutils/shells", "etc/shells"),
    ):
        if source in files:
            made[target] = files[source]
    bundle = [files[path].strip() + b"\n" for path in sorted(files) if path.startswith("usr/share/ca-certificates/")]
    made["etc/ssl/certs/ca-certificates.crt"] = b"".join(bundle)
    return made | _accounts(files, paths)


def _accounts(files: Mapping[str, bytes], paths: Set[str]) -> dict[str, bytes | str]:
    """passwd, group and shadow: Debian's fixed ones, then those of sysusers.d, numbered downwards as systemd does.

    Nobody has a password.
    """
    passwd = files["usr/share/base-passwd/passwd.master"].decode().splitlines()
    group = files["usr/share/base-passwd/group.master"].decode().splitlines()
    passwd = [line.replace(":*:", ":x:", 1) for line in passwd]
    group = [line.replace(":*:", ":x:", 1) for line in group]
    users = {line.split(":")[0] for line in passwd}
    groups = {line.split(":")[0] for line in group}
    taken = {int(line.split(":")[2]) for line in (*passwd, *group)}
    free = (number for number in range(_HIGHEST, 100, -1) if number not in taken)
    for kind, name, comment in _wanted(files, paths):
        if name in groups:
            continue
        number = next(free)
        groups.add(name)
        group.append(f"{name}:x:{number}:")
        if kind == "u" and name not in users:
            users.add(name)
            passwd.append(f"{name}:x:{number}:{number}:{comment}:/:/usr/sbin/nologin")
    shadow = [f"{line.split(':')[0]}:*:20000::::::" for line in passwd]
    return {
        f"etc/{name}": "".join(f"{line}\n" for line in lines).encode()
        for name, lines in (("passwd", passwd), ("group", group), ("shadow", shadow))
    }


def _wanted(files: Mapping[str, bytes], paths: Set[str]) -> list[tuple[str, str, str]]:
    """Kind, name and comment of the users and groups whose number is the system's choice; sysusers.d(5)."""
    found = [("u", name, "") for program, name in _BY_SCRIPT.items() if program in paths]
    for path in sorted(files):
        if not path.startswith("usr/lib/sysusers.d/"):
            continue
        for line in files[path].decode().splitlines():
            kind, _, rest = line.strip().partition(" ")
            name, number, *more = [*rest.split(None, 2), "", ""][:3]
            if kind in ("u", "u!", "g") and number in ("-", ""):
                comment = more[0].partition('"')[2].partition('"')[0] if more else ""
                found.append((kind[0], name, comment))
    return found
