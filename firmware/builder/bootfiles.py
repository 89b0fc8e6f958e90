"""A board's own files for the boot partition, as its `boot.toml` tells: firmware, device trees, U-Boot.

Called by `build`. Knows nothing of any board; what is copied from where, what is changed in a device tree, is data.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firmware.builder import uboot
from firmware.builder.board import FIRMWARE, Board
from firmware.builder.run import run


def plan(board: Board) -> dict[str, Any]:
    """The tables of the board's boot.toml; empty if it has none."""
    file = FIRMWARE / "boards" / board.name / "boot.toml"
    return tomllib.loads(file.read_text()) if file.exists() else {}


def collect(board: Board, packages: Path, device_trees: Path, folder: Path) -> dict[str, Path]:
    """Files by their paths on the boot partition, laid out in `folder`.

    `packages` is where the board's boot packages were unpacked, `device_trees` where the kernel's are.

    Raises:
        SystemExit: a source is missing, or a device tree has not what is to be changed.
    """
    tables = plan(board)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    here = FIRMWARE / "boards" / board.name
    found: dict[str, Path] = {}
    for table, origin in (("packages", packages), ("device_trees", device_trees), ("ours", here)):
        for name, source in tables.get(table, {}).items():
            if not (origin / source).is_file():
                raise SystemExit(f"boards/{board.name}/boot.toml: {table}.{name}: there is no {source}")
            found[name] = folder / name
            found[name].parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin / source, found[name])
    for change in tables.get("change", []):
        _change(found[change["file"]], change)
    if "uboot_environment" in tables:
        made = _environment(tables["uboot_environment"], found)
        found["uboot.env"] = folder / "uboot.env"
        found["uboot.env"].write_bytes(made)
    return found


def _change(device_tree: Path, change: Mapping[str, str]) -> None:
    """Sets a string property that is there already."""
    node, name = change["node"], change["property"]
    run("fdtget", device_tree, node, name)
    run("fdtput", "-t", "s", device_tree, node, name, change["value"])


def _environment(table: Mapping[str, str], found: Mapping[str, Path]) -> bytes:
    program = found[table["program"]].read_bytes()
    ours = {name: value for name, value in table.items() if name != "program"}
    try:
        variables = uboot.compiled_in(program)
        unknown = ours.keys() - variables.keys()
        if unknown:
            raise ValueError(f"this U-Boot has no variables {', '.join(sorted(unknown))}")
        return uboot.render({**variables, **ours})
    except ValueError as error:
        raise SystemExit(f"{table['program']}: {error}") from error
