"""Puts rendered files in place under `/run`, each whole or not at all, and says what changed. Called by `bring_up`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from appliance.network.dhcp import GENERAL, PREFIX


def install(files: dict[str, str], run_dir: Path) -> set[str]:
    """Writes what differs, and with the DHCP client's files removes those for links that are no longer among them.

    Returns:
        The paths below `run_dir` that were written or removed.

    Raises:
        OSError: a file could not be written; those before it were.
    """
    changed = set()
    for name, text in files.items():
        path = run_dir / name
        with contextlib.suppress(FileNotFoundError):
            if path.read_text() == text:
                continue
        _make_folder(path.parent)
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.chmod(0o644)  # their readers are other users
        os.replace(beside, path)
        changed.add(name)
    if GENERAL not in files:
        return changed
    for path in sorted((run_dir / PREFIX).parent.glob(f"{Path(PREFIX).name}*.network")):
        name = str(path.relative_to(run_dir))
        if name not in files:
            path.unlink()
            changed.add(name)
    return changed


def _make_folder(folder: Path) -> None:
    """Open to its readers, whatever the umask."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)
