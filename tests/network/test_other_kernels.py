"""Where this kernel was built without VLANs or bonds, the tests of plans on them run on one that has them."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.network.kinds import KINDS
from tests.support.another_kernel import run_there

TESTS = ("tests/network/test_kernel_model.py", "tests/network/test_apply.py")

if len(KINDS) < 3:

    def test_vlans_and_bonds_are_planned_applied_and_undone(tmp_path: Path) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--color=no", "-p", "no:cacheprovider", *TESTS]
        status, output = run_there(command, tmp_path / "init", timeout_s=580)
        assert status == 0, output[-8000:]
        assert "[100%]" in output
