"""The disk image: boot loaders, the partition table, a slot; written by seeking. Called by `build`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from firmware.builder import gpt, grub
from firmware.builder.board import Board
from firmware.builder.slot import fat


def assemble(board: Board, root: Path, boot: Path, more: Mapping[str, Path], folder: Path, image: Path) -> None:
    """Writes `image` with the slot A; B is empty, and the data partition is not there yet. `more` are files for the
    boot partition, beside GRUB's.
    """
    laid = gpt.lay_out(board.esp_mib, board.boot_mib, board.root_mib)
    if "rpi" in board.loaders:
        # U-Boot looks for its environment on the first partition. The others keep their numbers, for grub.cfg.
        laid[0], laid[1] = laid[1], laid[0]
    partitions = {it.name: it for it in laid}
    size_mib = gpt.disk_mib(list(partitions.values())) + 16  # a little room for data, if the disk is no larger
    mbr, core = b"", b""
    if "bios" in board.loaders:
        mbr, core = grub.bios(partitions["bios"].first_sector, folder)
    # The boot ROMs of Pis look for the boot partition in the old table.
    old = partitions["esp"] if "rpi" in board.loaders else None
    first, last = gpt.render(list(partitions.values()), size_mib, mbr, old)
    esp = fat(folder / "esp.img", board.esp_mib, {**grub.files(board, folder), **more}, fat32="rpi" in board.loaders)
    image.unlink(missing_ok=True)
    with image.open("wb") as out:
        out.truncate(size_mib << 20)
        out.write(first)
        for name, octets in (("bios", core), ("esp", esp.read_bytes()), ("boot_a", boot.read_bytes())):
            out.seek(partitions[name].first_mib << 20)
            out.write(octets)
        out.seek(partitions["root_a"].first_mib << 20)
        out.write(root.read_bytes())
        out.seek((size_mib << 20) - len(last))
        out.write(last)
