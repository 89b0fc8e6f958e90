"""The disk image: GRUB for UEFI and BIOS, the partition table, a slot; written by seeking. Called by `build`."""

from __future__ import annotations

import struct
from pathlib import Path

from firmware.builder import gpt
from firmware.builder.board import FIRMWARE, Board
from firmware.builder.run import run
from firmware.builder.slot import fat

_MODULES = (
    *("part_gpt", "fat", "normal", "configfile", "loadenv", "regexp", "search", "search_fs_file", "serial", "terminal"),
    *("echo", "test", "linux", "reboot", "halt", "sleep", "minicmd", "true", "eval"),
)
_GRUB = Path("/usr/lib/grub/i386-pc")
_LOAD_SEGMENT = 0x820
_EMPTY_ENVIRONMENT = "# GRUB Environment Block\n"


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


def assemble(board: Board, root: Path, boot: Path, folder: Path, image: Path) -> None:
    """Writes `image` with the slot A; B is empty, and the data partition is not there yet."""
    partitions = {it.name: it for it in gpt.lay_out(board.esp_mib, board.boot_mib, board.root_mib)}
    size_mib = gpt.disk_mib(list(partitions.values())) + 16  # a little room for data, if the disk is no larger
    mbr, core = boot_sectors((_GRUB / "boot.img").read_bytes(), _core(folder), partitions["bios"].first_sector)
    first, last = gpt.render(list(partitions.values()), size_mib, mbr)
    esp = _esp(board, folder)
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


def _core(folder: Path) -> bytes:
    core = folder / "core.img"
    run("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(,gpt2)/grub", *_MODULES, "biosdisk")
    return core.read_bytes()


def _esp(board: Board, folder: Path) -> Path:
    early = folder / "early.cfg"
    early.write_text("search --no-floppy --file --set=root /grub/mailweir\nset prefix=($root)/grub\n")
    program = folder / "BOOTX64.EFI"
    run(
        "grub-mkimage", "-O", "x86_64-efi", "-o", program, "-c", early, "-p", "/grub", *_MODULES, "efi_gop", "all_video"
    )
    (folder / "grubenv").write_bytes(
        environment({"ORDER": "A B", "A_OK": "1", "B_OK": "0", "A_TRY": "0", "B_TRY": "0"})
    )
    (folder / "mailweir").write_text("The boot partition of Mailweir.\n")
    files = {
        "EFI/BOOT/BOOTX64.EFI": program,
        "grub/grub.cfg": _grub_config(board, folder),
        "grub/grubenv": folder / "grubenv",
        "grub/mailweir": folder / "mailweir",
    }
    return fat(folder / "esp.img", board.esp_mib, files)


def _grub_config(board: Board, folder: Path) -> Path:
    config = folder / "grub.cfg"
    text = (FIRMWARE / "grub.cfg").read_text()
    config.write_text(text.replace("@KERNEL_ARGUMENTS@", " ".join(board.kernel_arguments)))
    return config
