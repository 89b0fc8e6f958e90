"""Exim with `control = cutthrough_delivery`: it passes the body on while it spools it, and forgets that at the 250.

Its Debian package conflicts with Postfix, so it is downloaded and unpacked into the cache instead of being installed.
Debian's binary insists on the user `Debian-exim`; a private mount namespace with copies of passwd and group that name
it gives it that without changing the machine. Needs root and the `apt-get` client. Called by `peers`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.bench.service import Service
from tests.bench.toolchain import CACHE, MissingTool, need_program

_PACKAGES = ("exim4-daemon-light", "libidn12")
_UID = 64_987  # of Debian-exim within the namespace; any that is free

_CONFIGURATION = """\
primary_hostname = exim.bench.example
exim_path = {program}
spool_directory = {folder}/spool
log_file_path = {folder}/spool/log/%slog
pid_file_path = {folder}/exim.pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
domainlist relay_to_domains = example.test
acl_smtp_rcpt = accept_rcpt
acl_smtp_data = accept_data
host_lookup =
rfc1413_hosts =
smtp_accept_max = 2000
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
message_size_limit = 100M
queue_run_max = 5
never_users =
{tls}
begin acl
accept_rcpt:
  accept domains = +relay_to_domains
         control = cutthrough_delivery
accept_data:
  accept
begin routers
sink:
  driver = manualroute
  domains = +relay_to_domains
  transport = to_sink
  route_list = * 127.0.0.1 byname
  self = send
  no_more
begin transports
to_sink:
  driver = smtp
  port = {next_hop_port}
  allow_localhost
  hosts_try_fastopen =
begin retry
* * F,1h,1m
"""

_TLS = """\
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
"""

_BIND_AND_EXEC = 'mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/group && shift 2 && exec "$@"'


class Exim(Service):
    name = "exim-cutthrough"

    def launch(self) -> None:
        if os.geteuid() != 0:
            raise MissingTool("Exim must be started as root")
        program, libraries = _unpack()
        folder = self.place.folder
        spool = folder / "spool"
        spool.mkdir()
        os.chown(spool, _UID, _UID)
        tls = "tls_advertise_hosts ="
        if self.place.tls:
            key = folder / "key.pem"  # Exim reads it as its own user
            key.write_bytes(self.place.key.read_bytes())
            os.chown(key, _UID, _UID)
            tls = _TLS.format(certificate=self.place.certificate, key=key)
        file = folder / "exim.conf"
        file.write_text(
            _CONFIGURATION.format(
                program=program, folder=folder, port=self.port, next_hop_port=self.place.next_hop_port, tls=tls
            )
        )
        users, groups = folder / "passwd", folder / "group"
        users.write_text(Path("/etc/passwd").read_text() + f"Debian-exim:x:{_UID}:{_UID}::{spool}:/usr/sbin/nologin\n")
        groups.write_text(Path("/etc/group").read_text() + f"Debian-exim:x:{_UID}:\n")
        command: list[str | Path] = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _BIND_AND_EXEC]
        command += ["sh", users, groups, program, "-C", file, "-bdf", "-q30m"]
        self.household.spawn(command, self.log, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)})


def _unpack() -> tuple[Path, Path]:
    """(program, directory of its libraries), downloaded once."""
    folder = CACHE / "exim"
    program = folder / "root/usr/sbin/exim4"
    if not program.exists():
        apt = need_program("apt-get", "apt")
        unpack = need_program("dpkg-deb", "dpkg")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([apt, "download", *_PACKAGES], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingTool(f"Exim's packages cannot be downloaded: {done.stderr.strip()}")
        for package in folder.glob("*.deb"):
            subprocess.run([unpack, "-x", package, folder / "root"], check=True)
    libraries = next((folder / "root/usr/lib").glob("*/libidn.so.12")).parent
    return program, libraries
