"""The other end of a cable: a namespace of its own, kept by a child process, in which commands can be run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute

from tests.support.conditions import until


class FarSide:
    """Runs things in the namespace of process `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]

    def take(self, name: str, *addresses: str) -> None:
        """Moves link `name` of this thread's namespace over there, and sets it up."""
        with IPRoute() as ip:
            ip.link("set", index=ip.link_lookup(ifname=name)[0], net_ns_pid=self.pid)
        self.run("ip", "link", "set", name, "up")
        for address in addresses:
            self.run("ip", "address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))

    def run(self, *command: str) -> str:
        return subprocess.run([*self.enter, *command], check=True, capture_output=True, text=True, timeout=30).stdout

    def can_connect(self, host: str, port: int, timeout_s: float) -> bool:
        script = f"import socket; socket.create_connection(({host!r}, {port}), {timeout_s})"
        command = [*self.enter, sys.executable, "-c", script]
        return subprocess.run(command, capture_output=True, timeout=timeout_s + 20, check=False).returncode == 0


@contextmanager
def far_side() -> Iterator[FarSide]:
    here = os.readlink("/proc/thread-self/ns/net")
    child = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        # Until it has its namespace, and has become `sleep`.
        until(lambda: os.readlink(f"/proc/{child.pid}/ns/net") != here, "a namespace")
        until(lambda: "sleep" in Path(f"/proc/{child.pid}/comm").read_text(), "the child's rest")
        yield FarSide(child.pid)
    finally:
        child.kill()
        child.wait()
