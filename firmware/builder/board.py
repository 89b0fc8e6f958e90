"""A board as data: `firmware/boards/NAME/board.toml`. Knows the files' form, not what is done with them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent.parent
ROOT = FIRMWARE.parent
OVERLAY = ROOT / "buildroot-overlay"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a machine with at least `memory_mib` for Linux may take."""

    memory_mib: int
    workers: int
    """0: one a core."""
    held_mib: int
    """Bodies that one worker holds at one time."""


@dataclass(frozen=True, slots=True)
class Board:
    """See the files' comments."""

    name: str
    architecture: str
    machine: str
    suite: str
    kernel: str
    kernel_suite: str
    packages: tuple[str, ...]
    """On the root, beside those of every image."""
    boot_packages: tuple[str, ...]
    loaders: tuple[str, ...]
    kernel_arguments: tuple[str, ...]
    esp_mib: int
    boot_mib: int
    root_mib: int
    slot_mib: int
    """The most that kernel, initial RAM disk and root may have together."""
    initial_drivers: tuple[str, ...]
    left_out: tuple[str, ...]
    bundle_formats: tuple[str, ...]
    """RAUC's names of the forms of an update that the board takes; the first is made."""
    memory_max: dict[str, str]
    """systemd's MemoryMax of units."""
    budgets: tuple[Budget, ...]
    """By ascending memory; the last that a machine reaches is its own."""

    @property
    def lock(self) -> Path:
        """The file that pins the Debian packages."""
        return FIRMWARE / "boards" / self.name / "debian.lock"

    @property
    def cache(self) -> Path:
        """Where what was built lies."""
        return CACHE / self.name


CACHE = ROOT / ".cache" / "image"


def names() -> list[str]:
    """The boards there are."""
    return sorted(path.parent.name for path in (FIRMWARE / "boards").glob("*/board.toml"))


def load(name: str) -> Board:
    """Raises SystemExit for a board that is not there."""
    if name not in names():
        raise SystemExit(f"no board {name!r}; there are: {', '.join(names())}")
    table = tomllib.loads((FIRMWARE / "boards" / name / "board.toml").read_text())
    return Board(
        name=name,
        architecture=table["architecture"],
        machine=table["machine"],
        suite=table["suite"],
        kernel=table["kernel"],
        kernel_suite=table.get("kernel_suite", table["suite"]),
        packages=tuple(table.get("packages", ())),
        boot_packages=tuple(table["boot_packages"]),
        loaders=tuple(table["loaders"]),
        kernel_arguments=tuple(table["console"]["kernel_arguments"]),
        esp_mib=table["size_mib"]["esp"],
        boot_mib=table["size_mib"]["boot"],
        root_mib=table["size_mib"]["root"],
        slot_mib=table["size_mib"].get("slot", 200),
        initial_drivers=tuple(table["drivers"]["initial"]),
        left_out=tuple(table["drivers"]["left_out"]),
        bundle_formats=tuple(table.get("bundle_formats", ("verity",))),
        memory_max=table["memory_max"],
        budgets=tuple(Budget(**budget) for budget in table["budget"]),
    )


def packages() -> dict[str, str]:
    """The Debian packages on every image, each with its reason."""
    lines = (FIRMWARE / "packages.txt").read_text().splitlines()
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return {fields[0]: fields[1] for fields in pairs}
