"""The listening sockets: from systemd where it passes them, else bound here and given to systemd to keep.

An entry of `[[listen]]` takes the passed socket that has its `fd_name`, else the one with its very address, else binds
one. What is passed and not wanted is closed, and systemd told to forget it. So the sockets follow the configuration,
and outlive the process: while it starts anew, whoever connects waits in the queue of the socket and is not refused.
Sockets come from a socket unit, or from systemd's store of descriptors, which needs no unit that says the
configuration's addresses a second time. Called by `mtad`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from appliance.config.schema import Config, Listen
from appliance.core.errors import ConfigError
from appliance.daemon.notify import forget_descriptor, store_descriptor

_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
BACKLOG = 1024


def bind_all(config: Config) -> list[tuple[Listen, socket.socket]]:
    """A listening socket for each `[[listen]]` entry; ConfigError names the entry that cannot have one."""
    passed = passed_sockets(os.environ, os.getpid())
    chosen = [(listen, _take(passed, listen)) for listen in config.listen]
    for name, sock in passed:  # before anything is bound: one of these may be on the same port of another address
        forget_descriptor(name)
        sock.close()
    sockets = []
    for listen, found in chosen:
        sock = found or bind(listen)
        if found is None:
            store_descriptor(_stored_name(listen), sock.fileno())
        sockets.append((listen, sock))
    return sockets


def _take(passed: list[tuple[str, socket.socket]], listen: Listen) -> socket.socket | None:
    """The passed socket for the entry, which is no longer in `passed` then."""
    for wanted in (listen.fd_name, _stored_name(listen)):
        for place, (name, sock) in enumerate(passed):
            if (wanted and name == wanted) or (wanted != listen.fd_name and _is_at(sock, listen)):
                del passed[place]
                return sock
    return None


def _is_at(sock: socket.socket, listen: Listen) -> bool:
    host, port = _host_and_port(listen)
    return bool(sock.family == _family(host) and sock.getsockname()[:2] == (host, port))


def _stored_name(listen: Listen) -> str:
    """For systemd's store, which has no colons in its names; sd_pid_notify_with_fds(3)."""
    return "listen-" + listen.address.replace(":", "_")


def passed_sockets(environment: Mapping[str, str], pid: int) -> list[tuple[str, socket.socket]]:
    """Listening sockets that systemd passed to process `pid`, with their names."""
    if environment.get("LISTEN_PID") != str(pid):
        return []
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for number in range(int(environment.get("LISTEN_FDS", "0"))):
        sock = socket.socket(fileno=_FIRST_PASSED_FD + number)
        sock.set_inheritable(False)
        sock.setblocking(False)
        found.append((names[number] if number < len(names) else "", sock))
    return found


def _host_and_port(listen: Listen) -> tuple[str, int]:
    host, _, port = listen.address.rpartition(":")
    return host.strip("[]"), int(port)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bind(listen: Listen) -> socket.socket:
    """Binds and listens at `listen.address`, `host:port` or `[v6]:port`.

    Raises:
        ConfigError: in use, not ours, or no permission.
    """
    host, port = _host_and_port(listen)
    family = _family(host)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it; a reply must not wait for the client's delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f'[[listen]] "{listen.name}": cannot listen on {listen.address}: {error.strerror}; '
            "free the port, choose another address, or run with the right to bind it"
        ) from error
    return sock
