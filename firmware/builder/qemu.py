"""QEMU's command line for a board, and `image boot`. Emulated unless the machine's KVM can be used."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from firmware.builder.board import Board

DISK_BYTES = 1 << 30
_OVMF = Path("/usr/share/OVMF")


def command(disk: Path, uefi: bool, forwards: Mapping[int, int], more: Sequence[str] = ()) -> list[str]:
    """Starts `disk` with two NICs; `forwards` leads from ports of the loopback here to ports of the box."""
    accelerator = "kvm" if os.environ.get("MAILWEIR_KVM") == "1" else "tcg"
    led = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in forwards.items())
    words = ["qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", "512"]
    words += ["-M", "q35", "-display", "none", "-monitor", "none", "-no-reboot"]
    words += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe", "-device", "virtio-rng-pci"]
    words += ["-netdev", f"user,id=outside{led}", "-device", "virtio-net-pci,netdev=outside,mac=52:54:00:00:00:01"]
    words += ["-netdev", "user,id=inside,net=10.0.3.0/24,restrict=on"]
    words += ["-device", "virtio-net-pci,netdev=inside,mac=52:54:00:00:00:02"]
    if uefi:
        variables = disk.with_suffix(".vars")
        shutil.copy(_OVMF / "OVMF_VARS_4M.fd", variables)
        words += ["-drive", f"if=pflash,format=raw,readonly=on,file={_OVMF / 'OVMF_CODE_4M.fd'}"]
        words += ["-drive", f"if=pflash,format=raw,file={variables}"]
    return [*words, *more]


def fresh_disk(image: Path, disk: Path) -> Path:
    """A card as it comes from the writer: a sparse copy of `image`, larger than it."""
    if not image.exists():
        raise SystemExit(f"{image} is not there: scripts/image build")
    subprocess.run(["cp", "--sparse=always", str(image), str(disk)], check=True)
    os.truncate(disk, DISK_BYTES)
    return disk


def boot(board: Board, image: Path, uefi: bool) -> int:
    """The serial console here; the disk is kept between boots. Ctrl-A X ends it. QEMU's exit status."""
    disk = board.cache / "boot.disk"
    if not disk.exists() or disk.stat().st_mtime < image.stat().st_mtime:
        fresh_disk(image, disk)
    forwards = {10025: 25, 10465: 465, 10587: 587}
    print("ports here: " + ", ".join(f"{here} for {there}" for here, there in forwards.items()) + "; Ctrl-A X ends it")
    return subprocess.run(
        [*command(disk, uefi, forwards, ["-serial", "mon:stdio"]), "-echr", "1"], check=False
    ).returncode
