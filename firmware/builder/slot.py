"""A slot: the root as squashfs with its verity tree behind it, and a small FAT file system for GRUB. No loop devices.

GRUB reads neither zstd squashfs nor verity; kernel and initial RAM disk are on the FAT file system, and with them the
root's hash. Called by `build`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware.builder.board import Board
from firmware.builder.run import run

_BLOCK_BYTES = 4096
_NO_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Slot:
    """Two images, for two partitions."""

    root: Path
    boot: Path
    root_hash: str


def make_root(tree: Path, folder: Path, board: Board) -> tuple[Path, str]:
    """The root's image and the kernel arguments that open it.

    Raises:
        SystemExit: a tool failed, or it is larger than its partition.
    """
    image = folder / "root.img"
    image.unlink(missing_ok=True)
    # Not sqfstar, whose older versions cannot read a compressor's options.
    options = ["-tar", "-comp", "zstd", "-Xcompression-level", "9", "-b", "128K", "-processors", "2", "-no-progress"]
    run("sh", "-c", 'exec mksquashfs - "$@" <"$0"', tree, image, *options, "-noappend")
    octets = image.stat().st_size
    blocks = -(-octets // _BLOCK_BYTES)
    with image.open("r+b") as stream:
        stream.truncate(blocks * _BLOCK_BYTES)
    # The salt is of the content, so that equal roots are equal with their hashes.
    salt = hashlib.sha256(image.read_bytes()).hexdigest()
    said = run(
        *("veritysetup", "format", f"--hash-offset={blocks * _BLOCK_BYTES}", f"--data-blocks={blocks}"),
        *(f"--salt={salt}", f"--uuid={_NO_UUID}", image, image),
    ).decode()
    found = re.search(r"Root hash:\s+([0-9a-f]{64})", said)
    if found is None:
        raise SystemExit("veritysetup told no root hash")
    if image.stat().st_size > board.root_mib << 20:
        raise SystemExit(f"the root has {image.stat().st_size >> 20} MiB, its partition {board.root_mib}")
    return image, f"mailweir.hash={found[1]} mailweir.salt={salt} mailweir.blocks={blocks}"


def make_boot(kernel: Path, initrd: Path, arguments: str, version: str, image: Path, board: Board) -> Path:
    """The image for GRUB; here the slot is told which release it is, so that one root can be called by another name."""
    config = image.with_name("slot.cfg")
    config.write_text(f'set slot_arguments="{arguments} mailweir.version={version}"\n')
    return fat(image, board.boot_mib, {"vmlinuz": kernel, "initrd.img": initrd, "slot.cfg": config})


def fat(image: Path, size_mib: int, files: Mapping[str, Path], fat32: bool = False) -> Path:
    """A FAT file system with `files` by their paths on it; FAT16 if it is small, unless `fat32` is asked for.

    Raises:
        SystemExit: they do not fit.
    """
    image.unlink(missing_ok=True)
    with image.open("wb") as stream:
        stream.truncate(size_mib << 20)
    run("mformat", "-i", image, *(["-F"] if fat32 else []), "-N", "4d574952", "-v", "MAILWEIR", "::")
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    for name in sorted(folders):
        run("mmd", "-i", image, f"::{name}")
    for name, path in sorted(files.items()):
        run("mcopy", "-i", image, path, f"::{name}")
    return image
