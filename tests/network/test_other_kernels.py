"""Where this kernel was built without VLANs or bonds, the tests of plans on them run on one that has them."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.network.kinds import KINDS
from tests.support.another_kernel import run_there

APPLY = "tests/network/test_apply.py::test_"
TESTS = (  # a few, for that kernel is slow
    *(f"tests/network/test_kernel_model.py::test_the_kernel_does_what_the_model_says[{seed}]" for seed in range(4)),
    *(f"{APPLY}applying_twice_changes_nothing[{seed}]" for seed in range(3)),
    f"{APPLY}an_error_at_any_step_brings_the_old_state_back[2]",
    f"{APPLY}an_apply_that_was_killed_is_undone_at_the_next_start[1]",
)

if len(KINDS) < 3:

    def test_vlans_and_bonds_are_planned_applied_and_undone(tmp_path: Path) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--color=no", "-p", "no:cacheprovider", *TESTS]
        status, output = run_there(command, tmp_path / "init", timeout_s=580)
        assert status == 0, output[-8000:]
        assert "[100%]" in output
