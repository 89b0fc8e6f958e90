"""The table to be measured, and the goals, as data: which loads, against whom, and what ratio is wanted.

Knows no process and no clock. Read by `main`, `measure` and `report`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase

from tests.bench.traffic import Tools

KIB, MIB = 1 << 10, 1 << 20

EVERYBODY = ("haproxy", "postfix-proxy", "postfix-queue", "exim-cutthrough", "aiosmtpd", "haraka")
VARIANTS = ("mailweir+digest", "mailweir+clamd")
STREAMING = ("haproxy", "postfix-proxy")
TLS_PEERS = ("haproxy", "postfix-proxy")
QUEUEING = ("postfix-queue",)

_SIZE_NAME = {4 * KIB: "4K", 64 * KIB: "64K", MIB: "1M", 10 * MIB: "10M", 25 * MIB: "25M"}

# Messages of one measurement of a cheap service: enough CPU time to be counted well, few enough to be done in seconds.
_MESSAGES = {4 * KIB: 3000, 64 * KIB: 1500, MIB: 240, 10 * MIB: 40, 25 * MIB: 20}

# What part of that is enough for the costly ones.
SHARE = {"postfix-queue": 0.3, "exim-cutthrough": 0.2, "aiosmtpd": 0.3, "haraka": 0.3, "postfix-proxy": 0.5}


@dataclass(frozen=True, slots=True)
class Row:
    """One load, and the peers that are measured under it."""

    size_bytes: int
    sessions: int
    peers: tuple[str, ...]
    per_session: int = 1  # messages on one connection
    tls: bool = False
    queued: bool = False  # the next hop is down at intake; drained later
    pipelining: bool = False
    messages: int = 0  # 0: by size

    @property
    def id(self) -> str:
        """`4K-s10-new`, `10M-s10-new-tls`: what --rows matches."""
        parts = [_SIZE_NAME[self.size_bytes], f"s{self.sessions}", "reused" if self.per_session > 1 else "new"]
        parts += ["pipelined"] if self.pipelining else []
        parts += ["tls"] if self.tls else []
        parts += ["queued"] if self.queued else []
        return "-".join(parts)

    @property
    def tools(self) -> Tools:
        """Postfix's tools for small messages on new connections; ours where those are the bottleneck or cannot."""
        simple = self.per_session == 1 and not self.tls and not self.queued and not self.pipelining
        return Tools.POSTFIX if simple and self.size_bytes < MIB else Tools.OWN

    def messages_for(self, service: str) -> int:
        """Messages of one measurement of this service: at least one a session, so that all sessions work at once.

        The same for all in queued rows, where rates are compared and a long run is another thing than a short one.
        """
        share = 1.0 if self.queued else SHARE.get(service, 1.0)
        return max(round((self.messages or _MESSAGES[self.size_bytes]) * share), self.sessions)


ROWS: tuple[Row, ...] = (
    Row(4 * KIB, 10, EVERYBODY + VARIANTS),
    Row(64 * KIB, 10, EVERYBODY + VARIANTS),
    Row(MIB, 10, EVERYBODY + VARIANTS),
    Row(10 * MIB, 10, EVERYBODY + VARIANTS),
    Row(25 * MIB, 10, STREAMING),
    Row(4 * KIB, 1, STREAMING),
    Row(64 * KIB, 1, STREAMING),
    Row(MIB, 1, STREAMING),
    Row(10 * MIB, 1, STREAMING),
    Row(4 * KIB, 100, STREAMING),
    Row(64 * KIB, 100, STREAMING),
    Row(MIB, 100, STREAMING),
    Row(4 * KIB, 10, STREAMING, per_session=100),
    Row(4 * KIB, 10, STREAMING, per_session=100, pipelining=True),
    Row(64 * KIB, 10, STREAMING, per_session=100),
    Row(MIB, 10, STREAMING, per_session=20),
    Row(4 * KIB, 10, TLS_PEERS, tls=True),
    Row(MIB, 10, TLS_PEERS, tls=True),
    Row(10 * MIB, 10, TLS_PEERS, tls=True),
    Row(4 * KIB, 1, QUEUEING, queued=True, messages=1000),
    Row(4 * KIB, 10, QUEUEING, queued=True, messages=3000),
    Row(4 * KIB, 100, QUEUEING, queued=True, messages=6000),
    Row(64 * KIB, 100, QUEUEING, queued=True, messages=4000),
    Row(MIB, 10, QUEUEING, queued=True, messages=300),
)

# --quick: does everything work? Its figures mean little.
QUICK_ROWS: tuple[Row, ...] = (
    Row(4 * KIB, 10, STREAMING, messages=200),
    Row(MIB, 10, STREAMING, messages=20),
    Row(4 * KIB, 10, QUEUEING, queued=True, messages=100),
)


def named(pattern: str, rows: tuple[Row, ...]) -> list[Row]:
    """Rows whose id matches one of the comma-separated shell patterns in `pattern`; all of them for an empty one."""
    parts = [part for part in pattern.split(",") if part]
    return [row for row in rows if not parts or any(fnmatchcase(row.id, part) for part in parts)]


def against(row: Row, peers: tuple[str, ...]) -> Row:
    """The row with only those of its peers, or, for none named, as it is."""
    return replace(row, peers=tuple(peer for peer in row.peers if peer in peers)) if peers else row


class Figure(Enum):
    """What a goal is about; all but the last are ratios of pairs."""

    CPU_OURS_TO_PEER = "our CPU a message / its"
    CPU_PEER_TO_OURS = "its CPU a message / ours"
    RATE_OURS_TO_PEER = "our messages accepted a second / its"
    PROBE = "measured by itself"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and its limit. `where` is a row's id, or a probe's name; `peer` is empty for probes."""

    where: str
    peer: str
    figure: Figure
    limit: float
    at_least: bool
    unit: str = "x"

    def reached(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def _cpu_goals() -> list[Goal]:
    columns = ("4K-s10-new", "64K-s10-new", "1M-s10-new", "10M-s10-new")
    at_least = {
        "postfix-proxy": (3, 4, 4, 3.5),
        "postfix-queue": (10, 12, 7, 6),
        "exim-cutthrough": (14, 14, 11, 10),
        "aiosmtpd": (3, 8, 16, 18),
    }
    goals = [
        Goal(where, "haproxy", Figure.CPU_OURS_TO_PEER, limit, at_least=False)
        for where, limit in zip(columns, (1.4, 1.4, 1.3, 1.2), strict=True)
    ]
    for peer, limits in at_least.items():
        goals += [
            Goal(where, peer, Figure.CPU_PEER_TO_OURS, limit, at_least=True)
            for where, limit in zip(columns, limits, strict=True)
        ]
    return goals


GOALS: tuple[Goal, ...] = (
    *_cpu_goals(),
    Goal("4K-s10-reused", "haproxy", Figure.CPU_OURS_TO_PEER, 2.0, at_least=False),
    Goal("10M-s10-new-tls", "haproxy", Figure.CPU_OURS_TO_PEER, 1.15, at_least=False),
    Goal("4K-s100-new-queued", "postfix-queue", Figure.RATE_OURS_TO_PEER, 6.0, at_least=True),
    Goal("64K-s100-new-queued", "postfix-queue", Figure.RATE_OURS_TO_PEER, 6.0, at_least=True),
    Goal("in flight, largest worker", "", Figure.PROBE, 60.0, at_least=False, unit="MiB"),
    Goal("idle session", "", Figure.PROBE, 8.0, at_least=False, unit="KiB"),
    Goal("added latency p50", "", Figure.PROBE, 300.0, at_least=False, unit="µs"),
    Goal("added latency p99", "", Figure.PROBE, 1000.0, at_least=False, unit="µs"),
    Goal("written by the message path", "", Figure.PROBE, 0.0, at_least=False, unit="bytes a message"),
    Goal("body copies on wire", "", Figure.PROBE, 0.0, at_least=False, unit="a message"),
)
