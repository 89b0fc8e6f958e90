"""The listening sockets: from systemd where it passes them (socket activation), else bound here."""

from __future__ import annotations

import os
import socket

from appliance.config.schema import Config, Listen
from appliance.core.errors import ConfigError

_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
BACKLOG = 1024


def bind_all(config: Config) -> list[tuple[Listen, socket.socket]]:
    """A listening socket for each `[[listen]]` entry; ConfigError names the entry that cannot have one."""
    passed = passed_sockets(os.environ, os.getpid())
    sockets = []
    for listen in config.listen:
        sock = passed.get(listen.fd_name) if listen.fd_name else None
        sockets.append((listen, sock if sock is not None else bind(listen)))
    return sockets


def passed_sockets(environment: os._Environ[str] | dict[str, str], pid: int) -> dict[str, socket.socket]:
    """Sockets that systemd passed to process `pid`, by name."""
    if environment.get("LISTEN_PID") != str(pid):
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = {}
    for number in range(int(environment.get("LISTEN_FDS", "0"))):
        if number < len(names):
            found[names[number]] = socket.socket(fileno=_FIRST_PASSED_FD + number)
    return found


def bind(listen: Listen) -> socket.socket:
    """Binds and listens at `listen.address`, `host:port` or `[v6]:port`.

    Raises:
        ConfigError: in use, not ours, or no permission.
    """
    host, _, port = listen.address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it; a reply must not wait for the client's delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, int(port)))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f'[[listen]] "{listen.name}": cannot listen on {listen.address}: {error.strerror}; '
            "free the port, choose another address, or run with the right to bind it"
        ) from error
    return sock
