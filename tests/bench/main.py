"""The benchmark's command: picks rows and probes, runs them, prints Markdown, writes JSON.

Started by `scripts/bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.accounting import Household
from tests.bench.measure import Bench
from tests.bench.peers import SERVICES
from tests.bench.probes import BARE_PATH_SERVICE, PROBES, Probe, Value, message_path_writes
from tests.bench.report import RowResult, as_json, markdown
from tests.bench.rows import QUICK_ROWS, ROWS, Row, against, named
from tests.bench.service import ServiceFailed
from tests.bench.toolchain import MissingTool, build
from tests.bench.traffic import TrafficFailed


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Mailweir and its peers side by side, on loopback.")
    parser.add_argument("--quick", action="store_true", help="a few rows, one round: does it work at all?")
    parser.add_argument("--rows", default="", metavar="GLOB[,GLOB]", help="only rows whose name matches one of these")
    parser.add_argument("--peers", default="", metavar="NAME[,NAME]", help="only these of each row's peers")
    parser.add_argument("--subject", default="mailweir", choices=sorted(SERVICES), help="who stands for us")
    parser.add_argument("--rounds", type=int, default=0, help="pairs for each peer and row (default 5, quick 1)")
    parser.add_argument("--no-probes", action="store_true", help="no memory, latency and write probes")
    parser.add_argument("--only-probes", default="", metavar="NAME[,NAME]", help="idle, in-flight, latency, writes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (default /var/tmp)")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    return parser.parse_args(words)


def _header(rounds: int) -> list[str]:
    household = Household("trial")
    method = household.method
    household.stop()
    return [
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}; "
        f"CPU counted by {method}; medians of {rounds} pairs, each pair one right after the other.",
    ]


def _chosen_rows(options: argparse.Namespace) -> list[Row]:
    rows = named(options.rows, QUICK_ROWS if options.quick else ROWS)
    return [against(row, tuple(part for part in options.peers.split(",") if part)) for row in rows]


def _run_rows(bench: Bench, rows: list[Row]) -> list[RowResult]:
    results = []
    for row in rows:
        results.append(RowResult(row, bench.measure_row(row)))
    return results


def _run_probes(bench: Bench, chosen: list[str]) -> list[Value]:
    values: list[Value] = []
    runs: list[tuple[Probe, str]] = []
    for name, probe, peers in PROBES:
        if name in chosen:
            runs += [(probe, service) for service in dict.fromkeys((bench.subject, *peers))]
    if "writes" in chosen and bench.subject == "mailweir":
        runs.append((message_path_writes, BARE_PATH_SERVICE))
    for probe, service in runs:
        try:
            values += probe(bench, service)
        except (MissingTool, ServiceFailed, TrafficFailed) as error:
            bench.note(f"{probe.__name__}: {service} left out: {error}")
    return values


def main(words: list[str] | None = None) -> int:
    """Runs what the words ask for; 0 when all of it was measured, 1 when something had to be left out."""
    options = _arguments(words)
    rows = [] if options.only_probes else _chosen_rows(options)
    if options.list:
        print("\n".join(f"{row.id}: {', '.join(row.peers)}" for row in rows))
        return 0
    probes = [part for part in options.only_probes.split(",") if part]
    if not probes and not (options.no_probes or options.quick or options.rows):
        probes = ["idle", "in-flight", "latency", "writes"]
    rounds = options.rounds or (1 if options.quick else 5)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.folder))
    folder.chmod(0o755)  # Postfix's and Exim's own users must get through
    try:
        bench = Bench(build(), folder, options.subject, rounds)
        header = _header(rounds)
        results = _run_rows(bench, rows)
        values = _run_probes(bench, probes)
    except MissingTool as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(markdown(results, values, bench.notes, header, options.subject))
    if options.json:
        text = json.dumps(as_json(results, values, bench.notes, header, options.subject), indent=1)
        options.json.write_text(text + "\n")
    return 1 if bench.notes else 0


if __name__ == "__main__":
    sys.exit(main())
