"""Waiting for a condition in another process: looked at again and again, with a bound after which the test fails."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
_STEP_S = 0.01


def until(condition: Callable[[], T], what: str, *, patience_s: float = PATIENCE_S) -> T:
    """The first true value of `condition`; AssertionError naming `what` if there is none in `patience_s` seconds."""
    end_s = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end_s, f"waited {patience_s:g} s in vain for: {what}"
        time.sleep(_STEP_S)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody has now."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def is_alive(pid: int) -> bool:
    """Whether process `pid` runs; one that only waits to be reaped does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
