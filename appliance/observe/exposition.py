"""The counts of all workers as a page for Prometheus.

prometheus_client costs 4.7 MiB of memory for its HTTP servers that we do not use, so it is imported at the first
scrape, by the process that answers it. Called by `scrape` and by the worker's control socket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from appliance.observe.metrics import FAMILIES, LATENCY_BOUNDS_S, Family, Snapshot

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def render(snapshots: Mapping[str, Snapshot]) -> bytes:
    """The snapshots of all workers, by name of the worker, in Prometheus' text format 0.0.4.

    A worker of another version may lack a value or have one more: it is left out.
    """
    from prometheus_client import generate_latest  # 4.7 MiB, for who is asked only
    from prometheus_client.registry import Collector

    class _Workers(Collector):
        def collect(self) -> Iterator[Metric]:
            for family in FAMILIES:
                yield _metric(family, snapshots)

    return generate_latest(_Workers())


def _metric(family: Family, snapshots: Mapping[str, Snapshot]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = (*family.labels, "worker")
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.metric, family.about, labels=labels)
        for worker, snapshot in snapshots.items():
            for *values, value in snapshot.get(family.name, ()):
                histogram.add_metric([*values, worker], _buckets(value["counts"]), value["sum_s"])
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.metric, family.about, labels=labels)
    for worker, snapshot in snapshots.items():
        if family.name in snapshot:
            rows = snapshot[family.name] if family.labels else [[snapshot[family.name]]]
            for *values, value in rows:
                metric.add_metric([*values, worker], value)
    return metric


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus' cumulative buckets."""
    total, buckets = 0, list[tuple[str, float]]()
    for bound, count in zip((*map(str, LATENCY_BOUNDS_S), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
