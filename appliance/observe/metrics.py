"""What is counted: plain integers that the hot path increments, and their names for Prometheus.

One `Counters` a worker process; `snapshot` makes it a value for the control socket, `exposition` turns the
snapshots of all workers into Prometheus' text. Knows no socket (`scrape` serves the page) and no clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

LATENCY_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Snapshot = dict[str, Any]


class Histogram:
    """How often a time fell below each of `LATENCY_BOUNDS_S`."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Counters:
    """What one worker counts. Attributes are incremented where things happen, by the loop's thread only.

    Keys of the dicts are constants of ours, numbers of replies and names of the configuration, never what a peer sent:
    what a peer can choose would grow without bound.
    """

    __slots__ = (
        "_gauges",
        "body_copies",
        "bytes_in",
        "bytes_out",
        "fsyncs",
        "hop_latency",
        "messages",
        "recipients",
        "refusals",
        "scanner_troubles",
        "scanner_wait",
        "sessions_open",
        "sessions_total",
        "spool_bytes",
        "tls_handshakes",
    )

    def __init__(self) -> None:
        self.sessions_open = 0
        self.sessions_total = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.recipients = 0
        self.body_copies = 0
        self.fsyncs = 0
        self.spool_bytes = 0
        self.messages: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By path and action: `counters.messages["ram", "accept"] += 1`."""
        self.refusals: defaultdict[int, int] = defaultdict(int)
        """By reply code."""
        self.hop_latency: defaultdict[str, Histogram] = defaultdict(Histogram)
        """By name of the next hop, from the final dot to its reply: `counters.hop_latency[name].observe(seconds)`."""
        self.scanner_wait: defaultdict[str, Histogram] = defaultdict(Histogram)
        """By scanner, of those that are other processes: from the end of a message to its answer. What a scanner
        computes while the message arrives is not measured: two looks at the clock a read cost more than it tells."""
        self.scanner_troubles: defaultdict[str, int] = defaultdict(int)
        self.tls_handshakes: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By side and outcome: `counters.tls_handshakes["in", "TLSv1.3"] += 1`, or `["in", "failed"]`."""
        self._gauges: dict[str, Callable[[], float | Mapping[str, float]]] = {}

    def gauge(self, name: str, read: Callable[[], float | Mapping[str, float]]) -> None:
        """`read` is called at each snapshot: a number, or numbers by state for the gauges that have one.

        Args:
            name: one of those in `FAMILIES` that no attribute counts, such as `queue_messages`.

        Raises:
            KeyError: there is no such gauge.
        """
        if name not in _BY_NAME or hasattr(self, name):
            raise KeyError(name)
        self._gauges[name] = read

    def snapshot(self) -> Snapshot:
        """All values, fit for JSON: dicts become lists of labels and value."""
        values: Snapshot = {}
        for family in FAMILIES:
            value: Any = getattr(self, family.name, None)
            if family.name in self._gauges:
                value = self._gauges[family.name]()
            if family.labels and value is not None:
                value = [[*_labels(key), _number(number)] for key, number in value.items()]
            if value is not None:
                values[family.name] = value
        return values


class Family(NamedTuple):
    """One metric: where its value comes from, and what Prometheus calls it."""

    name: str
    metric: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()


FAMILIES: Final = (
    Family("sessions_open", "mailweir_sessions_open", "gauge", "SMTP sessions open now"),
    Family("sessions_total", "mailweir_sessions", "counter", "SMTP sessions taken"),
    Family("messages", "mailweir_messages", "counter", "Messages by path and verdict", ("path", "action")),
    Family("bytes_in", "mailweir_received_bytes", "counter", "Octets of message bodies received"),
    Family("bytes_out", "mailweir_sent_bytes", "counter", "Octets of bodies that went to next hops past the queue"),
    Family("recipients", "mailweir_recipients", "counter", "Recipients accepted"),
    Family("refusals", "mailweir_refusals", "counter", "4xx and 5xx replies given, by code", ("code",)),
    Family("hop_latency", "mailweir_next_hop_seconds", "histogram", "Final dot to reply of the next hop", ("hop",)),
    Family("body_copies", "mailweir_body_copies", "counter", "Copies of body chunks made in user space"),
    Family("fsyncs", "mailweir_fsyncs", "counter", "Flushes to stable storage"),
    Family("spool_bytes", "mailweir_spool_written_bytes", "counter", "Octets written to the spool"),
    Family("scanner_wait", "mailweir_scanner_wait_seconds", "histogram", "End of message to the scanner's answer",
           ("scanner",)),
    Family("scanner_troubles", "mailweir_scanner_troubles", "counter", "Scans that failed", ("scanner",)),
    Family("tls_handshakes", "mailweir_tls_handshakes", "counter", "TLS handshakes of clients by outcome",
           ("side", "outcome")),
    Family("queue_messages", "mailweir_queue_messages", "gauge", "Messages in the queue by state", ("state",)),
    Family("spool_used_bytes", "mailweir_spool_used_bytes", "gauge", "Octets that the spool takes on disk"),
    Family("held_bytes", "mailweir_held_bytes", "gauge", "Octets of bodies held in memory"),
    Family("log_dropped", "mailweir_log_dropped", "counter", "Events lost because the log was not read"),
    Family("tracking_dropped", "mailweir_tracking_dropped", "counter", "Tracking rows lost to disk trouble"),
)  # fmt: skip
_BY_NAME: Final = {family.name: family for family in FAMILIES}


def _labels(key: object) -> list[str]:
    return [str(part) for part in key] if isinstance(key, tuple) else [str(key)]


def _number(value: object) -> object:
    return {"counts": value.counts.copy(), "sum_s": value.sum_s} if isinstance(value, Histogram) else value
