"""Turns measurements into medians, ratios and goals reached or missed, and these into Markdown and JSON.

Pure: knows no process and no clock. Called by `main`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tests.bench.measure import Measurement, Pair
from tests.bench.probes import Value
from tests.bench.rows import GOALS, Figure, Goal, Row

_COLUMNS = (
    *("service", "msg/s", "MiB/s", "CPU ms/msg", "CPU / ours", "peak MiB", "p50 µs", "p99 µs"),
    *("fsyncs/msg", "written B/msg", "copies/msg"),
)


@dataclass(frozen=True, slots=True)
class RowResult:
    row: Row
    pairs: dict[str, list[Pair]]  # by peer


@dataclass(frozen=True, slots=True)
class Judged:
    """A goal and what was measured for it; None when nothing was."""

    goal: Goal
    value: float | None

    @property
    def word(self) -> str:
        if self.value is None:
            return "not measured"
        return "reached" if self.goal.reached(self.value) else "MISSED"


def median_of_ratios(pairs: Sequence[Pair], figure: Figure) -> float:
    """Median over the pairs of one ratio; a division by nothing is infinite."""

    def ratio(above: float, below: float) -> float:
        return above / below if below else float("inf")

    if figure is Figure.CPU_OURS_TO_PEER:
        return statistics.median(ratio(pair.ours.cpu_ms, pair.its.cpu_ms) for pair in pairs)
    if figure is Figure.CPU_PEER_TO_OURS:
        return statistics.median(ratio(pair.its.cpu_ms, pair.ours.cpu_ms) for pair in pairs)
    return statistics.median(ratio(pair.ours.messages_per_s, pair.its.messages_per_s) for pair in pairs)


def median_measurement(measurements: Sequence[Measurement]) -> Measurement:
    """Field by field; a field that is None anywhere is None."""
    first = measurements[0]
    values: dict[str, Any] = {"service": first.service}
    for field in fields(Measurement):
        if field.name == "service":
            continue
        column = [getattr(measurement, field.name) for measurement in measurements]
        values[field.name] = None if None in column else statistics.median(column)
    return Measurement(**values)


def judge(results: Iterable[RowResult], values: Iterable[Value], subject: str) -> list[Judged]:
    """Every goal with what was measured for it."""
    pairs = {(result.row.id, peer): pairs for result in results for peer, pairs in result.pairs.items()}
    probed = {value.name: value.value for value in values if value.service.startswith(subject)}
    judged = []
    for goal in GOALS:
        if goal.figure is Figure.PROBE:
            judged.append(Judged(goal, probed.get(goal.where)))
        else:
            found = pairs.get((goal.where, goal.peer))
            judged.append(Judged(goal, median_of_ratios(found, goal.figure) if found else None))
    return judged


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _service_line(measured: Measurement, ratio: str) -> str:
    return _line(
        (
            measured.service,
            _number(measured.messages_per_s),
            _number(measured.mib_per_s),
            _number(measured.cpu_ms, 3),
            ratio,
            _number(measured.peak_pss_mib, 1),
            _number(measured.p50_us),
            _number(measured.p99_us),
            _number(measured.fsyncs, 3),
            _number(measured.written_bytes),
            _number(measured.copies, 2),
        )
    )


def _row_table(result: RowResult) -> list[str]:
    row = result.row
    lines = ["", f"### {row.id} ({row.tools.value})", ""]
    lines += [_line(_COLUMNS), _line("---" if i == 0 else "---:" for i in range(len(_COLUMNS)))]
    every_pair = [pair for pairs in result.pairs.values() for pair in pairs]
    if not every_pair:
        return [*lines[:2], "", "nothing measured"]
    lines.append(_service_line(median_measurement([pair.ours for pair in every_pair]), "1"))
    for pairs in result.pairs.values():
        ratio = median_of_ratios(pairs, Figure.CPU_PEER_TO_OURS)
        lines.append(_service_line(median_measurement([pair.its for pair in pairs]), f"{ratio:.2f}"))
    if row.queued:
        lines += ["", "Accepted while the next hop was down, then drained; CPU and writes cover both.", ""]
        for peer, pairs in result.pairs.items():
            ours, its = (median_measurement([getattr(pair, side) for pair in pairs]) for side in ("ours", "its"))
            rate = median_of_ratios(pairs, Figure.RATE_OURS_TO_PEER)
            lines.append(
                f"- against {peer}: {rate:.2f} times its accepted messages a second; drained in "
                f"{_number(ours.drain_s, 2)} s ({ours.messages} messages) and {_number(its.drain_s, 2)} s "
                f"({its.messages}); CPU of intake alone {_number(ours.accept_cpu_ms, 3)} and "
                f"{_number(its.accept_cpu_ms, 3)} ms"
            )
    return lines


def _goal_line(judged: Judged) -> str:
    goal = judged.goal
    limit = f"{'≥' if goal.at_least else '≤'} {goal.limit:g} {goal.unit}"
    value = "" if judged.value is None else f"{judged.value:.2f}"
    return _line((goal.where, goal.peer, goal.figure.value, limit, value, judged.word))


def markdown(
    results: Sequence[RowResult], values: Sequence[Value], notes: Sequence[str], header: Sequence[str], subject: str
) -> str:
    """The whole report."""
    lines = ["## Benchmark", "", *header]
    for result in results:
        lines += _row_table(result)
    if values:
        lines += ["", "### Probes", "", _line(("probe", "service", "value", "unit")), "|---|---|---:|---|"]
        lines += [_line((value.name, value.service, _number(value.value, 1), value.unit)) for value in values]
    lines += ["", "### Goals", "", _line(("where", "against", "figure", "goal", "measured", ""))]
    lines += ["|---|---|---|---|---:|---|"]
    lines += [_goal_line(judged) for judged in judge(results, values, subject)]
    if notes:
        lines += ["", "### Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def as_json(
    results: Sequence[RowResult], values: Sequence[Value], notes: Sequence[str], header: Sequence[str], subject: str
) -> dict[str, Any]:
    """The same for machines: every single measurement, the ratios and the goals."""
    rows = []
    for result in results:
        rows.append(
            {
                "id": result.row.id,
                "tools": result.row.tools.value,
                "size_bytes": result.row.size_bytes,
                "sessions": result.row.sessions,
                "pairs": {peer: [asdict(pair) for pair in pairs] for peer, pairs in result.pairs.items()},
                "cpu_peer_to_ours": {
                    peer: median_of_ratios(pairs, Figure.CPU_PEER_TO_OURS) for peer, pairs in result.pairs.items()
                },
                "rate_ours_to_peer": {
                    peer: median_of_ratios(pairs, Figure.RATE_OURS_TO_PEER) for peer, pairs in result.pairs.items()
                },
            }
        )
    goals = [
        {
            "where": judged.goal.where,
            "peer": judged.goal.peer,
            "figure": judged.goal.figure.value,
            "limit": judged.goal.limit,
            "at_least": judged.goal.at_least,
            "unit": judged.goal.unit,
            "measured": judged.value,
            "result": judged.word,
        }
        for judged in judge(results, values, subject)
    ]
    return {
        "subject": subject,
        "machine": list(header),
        "rows": rows,
        "probes": [asdict(value) for value in values],
        "goals": goals,
        "notes": list(notes),
    }
