"""GRUB for UEFI and for BIOS: its programs, configuration and environment block. Called by `disk`."""

from __future__ import annotations

import struct
from pathlib import Path

from firmware.builder import gpt
from firmware.builder.board import FIRMWARE, Board
from firmware.builder.run import run

_MODULES = (
    *("part_gpt", "fat", "normal", "configfile", "loadenv", "regexp", "search", "search_fs_file", "serial", "terminal"),
    *("echo", "test", "linux", "reboot", "halt", "sleep", "minicmd", "true", "eval"),
)
_BIOS = Path("/usr/lib/grub/i386-pc")
_LOAD_SEGMENT = 0x820
FRESH = {"ORDER": "A B", "A_OK": "1", "B_OK": "0", "A_TRY": "0", "B_TRY": "0", "A_NEW": "0", "B_NEW": "0"}
"""What GRUB knows of a disk as it is delivered; `grub.cfg` says what it means."""
_EMPTY_ENVIRONMENT = "# GRUB Environment Block\n"
# The name that UEFI starts, GRUB's modules beside those above.
_EFI = {
    "x86_64-efi": ("BOOTX64.EFI", ("efi_gop", "all_video")),
    "arm64-efi": ("BOOTAA64.EFI", ("gzio",)),
}


def environment(values: dict[str, str]) -> bytes:
    """GRUB's environment block, always of 1,024 octets."""
    text = _EMPTY_ENVIRONMENT + "".join(f"{key}={value}\n" for key, value in values.items())
    return text.encode().ljust(1024, b"#")


def boot_sectors(boot: bytes, core: bytes, core_sector: int) -> tuple[bytes, bytes]:
    """What goes into the MBR and into the BIOS boot partition, as grub-bios-setup would write it on a device."""
    mbr = bytearray(boot[:440])
    struct.pack_into("<Q", mbr, 0x5C, core_sector)
    mbr[0x66:0x68] = b"\x90\x90"  # no look at the drive's number: some BIOSes hand over a wrong one
    padded = bytearray(core + bytes(-len(core) % gpt.SECTOR_BYTES))
    sectors = len(padded) // gpt.SECTOR_BYTES - 1
    struct.pack_into("<QHH", padded, 0x1F4, core_sector + 1, sectors, _LOAD_SEGMENT)
    return bytes(mbr), bytes(padded)


def bios(core_sector: int, folder: Path) -> tuple[bytes, bytes]:
    """GRUB for BIOS: the boot code of the MBR, and what lies at `core_sector`."""
    core = folder / "core.img"
    run("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(,gpt2)/grub", *_MODULES, "biosdisk")
    return boot_sectors((_BIOS / "boot.img").read_bytes(), core.read_bytes(), core_sector)


def files(board: Board, folder: Path) -> dict[str, Path]:
    """GRUB's files on the boot partition, by their paths there; of `folder`, where they are made."""
    found = {"grub/grub.cfg": _config(board, folder)}
    for name, octets in (
        ("grubenv", environment(FRESH)),
        ("mailweir", b"The boot partition of Mailweir.\n"),
    ):
        (folder / name).write_bytes(octets)
        found[f"grub/{name}"] = folder / name
    early = folder / "early.cfg"
    early.write_text("search --no-floppy --file --set=root /grub/mailweir\nset prefix=($root)/grub\n")
    for loader in board.loaders:
        if loader in _EFI:
            name, more = _EFI[loader]
            # GRUB of another architecture comes from its Debian package, unpacked beside.
            modules = folder / "boot/usr/lib/grub" / loader
            where: list[str | Path] = ["-d", modules] if modules.exists() else []
            program = folder / name
            run("grub-mkimage", *where, "-O", loader, "-o", program, "-c", early, "-p", "/grub", *_MODULES, *more)
            found[f"EFI/BOOT/{name}"] = program
    return found


def _config(board: Board, folder: Path) -> Path:
    config = folder / "grub.cfg"
    config.write_text(configuration((FIRMWARE / "grub.cfg").read_text(), board))
    return config


def configuration(text: str, board: Board) -> str:
    """The one grub.cfg, for `board`. On a Pi, UEFI's own console is the serial line, and GRUB has no driver for it."""
    lines = text.splitlines(keepends=True)
    if board.machine == "aarch64":
        lines = [line for line in lines if not line.startswith(("serial ", "terminal_input ", "terminal_output "))]
    return "".join(lines).replace("@KERNEL_ARGUMENTS@", " ".join(board.kernel_arguments))
