"""Postfix, twice: with its queue on disk, and as a before-queue proxy (`smtpd_proxy_filter`) straight to the sink.

An instance of its own in the service's folder: own configuration, queue and data directory, `master` in the foreground,
no chroot, nothing of the system's instance touched. Needs root, and the users of the package. Settings that would slow
it on loopback without being its work are relaxed (inflow delay, name look-up); its log goes to syslog as by default,
so where nothing listens there, logging costs it nothing. Called by `peers`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.bench.service import Service
from tests.bench.toolchain import MissingTool, need_program

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {commands}
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.bench.example
mydestination =
relay_domains = example.test
relayhost = [127.0.0.1]:{next_hop_port}
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
alias_maps =
alias_database =
message_size_limit = 104857600
mailbox_size_limit = 0
default_process_limit = 250
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
in_flow_delay = 0
{tls}
"""

_TLS = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = {key}, {certificate}
smtpd_tls_session_cache_database =
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd{proxy}
pickup unix n - n 60 1 pickup
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
"""

# (directory, belongs to the mail owner, mode), after postfix-files(5)
_QUEUE_DIRECTORIES = [
    *((name, True, 0o700) for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold")),
    *((name, True, 0o700) for name in ("incoming", "private", "saved", "trace")),
    ("maildrop", True, 0o730),
    ("public", True, 0o710),
    ("pid", False, 0o755),
]


class PostfixQueue(Service):
    name = "postfix-queue"
    proxy = False

    def launch(self) -> None:
        if os.geteuid() != 0:
            raise MissingTool("Postfix must be started as root")
        self._postqueue = need_program("postqueue", "postfix")
        folder, configuration = self.place.folder, self.place.folder / "etc"
        daemons = _daemon_directory(need_program("postconf", "postfix"))
        configuration.mkdir()
        tls = _TLS.format(key=self.place.key, certificate=self.place.certificate) if self.place.tls else ""
        text = _MAIN.format(
            folder=folder,
            commands=self._postqueue.parent,
            daemons=daemons,
            next_hop_port=self.place.next_hop_port,
            tls=tls,
        )
        (configuration / "main.cf").write_text(text)
        proxy = f" -o smtpd_proxy_filter=127.0.0.1:{self.place.next_hop_port}" if self.proxy else ""
        (configuration / "master.cf").write_text(_MASTER.format(port=self.port, proxy=proxy))
        _make_queue(folder)
        # -d keeps it our child, which is what lets the household account for it and end it.
        self.household.spawn([daemons / "master", "-c", configuration, "-d"], self.log)

    def retry_queue(self) -> None:
        self.run_command([self._postqueue, "-c", self.place.folder / "etc", "-f"])


class PostfixProxy(PostfixQueue):
    name = "postfix-proxy"
    proxy = True


def _daemon_directory(postconf: Path) -> Path:
    done = subprocess.run([postconf, "-dh", "daemon_directory"], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def _make_queue(folder: Path) -> None:
    (folder / "data").mkdir(mode=0o700)
    shutil.chown(folder / "data", "postfix", "postfix")
    queue = folder / "queue"
    queue.mkdir(mode=0o755)
    for name, is_owned, mode in _QUEUE_DIRECTORIES:
        directory = queue / name
        directory.mkdir()
        if is_owned:
            shutil.chown(directory, "postfix", "postdrop" if name in ("maildrop", "public") else None)
        directory.chmod(mode)
