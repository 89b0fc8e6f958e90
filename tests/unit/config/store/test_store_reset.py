"""What was promised to be erased is erased, also by a second try."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.config.store import reset
from appliance.config.store.files import Files


def tree(root: Path) -> tuple[Path, Path]:
    store, state = root / "store", root / "state"
    for folder in (store / "revisions" / "000001", store / "secrets", state / "spool"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    (store / "current").symlink_to("revisions/000001")
    (state / "outside").symlink_to(root)
    return store, state


def test_nothing_is_erased_that_was_not_asked_for(tmp_path: Path) -> None:
    store, state = tree(tmp_path)
    assert reset.finish(store, [state]) is False
    assert reset.finish(tmp_path / "none", [state]) is False
    assert (state / "spool" / "file").exists()


def test_everything_inside_is_erased_and_nothing_outside(tmp_path: Path) -> None:
    store, state = tree(tmp_path)
    reset.request(store, Files())
    assert reset.finish(store, [state, tmp_path / "none"]) is True
    assert list(store.iterdir()) == list(state.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "store"]
    assert reset.finish(store, [state]) is False


def test_an_erasure_that_was_cut_off_is_taken_up_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, state = tree(tmp_path)
    reset.request(store, Files())
    removed = shutil.rmtree

    def fail_at_the_second(path: str) -> None:
        if path.endswith("secrets"):
            raise OSError(5, "Input/output error")
        removed(path)

    monkeypatch.setattr(reset.shutil, "rmtree", fail_at_the_second)
    with pytest.raises(OSError, match="Input/output"):
        reset.finish(store, [state])
    assert reset.is_requested(store)
    monkeypatch.undo()
    assert reset.finish(store, [state]) is True
    assert list(store.iterdir()) == []
