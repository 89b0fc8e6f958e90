"""Which package a gateway that a test starts is made of: the checkout's, or what `scripts/compile` made of it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def package_environment() -> dict[str, str]:
    """The environment for a child process; MAILWEIR_PACKAGE names the folder of another package."""
    return {**os.environ, "PYTHONPATH": os.environ.get("MAILWEIR_PACKAGE", str(ROOT)), "PYTHONSAFEPATH": "1"}
