"""A Postfix instance of its own below a temporary folder: as next hop, or as client that relays everything to us.

Nothing of the system's instance is touched. Needs root and the users of the package. Used by the tests with real peers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.conditions import free_port, until

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.peer.test
mydestination =
relay_domains = example.test
relayhost = [127.0.0.1]:{relay_port}
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
alias_maps =
alias_database =
message_size_limit = 104857600
mailbox_size_limit = 0
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
in_flow_delay = 0
smtp_tls_security_level = may
smtputf8_enable = yes
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_OWNED = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")


class Postfix:
    """`with Postfix(relay_port) as postfix:` listens at `postfix.port` and relays all it takes to `relay_port`."""

    def __init__(self, relay_port: int) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="mw-postfix-"))
        self._relay_port = relay_port
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        folder = self.folder
        folder.chmod(0o755)
        (folder / "etc").mkdir()
        (folder / "etc/main.cf").write_text(_MAIN.format(folder=folder, relay_port=self._relay_port))
        (folder / "etc/master.cf").write_text(_MASTER.format(port=self.port))
        self._make_queue()
        self._master = subprocess.Popen(
            ["/usr/lib/postfix/sbin/master", "-c", folder / "etc", "-d"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until(lambda: b"daemon started" in self.log, "Postfix to start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.log.decode(errors="replace"))
        assert self._master is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._master.pid, signal.SIGTERM)
        self._master.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> bytes:
        path = self.folder / "maillog"
        return path.read_bytes() if path.exists() else b""

    def _make_queue(self) -> None:
        (self.folder / "data").mkdir(mode=0o700)
        shutil.chown(self.folder / "data", "postfix", "postfix")
        queue = self.folder / "queue"
        queue.mkdir(mode=0o755)
        for name in _OWNED:
            (queue / name).mkdir()
            shutil.chown(queue / name, "postfix")
            (queue / name).chmod(0o700)
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            (queue / name).mkdir()
            shutil.chown(queue / name, "postfix", "postdrop")
            (queue / name).chmod(mode)
        (queue / "pid").mkdir(mode=0o755)
