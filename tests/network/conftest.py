"""Each test has network namespaces of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import namespace, plug_in
from tests.support.network_states import PERMANENT


@pytest.fixture
def hardware() -> Iterator[None]:
    """A namespace with eth0 to eth3."""
    with namespace():
        plug_in(PERMANENT)
        yield


@pytest.fixture
def journal_file(tmp_path: Path) -> Path:
    return tmp_path / "network.journal"
