"""What of the image an update needs: RAUC's configuration, units and what they may, keys, and the bundle itself."""

from __future__ import annotations

import configparser
import dataclasses
import os
import re
import shutil
from pathlib import Path

import pytest

from appliance.update import bundle as bundles
from appliance.update import formats
from appliance.update.bundle import BadBundle
from appliance.update.grubenv import parse
from appliance.update.slots import NAMES
from firmware.builder import board as boards
from firmware.builder import bundle, grub, keys
from firmware.builder.build import rendered
from firmware.builder.run import run

UNITS = boards.OVERLAY / "usr/lib/systemd/system"
ENABLED = boards.OVERLAY / "etc/systemd/system"
needs_rauc = pytest.mark.skipif(shutil.which("rauc") is None, reason="Debian's rauc is not installed")


def ini(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


def settings(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def test_rauc_knows_both_slots_with_their_parts() -> None:
    found = ini(boards.FIRMWARE / "rauc.conf")
    for number, name in enumerate(NAMES):
        root, boot = found[f"slot.rootfs.{number}"], found[f"slot.boot.{number}"]
        assert root["bootname"] == name and boot["parent"] == f"rootfs.{number}"
        assert root["device"] == f"/dev/mailweir/root_{name.lower()}"
        assert boot["device"] == f"/dev/mailweir/boot_{name.lower()}"


@pytest.mark.parametrize("name", boards.names())
def test_a_board_takes_the_form_of_update_that_is_made_for_it(name: str, tmp_path: Path) -> None:
    board = boards.load(name)
    (tmp_path / "system.conf").write_text(rendered(board)["etc/rauc/system.conf"])
    taken = ini(tmp_path / "system.conf")["system"]["bundle-formats"].split()
    assert taken == list(board.bundle_formats)
    # What is not checked block by block is for a kernel that RAUC does not understand: Debian's own it does.
    assert taken == ["verity"] or (taken == ["plain", "verity"] and board.kernel_suite != board.suite)


def test_the_partitions_that_rauc_writes_are_named_at_boot() -> None:
    script = (boards.OVERLAY / "usr/lib/mailweir/prepare-data").read_text()
    assert "for part in boot_a root_a boot_b root_b" in script and "/dev/mailweir/$part" in script


def test_raucs_boot_handler_is_a_program_of_the_image() -> None:
    handler = ini(boards.FIRMWARE / "rauc.conf")["handlers"]["bootloader-custom-backend"]
    path = boards.OVERLAY / handler.lstrip("/")
    assert os.access(path, os.X_OK)
    compile(path.read_text(), str(path), "exec")


def test_there_is_no_system_bus_and_raucs_service_has_one_of_its_own() -> None:
    for name in ("dbus.socket", "dbus.service"):
        assert os.readlink(ENABLED / name) == "/dev/null"
    service = ini(boards.OVERLAY / "usr/share/dbus-1/services/de.pengutronix.rauc.service")["D-BUS Service"]
    assert (service["Name"], service["Exec"]) == ("de.pengutronix.rauc", "/usr/bin/rauc service")


def test_the_gate_starts_at_each_boot_and_its_time_is_bounded() -> None:
    unit = UNITS / "mailweir-health.service"
    assert os.readlink(ENABLED / "multi-user.target.wants/mailweir-health.service") == str(
        Path("/") / unit.relative_to(boards.OVERLAY)
    )
    within_s = int(re.findall(r"--within (\d+)", unit.read_text())[0])
    assert within_s < int(settings(unit, "TimeoutStartSec")[0])
    assert settings(unit, "JobTimeoutAction") == ["reboot-force"] and settings(unit, "JobTimeoutSec") == ["15min"]


@pytest.mark.parametrize("unit", sorted(UNITS.glob("mailweir*.service")), ids=lambda path: path.name)
def test_only_the_environment_block_of_the_boot_loader_may_be_written(unit: Path) -> None:
    writable = [path for line in settings(unit, "ReadWritePaths") for path in line.split() if "/boot" in path]
    assert set(writable) <= {"-/boot/efi/grub/grubenv"}


def test_only_the_installer_may_mount() -> None:
    holders = [
        unit.name
        for unit in UNITS.glob("mailweir*.service")
        if any("CAP_SYS_ADMIN" in line for line in settings(unit, "CapabilityBoundingSet"))
    ]
    assert holders == ["mailweir-update.service"]


def test_a_disk_as_it_is_delivered_knows_one_slot() -> None:
    assert parse(grub.environment(grub.FRESH)) == grub.FRESH and grub.FRESH["B_OK"] == "0"


@pytest.mark.parametrize("version", ["", "two words", "-x", 'x"', "x" * 41, "é"])
def test_a_version_that_cannot_stand_on_a_command_line_is_refused(version: str) -> None:
    with pytest.raises(SystemExit, match="--version"):
        bundle.check_version(version)


def test_a_keyring_with_a_private_key_or_nothing_is_refused(tmp_path: Path) -> None:
    folder = keys.authority(tmp_path / "keys", "test")
    assert keys.keyring(folder / "authority.pem").read_text().startswith("-----BEGIN CERTIFICATE")
    (tmp_path / "empty").touch()
    for path, words in ((folder / "signer.key", "private key"), (tmp_path / "empty", "no certificate"),
                        (tmp_path / "none", "No such file")):  # fmt: skip
        with pytest.raises(SystemExit, match=words):
            keys.keyring(path)
    with pytest.raises(SystemExit, match="go together"):
        keys.signer("cert.pem", None)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> boards.Board:
    """A board of which a small slot was built."""
    monkeypatch.setattr(boards, "CACHE", tmp_path)
    board = dataclasses.replace(boards.load("x86_64"), boot_mib=2)
    work = board.cache / "work"
    work.mkdir(parents=True)
    for name in ("root.img", "vmlinuz", "initrd.img"):
        (work / name).write_bytes(os.urandom(200_000))
    (work / "slot_arguments").write_text("mailweir.hash=00")
    return board


@needs_rauc
def test_a_bundle_is_taken_by_whom_it_is_signed_for_and_says_its_release(board: boards.Board, tmp_path: Path) -> None:
    ours, theirs = keys.authority(tmp_path / "ours", "ours"), keys.authority(tmp_path / "theirs", "theirs")
    signer = keys.signer(str(ours / "signer.pem"), str(ours / "signer.key"))
    made = bundle.make_bundle(board, "2026.12", signer, tmp_path / "made.raucb")
    said = run("rauc", "info", f"--keyring={ours / 'authority.pem'}", "--output-format=json", made)
    found = bundles.parse(said)
    assert (found.compatible, found.version, found.writes) == ("mailweir-x86_64", "2026.12", dict(formats.WRITES))
    with pytest.raises(SystemExit, match="signature verification failed"):
        run("rauc", "info", f"--keyring={theirs / 'authority.pem'}", made)


@needs_rauc
def test_what_is_no_bundle_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "odd.raucb").write_bytes(b"x" * 5000)
    with pytest.raises(BadBundle, match=r"odd\.raucb is refused: "):
        bundles.look(tmp_path / "odd.raucb", Path(shutil.which("rauc") or ""))


def test_nothing_built_is_no_bundle(board: boards.Board, tmp_path: Path) -> None:
    (board.cache / "work" / "slot_arguments").unlink()
    with pytest.raises(SystemExit, match="nothing was built yet"):
        bundle.make_bundle(board, "1", keys.Signer("x", "y"), tmp_path / "made.raucb")
