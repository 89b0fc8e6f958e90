"""What is the Raspberry Pi's own: the old partition table, U-Boot's environment, the boot partition, the consoles."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from firmware.builder import board as boards
from firmware.builder import bootfiles, card, gpt, grub, uboot
from firmware.builder.slot import fat

PROGRAM = b"\x7fELF\0\0bootcmd=bootflow scan\0bootdelay=2\0boot_targets=mmc usb pxe dhcp\0preboot=usb start;\0\0code"
GENERATOR = boards.OVERLAY / "usr/lib/systemd/system-generators/mailweir-consoles"


def disk(folder: Path) -> Path:
    """A small one, with a boot partition that both tables name."""
    laid = gpt.lay_out(40, 1, 1)
    laid[0], laid[1] = laid[1], laid[0]
    size_mib = gpt.disk_mib(laid)
    first, last = gpt.render(laid, size_mib, old=laid[0])
    (folder / "hello").write_text("hello\n")
    (folder / "slot.cfg").write_text('set slot_arguments="mailweir.hash=1"\nset more=2\n')
    files = {"hello": folder / "hello", "grub/grub.cfg": folder / "hello"}
    image = folder / "disk.img"
    with image.open("wb") as out:
        out.truncate(size_mib << 20)
        out.write(first)
        for it, octets in (
            (laid[0], fat(folder / "esp.img", 40, files, fat32=True).read_bytes()),
            (laid[2], fat(folder / "boot.img", 1, {"slot.cfg": folder / "slot.cfg"}).read_bytes()),
        ):
            out.seek(it.first_mib << 20)
            out.write(octets)
        out.seek((size_mib << 20) - len(last))
        out.write(last)
    return image


def test_the_old_table_names_the_boot_partition_first_and_protects_what_is_before_it(tmp_path: Path) -> None:
    image = disk(tmp_path)
    number, first, count = card.partitions(image)["esp"]
    assert number == 1
    assert card.old_table(image) == [(0x80, 0x0C, first, count), (0, 0xEE, 1, first - 1)]


def test_slots_have_the_same_numbers_on_all_boards(tmp_path: Path) -> None:
    numbers = {name: number for name, (number, _, _) in card.partitions(disk(tmp_path)).items()}
    assert (numbers["boot_a"], numbers["boot_b"]) == (3, 5), "grub.cfg finds them by these"


def test_sfdisk_takes_the_table_and_leaves_the_old_one_alone_when_it_adds_a_partition(tmp_path: Path) -> None:
    image = disk(tmp_path)
    os.truncate(image, 64 << 20)
    before = card.old_table(image)
    subprocess.run(["sfdisk", "--quiet", "--relocate", "gpt-bak-std", image], check=True, capture_output=True)
    subprocess.run(
        ["sfdisk", "--quiet", "--append", image], input=b"type=L, name=data\n", check=True, capture_output=True
    )
    assert card.old_table(image) == before
    assert card.partitions(image)["data"][0] == 7


def test_files_on_a_card_are_read_and_replaced(tmp_path: Path) -> None:
    image = disk(tmp_path)
    assert card.files(image, "esp") == {"hello", "grub/grub.cfg"}
    card.write(image, "esp", "hello", b"other\n")
    assert card.read(image, "esp", "hello") == b"other\n"
    card.add_kernel_arguments(image, "one two")
    card.add_kernel_arguments(image, "one two")
    assert card.read(image, "boot_a", "slot.cfg") == b'set slot_arguments="mailweir.hash=1 one two"\nset more=2\n'
    with pytest.raises(SystemExit):
        card.read(image, "esp", "not-there")


def test_uboots_environment_is_its_own_with_our_changes_and_a_checksum() -> None:
    variables = uboot.compiled_in(PROGRAM)
    assert variables["bootdelay"] == "2" and len(variables) == 4
    file = uboot.render({**variables, "bootdelay": "-2"})
    assert len(file) == 0x4000 and struct.unpack_from("<I", file)[0] == zlib.crc32(file[4:])
    assert file[4:].rstrip(b"\0").split(b"\0")[:2] == [b"bootcmd=bootflow scan", b"bootdelay=-2"]
    with pytest.raises(ValueError, match="no environment"):
        uboot.compiled_in(b"nothing")
    with pytest.raises(ValueError, match="octets"):
        uboot.render({"long": "x" * 0x4000})


def pi() -> boards.Board:
    return boards.load("rpi")


def sources(folder: Path) -> tuple[Path, Path]:
    """Stand-ins for all that boot.toml names."""
    packages, trees = folder / "packages", folder / "trees"
    for table, origin in (("packages", packages), ("device_trees", trees)):
        for source in bootfiles.plan(pi())[table].values():
            (origin / source).parent.mkdir(parents=True, exist_ok=True)
            (origin / source).write_bytes(PROGRAM if source.endswith("u-boot.bin") else b"octets")
    dts = b'/dts-v1/; / { soc { usb@7e980000 { dr_mode = "otg"; }; }; };'
    for change in bootfiles.plan(pi())["change"]:
        target = trees / bootfiles.plan(pi())["device_trees"][change["file"]]
        subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", target], input=dts, check=True)
    return packages, trees


def test_the_boot_partition_gets_every_file_and_the_usb_port_of_a_zero_is_a_host(tmp_path: Path) -> None:
    found = bootfiles.collect(pi(), *sources(tmp_path), tmp_path / "made")
    for name in ("bootcode.bin", "start_cd.elf", "start4cd.elf", "u-boot.bin", "config.txt", "uboot.env"):
        assert found[name].stat().st_size
    for model in ("2837-rpi-3-b", "2837-rpi-3-b-plus", "2837-rpi-zero-2-w", "2711-rpi-4-b", "2712-rpi-5-b"):
        assert f"bcm{model}.dtb" in found
    said = subprocess.run(
        ["fdtget", found["bcm2837-rpi-zero-2-w.dtb"], "/soc/usb@7e980000", "dr_mode"], check=True, capture_output=True
    )
    assert said.stdout == b"host\n"
    assert b"\0bootdelay=-2\0" in found["uboot.env"].read_bytes()


def test_a_file_that_the_packages_have_no_more_is_told_by_its_name(tmp_path: Path) -> None:
    packages, trees = sources(tmp_path)
    (trees / "broadcom/bcm2711-rpi-4-b.dtb").unlink()
    with pytest.raises(SystemExit, match="bcm2711-rpi-4-b"):
        bootfiles.collect(pi(), packages, trees, tmp_path / "made")


def test_a_device_tree_without_what_is_to_be_changed_is_told(tmp_path: Path) -> None:
    packages, trees = sources(tmp_path)
    target = trees / "broadcom/bcm2837-rpi-zero-2-w.dtb"
    subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", target], input=b"/dts-v1/; / { };", check=True)
    with pytest.raises(SystemExit, match="usb@7e980000"):
        bootfiles.collect(pi(), packages, trees, tmp_path / "made")


def test_config_txt_starts_what_is_on_the_partition_and_the_kernel_is_given_no_console(tmp_path: Path) -> None:
    plan = bootfiles.plan(pi())
    lines = (boards.FIRMWARE / "boards/rpi/config.txt").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert settings["kernel"] in plan["packages"] and settings["arm_64bit"] == "1"
    assert settings["upstream_kernel"] == "1", "the device trees have the kernel's names"
    # With 16 MiB the firmware takes its cut-down programs.
    assert settings["gpu_mem"] != "16" or {"start_cd.elf", "fixup_cd.dat", "start4cd.elf"} <= plan["packages"].keys()
    assert not any("console=" in argument for argument in pi().kernel_arguments)


def test_all_boards_have_one_grub_cfg_but_for_the_serial_line_that_grub_drives_itself() -> None:
    text = (boards.FIRMWARE / "grub.cfg").read_text()
    pc, here = (grub.configuration(text, boards.load(name)).splitlines() for name in ("x86_64", "rpi"))
    gone = {line.split()[0] for line in pc if line not in here}
    assert gone == {"serial", "terminal_input", "terminal_output", "linux"}
    assert not any("serial" in line.split()[:1] for line in here) and "@" not in "".join(here)


@pytest.mark.parametrize(
    ("active", "screen", "lines"),
    [
        ("tty0 ttyS0", True, {"ttyS0", "tty1"}),
        ("ttyS1", False, {"ttyS1"}),
        ("ttyAMA10", False, {"ttyAMA10"}),
        ("tty0 ttyAMA0", False, {"ttyAMA0"}),
    ],
)
def test_a_menu_is_on_each_line_that_is_there(tmp_path: Path, active: str, screen: bool, lines: set[str]) -> None:
    (tmp_path / "sys/class/tty/console").mkdir(parents=True)
    (tmp_path / "sys/class/tty/console/active").write_text(active + "\n")
    if screen:
        (tmp_path / "sys/class/graphics/fb0").mkdir(parents=True)
    units = tmp_path / "units"
    subprocess.run([GENERATOR, units, units, units], check=True, env={**os.environ, "MAILWEIR_ROOT": str(tmp_path)})
    links = {path.name: path.readlink() for path in (units / "multi-user.target.wants").iterdir()}
    assert links.keys() == {f"mailweir-console@{line}.service" for line in lines}
    assert {str(target) for target in links.values()} == {"/usr/lib/systemd/system/mailweir-console@.service"}


@pytest.mark.parametrize(("names", "has_menu"), [(["(S) VGA+"], True), (["(S) dummy device"], False), ([], False)])
def test_a_pc_in_text_mode_has_a_menu_on_its_screen(tmp_path: Path, names: list[str], has_menu: bool) -> None:
    (tmp_path / "sys/class/tty/console").mkdir(parents=True)
    (tmp_path / "sys/class/tty/console/active").write_text("tty0 ttyS0\n")
    for number, name in enumerate(names):
        (tmp_path / f"sys/class/vtconsole/vtcon{number}").mkdir(parents=True)
        (tmp_path / f"sys/class/vtconsole/vtcon{number}/name").write_text(f"{name}\n")
    units = tmp_path / "units"
    subprocess.run([GENERATOR, units, units, units], check=True, env={**os.environ, "MAILWEIR_ROOT": str(tmp_path)})
    found = {path.name for path in (units / "multi-user.target.wants").iterdir()}
    assert ("mailweir-console@tty1.service" in found) == has_menu
    assert "mailweir-console@ttyS0.service" in found


@pytest.mark.parametrize(
    ("line", "typed", "said"),
    [
        ("/dev/tty1", "\n", "\nMailweir: press Enter for the menu. menu: console\n"),
        ("/dev/ttyS1", "", "menu: console\n"),
        ("/dev/ttyAMA10", "", "menu: console\n"),
    ],
)
def test_on_a_screen_the_menu_takes_memory_only_once_somebody_wants_it(
    tmp_path: Path, line: str, typed: str, said: str
) -> None:
    menu = tmp_path / "menu"
    menu.write_text('#!/bin/sh\nread -r more && exit 1\necho "menu: $*"\n')
    menu.chmod(0o755)
    script = boards.OVERLAY / "usr/lib/mailweir/console"
    words = ["sh", "-c", f"tty() {{ echo {line}; }}; . {script}"]
    environment = {**os.environ, "MAILWEIR_MENU": str(menu)}
    done = subprocess.run(words, input=typed, text=True, capture_output=True, env=environment, check=True)
    assert done.stdout == said
