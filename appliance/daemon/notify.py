"""Tells systemd how it goes (sd_notify(3)): ready, stopping, alive. Does nothing where there is no systemd."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Sends `state`, as in `READY=1`. Never raises: a service that nobody watches is still a service."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        sock.send(state.encode())


def watchdog_interval_s(pid: int) -> float | None:
    """How often systemd wants to hear WATCHDOG=1, with a margin; None: it does not."""
    if os.environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    raw_microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(raw_microseconds) / 3e6 if raw_microseconds.isdecimal() and int(raw_microseconds) else None
