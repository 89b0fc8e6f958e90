"""The boot loader's choice of a slot: grub.cfg as it is, run by grub-emu on a disk with the image's partitions."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from firmware.builder import gpt, grub
from firmware.builder.board import FIRMWARE
from firmware.builder.slot import fat

pytestmark = pytest.mark.skipif(shutil.which("grub-emu") is None, reason="Debian's grub-emu is not installed")

DEADLINE_S = 30.0
ESP_MIB, BOOT_MIB = 4, 2


class Chosen(NamedTuple):
    """What GRUB took, and the environment that it left."""

    slot: str
    left: dict[str, str]


Boot = Callable[..., Chosen]


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    """Boots with an environment; `held` are the slots whose partitions hold something."""

    def booted(held: str = "AB", block: bytes | None = None, **values: str) -> Chosen:
        given = {"ORDER": "A B", "A_OK": "1", "B_OK": "1", "A_TRY": "0", "B_TRY": "0", "A_NEW": "0", "B_NEW": "0"}
        image = disk_with(tmp_path, held, grub.environment({**given, **values}) if block is None else block)
        slot = run_grub(tmp_path, image)
        return Chosen(slot, environment_of(image))

    return booted


def disk_with(folder: Path, held: str, block: bytes) -> Path:
    partitions = {it.name: it for it in gpt.lay_out(ESP_MIB, BOOT_MIB, 1)}
    size_mib = gpt.disk_mib(list(partitions.values()))
    first, last = gpt.render(list(partitions.values()), size_mib)
    (folder / "grubenv").write_bytes(block)
    (folder / "slot.cfg").write_text("set slot_arguments=none\n")
    image = folder / "disk.img"
    with image.open("wb") as out:
        out.truncate(size_mib << 20)
        out.write(first)
        out.seek((size_mib << 20) - len(last))
        out.write(last)
        out.seek(partitions["esp"].first_mib << 20)
        out.write(fat(folder / "esp.img", ESP_MIB, {"grub/grubenv": folder / "grubenv"}).read_bytes())
        for letter in held.lower():
            out.seek(partitions[f"boot_{letter}"].first_mib << 20)
            out.write(fat(folder / "boot.img", BOOT_MIB, {"slot.cfg": folder / "slot.cfg"}).read_bytes())
    return image


def run_grub(folder: Path, image: Path) -> str:
    """The slot that is in `pick` where the choice is made; empty for none."""
    script, found, _ = (FIRMWARE / "grub.cfg").read_text().partition("# -- chosen")
    assert found, "the line that ends the choice"
    script = re.sub(r"^(serial|terminal_).*$", "", script, flags=re.MULTILINE)  # this terminal is the right one
    head = "set root=hd0,gpt2\nset prefix=(hd0,gpt2)/grub\n"
    (folder / "grub.cfg").write_text(f'{head}{script}\necho "picked:$pick:$try:"\nhalt\n')
    (folder / "device.map").write_text(f"(hd0) {image}\n")
    ours, theirs = os.openpty()
    words = ["grub-emu", "-m", str(folder / "device.map"), "-d", str(folder)]
    process = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "vt100"}, close_fds=True
    )
    os.close(theirs)
    try:
        return said_on(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def said_on(terminal: int) -> str:
    said, until_s = b"", time.monotonic() + DEADLINE_S
    while (found := re.search(rb"picked:(\w*):\w*:", said)) is None:
        assert select.select([terminal], [], [], max(0.0, until_s - time.monotonic()))[0], said
        said += os.read(terminal, 4096)
    assert b"syntax" not in said and b"find command" not in said, said
    return found[1].decode()


def environment_of(image: Path) -> dict[str, str]:
    esp = next(it for it in gpt.lay_out(ESP_MIB, BOOT_MIB, 1) if it.name == "esp")
    with image.open("rb") as source:
        source.seek(esp.first_mib << 20)
        octets = source.read(ESP_MIB << 20)
    at = octets.find(b"# GRUB Environment Block\n")
    lines = octets[at : at + 1024].decode().splitlines() if at >= 0 else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_the_first_in_order_starts_and_its_try_is_spent_before(boot: Boot) -> None:
    chosen = boot(ORDER="B A", B_NEW="1")
    assert chosen.slot == "B" and chosen.left["B_TRY"] == "1" and chosen.left["A_TRY"] == "0"


def test_a_new_slot_gets_three_tries_then_the_old_one_returns(boot: Boot) -> None:
    tries, history = "0", []
    for _ in range(4):
        chosen = boot(ORDER="B A", B_NEW="1", B_TRY=tries)
        history.append((chosen.slot, chosen.left["B_TRY"]))
        tries = chosen.left["B_TRY"]
    assert history == [("B", "1"), ("B", "2"), ("B", "3"), ("A", "3")]


@pytest.mark.parametrize(
    ("values", "slot", "left"),
    [
        ({"ORDER": "B A", "B_OK": "0"}, "A", ("1", "0")),
        ({"ORDER": "A B", "A_OK": "0", "A_TRY": "1"}, "B", ("1", "1")),
        # None has a try left: the one that was healthy once comes first, and both begin again.
        ({"ORDER": "B A", "A_TRY": "3", "B_TRY": "3", "B_NEW": "1"}, "A", ("1", "0")),
        ({"ORDER": "B A", "A_TRY": "3", "B_TRY": "3"}, "B", ("0", "1")),
        ({"ORDER": "A B", "A_TRY": "3", "B_OK": "0"}, "A", ("1", "0")),
        ({"ORDER": "B A", "A_OK": "0", "B_TRY": "3", "B_NEW": "1"}, "B", ("0", "1")),
        # Nothing is called whole: better anything than nothing.
        ({"ORDER": "B A", "A_OK": "0", "B_OK": "0"}, "B", ("0", "1")),
        # What stands in the block may be odd.
        ({"ORDER": "B A", "B_TRY": "7"}, "A", ("1", "7")),
        ({"ORDER": "", "A_OK": "1"}, "A", ("1", "0")),
        ({"ORDER": "C B", "A_OK": "1"}, "B", ("0", "1")),
    ],
)
def test_what_is_chosen_and_what_is_left(boot: Boot, values: dict[str, str], slot: str, left: tuple[str, str]) -> None:
    chosen = boot(**values)
    assert (chosen.slot, (chosen.left["A_TRY"], chosen.left["B_TRY"])) == (slot, left)


@pytest.mark.parametrize(("held", "slot"), [("A", "A"), ("B", "B"), ("", "")])
def test_a_slot_whose_partition_holds_nothing_is_passed_over(boot: Boot, held: str, slot: str) -> None:
    assert boot(held, ORDER="B A").slot == slot
    assert boot(held, ORDER="A B", A_TRY="3", B_TRY="3", A_OK="0", B_OK="0").slot == slot


@pytest.mark.parametrize("block", [b"", bytes(1024), b"\xff" * 1024, b"# GRUB Environment Block\n" + b"#" * 999])
def test_a_lost_environment_still_leads_to_a_slot(boot: Boot, block: bytes) -> None:
    assert boot(block=block).slot == "A"
    assert boot("B", block=block).slot == "B"


def test_the_whole_file_parses_as_grub_script() -> None:
    check = shutil.which("grub-script-check")
    if check is None:
        pytest.skip("Debian's grub-common is not installed")
    subprocess.run([check, str(FIRMWARE / "grub.cfg")], check=True)
