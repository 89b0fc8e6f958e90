"""What a service costs: CPU time, memory and disk writes of all its processes, the dead ones included.

A `Household` starts a service's processes and is asked for running totals. Where cgroup v2 can be written, the kernel
keeps the CPU account to the microsecond in a group of its own; else it is summed from /proc over the tree of processes
and the children that their parents waited for, in clock ticks. Knows nothing of mail. Called by `peers` and `probes`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_JOIN_AND_EXEC = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
_serial = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Of all processes at one moment, in KiB. PSS counts a shared page once; RSS once per process."""

    pss_kib: int
    rss_kib: int
    largest_pss_kib: int  # of the one process that has most


class Household:
    """The processes of one service. Owned by the service; `stop` ends exactly these."""

    def __init__(self, name: str) -> None:
        self._roots: list[subprocess.Popen[bytes]] = []
        self._group = _make_group(name)

    @property
    def method(self) -> str:
        """How CPU time is counted: `cgroup` or `proc`."""
        return "cgroup" if self._group else "proc"

    def spawn(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> int:
        """Starts a root process with its output in `log`; returns its pid."""
        words = [str(word) for word in command]
        if self._group:
            words = ["/bin/sh", "-c", _JOIN_AND_EXEC, str(self._group), *words]
        with open(log, "ab") as output:
            root = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )
        self._roots.append(root)
        return root.pid

    def pids(self) -> list[int]:
        """All live processes of the service."""
        if self._group:
            return [int(line) for line in (self._group / "cgroup.procs").read_text().split()]
        return _descendants([root.pid for root in self._roots if root.poll() is None])

    def has_died(self) -> bool:
        """A root process has ended by itself."""
        return any(root.poll() is not None for root in self._roots)

    def cpu_s(self) -> float:
        """User and system seconds so far, dead children included."""
        if self._group:
            for line in (self._group / "cpu.stat").read_text().splitlines():
                if line.startswith("usage_usec "):
                    return int(line.split()[1]) / 1e6
        return sum(_process_cpu_s(pid) for pid in self.pids())

    def written_bytes(self) -> int:
        """Octets sent to block devices so far; the kernel adds those of children that were waited for."""
        return sum(_io_field(pid, "write_bytes:") for pid in self.pids())

    def memory(self) -> Memory:
        """Memory now. Reading it walks page tables: not to be done often while CPU is being measured."""
        parts = [_rollup_kib(pid) for pid in self.pids()]
        return Memory(
            sum(pss for pss, _ in parts), sum(rss for _, rss in parts), max((pss for pss, _ in parts), default=0)
        )

    def signal(self, number: int) -> None:
        """To the root processes that still run."""
        for root in self._roots:
            if root.poll() is None:
                root.send_signal(number)

    def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM to the roots, SIGKILL to what is left of the service's own processes after `grace_s`."""
        self.signal(signal.SIGTERM)
        deadline_s = time.monotonic() + grace_s
        while self._reap() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        while left := self._reap():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        if self._group:
            _remove_group(self._group)

    def _reap(self) -> list[int]:
        for root in self._roots:
            root.poll()
        return self.pids()


class MemorySampler:
    """Watches a household's memory from a thread: use as a context, then read `peak`."""

    def __init__(self, household: Household, interval_s: float = 0.2) -> None:
        self.peak = Memory(0, 0, 0)
        self._household = household
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemorySampler:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        now = self._household.memory()
        self.peak = Memory(
            max(self.peak.pss_kib, now.pss_kib),
            max(self.peak.rss_kib, now.rss_kib),
            max(self.peak.largest_pss_kib, now.largest_pss_kib),
        )


def _make_group(name: str) -> Path | None:
    """A new cgroup v2 directory below our own; None where there is none that we may write."""
    global _serial
    _serial += 1
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        mount = next(fields[1] for fields in mounts if fields[2] == "cgroup2")
        ours = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        group = Path(mount + ours.rstrip("/")) / f"mailweir-bench-{os.getpid()}-{_serial}-{name}"
        group.mkdir()
    except (OSError, StopIteration):
        return None
    # Making the directory may be allowed where moving a process into it is not.
    trial = subprocess.run(["/bin/sh", "-c", _JOIN_AND_EXEC, str(group), "true"], capture_output=True, check=False)
    if trial.returncode == 0 and "usage_usec" in (group / "cpu.stat").read_text():
        return group
    _remove_group(group)
    return None


def _remove_group(group: Path, patience_s: float = 2.0) -> None:
    # A dead process may hold its group a moment longer; one that stays is empty, and costs nothing.
    deadline_s = time.monotonic() + patience_s
    while group.exists() and time.monotonic() < deadline_s:
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.01)


def _stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat after the command name, which may hold blanks; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _process_cpu_s(pid: int) -> float:
    # utime, stime, cutime, cstime are fields 14 to 17 of proc(5); the first two are cut off here.
    return sum(int(ticks) for ticks in _stat_fields(pid)[11:15]) / _TICKS_PER_S


def _descendants(roots: list[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))) and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    pending = list(roots)
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += children.get(pid, [])
    return found


def _io_field(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def _rollup_kib(pid: int) -> tuple[int, int]:
    """(PSS, RSS) of one process, zeros when it is gone or not ours to read."""
    pss = rss = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                pss = int(line.split()[1])
            elif line.startswith("Rss:"):
                rss = int(line.split()[1])
    return pss, rss
