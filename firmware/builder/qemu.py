"""QEMU's command line for a board, and `image boot`. Emulated unless the machine's KVM can be used.

A Pi's image runs on `virt`, which has PCI and two NICs, by U-Boot as on a Pi; and on QEMU's Pi 3, which has the Pi's
own card controller and serial line, but neither network nor a working watchdog, and is slow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from firmware.builder import card
from firmware.builder.board import Board

NO_WATCHDOG = "systemd.watchdog_sec=0"
"""For QEMU's Pi, which resets when its watchdog is armed."""
DISK_BYTES = 1 << 30  # a power of two, as QEMU's card controllers demand
_OVMF = Path("/usr/share/OVMF")
_U_BOOT = "work/boot/usr/lib/u-boot/qemu_arm64/u-boot.bin"


def command(board: Board, disk: Path, uefi: bool, forwards: Mapping[int, int], more: Sequence[str] = ()) -> list[str]:
    """Starts `disk` with two NICs; `forwards` leads from ports of the loopback here to ports of the box."""
    led = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in forwards.items())
    words = _virt(board) if board.machine == "aarch64" else _pc(disk, uefi)
    words += ["-smp", "1", "-m", "512", *_QUIET]
    words += ["-drive", f"file={disk},format=raw,if=none,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk"]
    words += ["-device", "virtio-rng-pci"]
    # No boot from the network, hence no ROM.
    nic = "virtio-net-pci,romfile=,netdev"
    words += ["-netdev", f"user,id=outside{led}", "-device", f"{nic}=outside,mac=52:54:00:00:00:01"]
    words += ["-netdev", "user,id=inside,net=10.0.3.0/24,restrict=on"]
    words += ["-device", f"{nic}=inside,mac=52:54:00:00:00:02"]
    return [*words, *more]


_QUIET = ("-display", "none", "-monitor", "none", "-no-reboot")


def _accelerator() -> str:
    return "kvm" if os.environ.get("MAILWEIR_KVM") == "1" else "tcg"


def _pc(disk: Path, uefi: bool) -> list[str]:
    words = ["qemu-system-x86_64", "-accel", _accelerator(), "-cpu", "max", "-M", "q35"]
    words += ["-global", "ICH9-LPC.noreboot=false"]  # its watchdog bites
    if uefi:
        variables = disk.with_suffix(".vars")
        shutil.copy(_OVMF / "OVMF_VARS_4M.fd", variables)
        words += ["-drive", f"if=pflash,format=raw,readonly=on,file={_OVMF / 'OVMF_CODE_4M.fd'}"]
        words += ["-drive", f"if=pflash,format=raw,file={variables}"]
    return words


def _virt(board: Board) -> list[str]:
    return ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-bios", str(board.cache / _U_BOOT)]


def raspberry_pi(board: Board, disk: Path, more: Sequence[str] = ()) -> list[str]:
    """A Pi 3 without network. QEMU has not the Pi's firmware: what that would do, load U-Boot and the device tree, it
    does itself. The first serial line is the one for Bluetooth; pins 8 and 10 are the second.
    """
    files = board.cache / "work/bootfiles"
    words = ["qemu-system-aarch64", "-M", "raspi3b", *_QUIET, "-kernel", str(files / "u-boot.bin")]
    words += ["-dtb", str(files / "bcm2837-rpi-3-b.dtb"), "-drive", f"file={disk},format=raw,if=sd,cache=unsafe"]
    return [*words, "-serial", "null", *more]


def second_line(board: Board, socket: Path) -> tuple[str, list[str]]:
    """The name of a serial line beside the console's, and the options that lead it to `socket`."""
    if board.machine != "aarch64":
        return "ttyS1", ["-serial", f"unix:{socket},server=on,wait=off"]
    character_device = f"socket,id=second,path={socket},server=on,wait=off"
    return "ttyS0", ["-chardev", character_device, "-device", "pci-serial,chardev=second"]


def fresh_disk(image: Path, disk: Path) -> Path:
    """A card as it comes from the writer: a sparse copy of `image`, larger than it."""
    if not image.exists():
        raise SystemExit(f"{image} is not there: scripts/image build")
    subprocess.run(["cp", "--sparse=always", str(image), str(disk)], check=True)
    os.truncate(disk, DISK_BYTES)
    return disk


def boot(board: Board, image: Path, uefi: bool, pi: bool) -> int:
    """The serial console here; the disk is kept between boots. Ctrl-A X ends it. QEMU's exit status."""
    disk = board.cache / "boot.disk"
    if not disk.exists() or disk.stat().st_mtime < image.stat().st_mtime:
        fresh_disk(image, disk)
    if pi:
        card.add_kernel_arguments(disk, NO_WATCHDOG)
        return _run(raspberry_pi(board, disk, _HERE))
    forwards = {10025: 25, 10465: 465, 10587: 587}
    print("ports here: " + ", ".join(f"{here} for {there}" for here, there in forwards.items()) + "; Ctrl-A X ends it")
    return _run(command(board, disk, uefi, forwards, _HERE))


_HERE = ("-serial", "mon:stdio", "-echr", "1")


def _run(words: Sequence[str]) -> int:
    return subprocess.run(words, check=False).returncode
