"""`image test rpi`, beside what is tried on every board: the boot partition file by file, and the boot on QEMU's Pi 3.

QEMU has none of the Pi's own firmware, so nobody sees here that it starts; what it would read is compared with where it
comes from. Called by `__main__`.
"""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
import time
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from firmware.builder import bootfiles, card
from firmware.builder.board import Board
from firmware.builder.debian import fetch, is_kernel, read_lock
from firmware.builder.qemu import NO_WATCHDOG, fresh_disk, raspberry_pi
from firmware.builder.root import unpack
from firmware.builder.trial import READY, Console, TrialFailed

_FIRST_WORDS = re.compile(rb"Mailweir: first configuration")
_MENU = re.compile(rb"Mailweir: first configuration.*?Mode \[1\]:", re.DOTALL)
_TIMEOUT_S = 900.0
_DEVICE_TREE = 0xD00DFEED


def check_card(board: Board, image: Path) -> None:
    """Raises TrialFailed: a boot ROM, the firmware, U-Boot or GRUB would not find what it reads, or find it changed."""
    with TemporaryDirectory() as folder:
        wanted = _from_the_packages(board, Path(folder))
    there = card.files(image, "esp")
    for name in ("EFI/BOOT/BOOTAA64.EFI", "grub/grub.cfg", "grub/grubenv", "grub/mailweir"):
        wanted.setdefault(name, card.read(image, "esp", name) if name in there else b"")
    if there != wanted.keys():
        raise TrialFailed(f"the boot partition: missing or too much: {', '.join(sorted(there ^ wanted.keys()))}")
    for name, octets in sorted(wanted.items()):
        found = card.read(image, "esp", name)
        if found != octets or not found:
            raise TrialFailed(f"the boot partition: {name} is not what it should be")
        if name.endswith(".dtb") and struct.unpack_from(">II", found) != (_DEVICE_TREE, len(found)):
            raise TrialFailed(f"the boot partition: {name} is no device tree")
        print(f"{len(found):>9}  {zlib.crc32(found):08x}  {name}")
    _check_slot(image)
    _, first, count = card.partitions(image)["esp"]
    if card.old_table(image) != [(0x80, 0x0C, first, count), (0, 0xEE, 1, first - 1)]:
        raise TrialFailed(f"the MBR does not name the boot partition: {card.old_table(image)}")


def _from_the_packages(board: Board, folder: Path) -> dict[str, bytes]:
    """What should be there, made once more from Debian's packages."""
    for package in read_lock(board.lock.read_text()):
        if package.name in board.boot_packages or is_kernel(package.name):
            unpack(fetch(package, offline=True), folder / "packages")
    trees = next((folder / "packages/usr/lib/modules").glob("*/dtb"))
    found = bootfiles.collect(board, folder / "packages", trees, folder / "made")
    return {name: path.read_bytes() for name, path in found.items()}


def _check_slot(image: Path) -> None:
    """Kernel, initial RAM disk and command line of slot A."""
    try:
        kernel = gzip.decompress(card.read(image, "boot_a", "vmlinuz"))
    except (OSError, EOFError, zlib.error) as error:
        raise TrialFailed(f"boot_a: vmlinuz cannot be inflated: {error}") from error
    if kernel[56:60] != b"ARM\x64":
        raise TrialFailed("boot_a: vmlinuz is no kernel for a 64-bit ARM processor")
    if not card.read(image, "boot_a", "initrd.img").startswith(b"\x28\xb5\x2f\xfd"):
        raise TrialFailed("boot_a: initrd.img is not compressed by zstd")
    said = card.read(image, "boot_a", "slot.cfg") + card.read(image, "esp", "grub/grub.cfg")
    if re.search(rb"@[A-Z_]+@", said) or not re.search(rb"mailweir\.hash=[0-9a-f]{64} ", said):
        raise TrialFailed("slot.cfg names no root, or grub.cfg has a place that was not filled in")
    if re.search(rb"console=(tty|serial)", said):
        raise TrialFailed("a console is named: the kernel would not take the one of the device tree")
    print(f"{len(kernel):>9}  {zlib.crc32(kernel):08x}  kernel, uncompressed")


def on_a_pi(board: Board, image: Path) -> None:
    """Boots the card on QEMU's Pi 3: U-Boot, GRUB, the kernel with the Pi's own drivers, the menu on pins 8 and 10.

    Raises:
        TrialFailed: one of them was not seen, or GRUB did not note the try.
    """
    with TemporaryDirectory() as folder:
        disk = fresh_disk(image, Path(folder) / "disk.img")
        before = card.old_table(disk)
        card.add_kernel_arguments(disk, NO_WATCHDOG)
        begun_s = time.monotonic()
        words = raspberry_pi(board, disk, ["-serial", "stdio"])
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            console = Console(process, board.cache / "serial-pi.log")
            console.wait_for(_FIRST_WORDS, _TIMEOUT_S)
            if b"A_TRY=1" not in card.read(disk, "esp", "grub/grubenv"):  # before the health gate calls the slot good
                raise TrialFailed("GRUB did not note that slot A was tried")
            console.wait_for(_MENU, _TIMEOUT_S)
            menu_s = time.monotonic() - begun_s
            ready = console.wait_for(READY, _TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
        if card.old_table(disk) != before or "data" not in card.partitions(disk):
            raise TrialFailed("the first boot changed the MBR, or made no data partition")
    up, used = ready["up"].decode(), ready["used"].decode()
    print(f"on QEMU's Pi 3: menu {menu_s:.0f} s after power on, gateway {up} s after the kernel's start, ", end="")
    print(f"memory in use {used} MiB")

