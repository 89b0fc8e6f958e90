"""Workers and whole gateways are killed under load: what was acknowledged arrives, or its sender hears of it.

MAILWEIR_KILLS sets the number of kills, MAILWEIR_SEED the order of things; 10,000 kills take half an hour.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tests.support.crash import CrashRun

KILLS = int(os.environ.get("MAILWEIR_KILLS", "50"))
SEED = int(os.environ.get("MAILWEIR_SEED", "0")) or random.randrange(1, 1 << 32)


def crash(folder, kills, delivery, *, whole=False):
    run = CrashRun(folder, seed=SEED, delivery=delivery)
    try:
        asyncio.run(run.run(kills, whole=whole))
    except TimeoutError:
        pytest.fail(f"missing {run.ledger.missing()[:20]}; {run.report()}; {run.left}; {run.gateway.errors()}")
    print(run.report())
    return run


def assert_nothing_is_lost(run):
    counts = run.ledger.counts
    assert run.ledger.missing() == []
    assert counts["damaged"] == 0, run.ledger.damaged[:4000].decode("latin-1")
    assert counts["strange reports"] == 0, run.ledger.strange[:4000].decode()
    assert counts["stalls"] == 0 and run.gateway.events()["defect"] == 0
    assert counts["acknowledged"] > 0 and counts["delivered"] > 0
    assert run.gateway.spooled() == [], "what was removed came back"
    assert run.gateway.tracked() > 0


def test_killed_workers_lose_nothing_that_was_acknowledged(tmp_path):
    run = crash(tmp_path, KILLS, "keep_bytes = true")
    assert_nothing_is_lost(run)
    events = run.gateway.events()
    assert events["path:ram"] and events["path:wire"] and events["path:spool"], "a path was not tried"
    for what in ("bounced", "delays told", "released", "killed newborn", "chunks"):
        assert run.ledger.counts[what], f"never {what}"


def test_a_gateway_killed_as_a_whole_and_started_again_has_lost_nothing(tmp_path):
    run = crash(tmp_path, max(3, min(100, KILLS // 10)), "keep_bytes = false", whole=True)
    assert_nothing_is_lost(run)
