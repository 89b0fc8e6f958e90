"""systemd-networkd without systemd: on a `/run` of its own, in the namespace where it is started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = """\
mount --make-rprivate /
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/run" /run
mount -t sysfs -o ro sysfs /sys
exec /lib/systemd/systemd-networkd
"""


class Networkd:
    """Its files are in `run_dir`, which programmes in the test see as well."""

    def __init__(self, directory: Path, enter: Sequence[str] = ()) -> None:
        self.run_dir = directory / "run"
        self._directory = directory
        self._enter = enter
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("network", "netif/links", "netif/leases", "networkd.conf.d"):
            (self.run_dir / "systemd" / name).mkdir(parents=True)
        # It wants a user to turn into. In a user namespace there is none but root, and a read-only /sys tells it
        # that nobody waits on udev here.
        (directory / "passwd").write_text("root:x:0:0::/root:/bin/sh\nsystemd-network:x:0:0::/:/bin/false\n")

    def restart(self) -> None:
        """With the files as they are now."""
        self.stop()
        command = [*self._enter, "unshare", "--mount", "sh", "-ec", _SCRIPT, "sh", str(self._directory)]
        environment = {**os.environ, "SYSTEMD_LOG_TARGET": "console"}
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def stop(self) -> None:
        """Leases go, as at the end of the real one."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None
