"""A command run on a kernel that has VLANs and bonds, where the one that runs here was built without: User-Mode Linux.

Its root is this host's, read-only; it needs no privileges and boots in two seconds.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

KERNEL = Path("/usr/bin/linux.uml")
_MODULES = Path("/usr/lib/uml/modules")
_NEEDED = ("8021q", "bonding", "bridge", "veth")
_FINIT_MODULE = 313  # on x86-64, where alone there is this kernel; the C library has no name for it
_END = "the status is "


def run_there(command: list[str], script: Path, timeout_s: float) -> tuple[int, str]:
    """Exit status and output; `script` is a file to be made.

    Raises:
        RuntimeError: the kernel did not come up, or the command did not end.
    """
    places = (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run"), ("tmpfs", "/var/tmp"))
    mounts = "; ".join(f"mount -t {kind} {kind} {place}" for kind, place in places)
    load = f"{shlex.quote(sys.executable)} {shlex.quote(__file__)}"
    script.write_text(
        f"#!/bin/sh\nexec </dev/null 2>&1\n{mounts}\nexport HOME=/run TMPDIR=/var/tmp PYTHONDONTWRITEBYTECODE=1 "
        f"PATH=/usr/sbin:/usr/bin:/sbin:/bin\ncd {shlex.quote(str(Path.cwd()))}\n{load}\n{shlex.join(command)}\n"
        f'echo "{_END}$?"\n{load} halt\n'
    )
    script.chmod(0o755)
    kernel = [str(KERNEL), "mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={script}"]
    kernel += ["con=null", "con0=null,fd:1", "quiet"]
    done = subprocess.run(
        kernel, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s
    )
    output = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    before, found, after = output.rpartition(_END)
    if not found:
        raise RuntimeError(f"the kernel did not get to the end:\n{output[-4000:]}")
    return int(after.split()[0]), before


def _load_modules() -> None:
    """What `modprobe` does, with the dependencies that `modules.dep` names."""
    import ctypes
    import errno
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    directory = _MODULES / os.uname().release
    needs = dict(line.split(":") for line in (directory / "modules.dep").read_text().splitlines())
    loaded = set()

    def load(path: str) -> None:
        if path in loaded:
            return
        loaded.add(path)
        for other in reversed(needs[path].split()):
            load(other)
        with open(directory / path, "rb") as module:
            if libc.syscall(_FINIT_MODULE, module.fileno(), b"", 0) and ctypes.get_errno() != errno.EEXIST:
                raise OSError(ctypes.get_errno(), f"cannot load {path}")

    for path in needs:
        if Path(path).stem in _NEEDED:
            load(path)


def _halt() -> None:
    import ctypes

    ctypes.CDLL(None).reboot(0x4321FEDC)  # RB_POWER_OFF


if __name__ == "__main__":
    _halt() if sys.argv[1:] == ["halt"] else _load_modules()
