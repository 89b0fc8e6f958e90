"""Tells systemd how it goes (sd_notify(3)): ready, stopping, alive; gives it descriptors to keep over a restart.

Does nothing where there is no systemd.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Sends `state`, as in `READY=1`. Never raises: a service that nobody watches is still a service."""
    _send(state, [])


def store_descriptor(name: str, descriptor: int) -> None:
    """Has systemd keep a copy of `descriptor`, which it passes to the service's next process as `name`."""
    _send(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", [descriptor])


def forget_descriptor(name: str) -> None:
    """Has systemd close the copies that it keeps as `name`."""
    _send(f"FDSTOREREMOVE=1\nFDNAME={name}", [])


def is_watched() -> bool:
    """Whether there is a systemd to tell."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def _send(state: str, descriptors: list[int]) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        socket.send_fds(sock, [state.encode()], descriptors)


def watchdog_interval_s(pid: int) -> float | None:
    """How often systemd wants to hear WATCHDOG=1, with a margin; None: it does not."""
    if os.environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    raw_microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(raw_microseconds) / 3e6 if raw_microseconds.isdecimal() and int(raw_microseconds) else None
