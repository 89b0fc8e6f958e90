"""What stands around the image: the disk that loses power, the world of the trial, the list of contents, the writer."""

from __future__ import annotations

import ipaddress
import random
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.builder import peers, sbom, twice, write
from firmware.builder.flaky_disk import FlakyDisk

BLOCK = 4096
READ, WRITE, FLUSH = 0, 1, 3


class Client:
    """As much of NBD as QEMU speaks."""

    def __init__(self, address: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(address))
        self._read = self._socket.makefile("rb").read
        assert self._read(18)[:16] == b"NBDMAGICIHAVEOPT"
        self._socket.sendall(struct.pack(">I", 1) + struct.pack(">QII", 0x49484156454F5054, 7, 6) + bytes(6))
        assert struct.unpack(">QIII", self._read(20))[2] == 3
        self.size_bytes = struct.unpack(">HQH", self._read(12))[1]
        assert struct.unpack(">QIII", self._read(20))[2] == 1

    def ask(self, kind: int, offset: int = 0, octets: bytes = b"", length: int = 0) -> bytes:
        head = struct.pack(">IHHQQI", 0x25609513, 0, kind, 7, offset, length or len(octets))
        self._socket.sendall(head + octets)
        answer = self._read(16)
        assert answer == struct.pack(">IIQ", 0x67446698, 0, 7), "no answer, or an error"
        return self._read(length) if kind == READ else b""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FlakyDisk]:
    (tmp_path / "disk.img").write_bytes(b"o" * BLOCK * 16)
    made = FlakyDisk(tmp_path / "disk.img", tmp_path / "disk.nbd", random.Random(1))
    yield made
    made.close()


def blocks(disk: FlakyDisk) -> bytes:
    """The first octet of each block."""
    return disk.address.with_suffix(".img").read_bytes()[::BLOCK]


def test_what_was_flushed_survives_the_loss_of_power_and_of_the_rest_some_blocks_do(disk: FlakyDisk) -> None:
    client = Client(disk.address)
    assert client.size_bytes == 16 * BLOCK
    client.ask(WRITE, 0, b"s" * BLOCK * 4)
    client.ask(FLUSH)
    client.ask(WRITE, 4 * BLOCK, b"n" * BLOCK * 12)
    assert client.ask(READ, 0, length=16 * BLOCK)[::BLOCK] == b"s" * 4 + b"n" * 12
    assert disk.lose() == 1
    left = blocks(disk)
    assert left[:4] == b"ssss" and set(left[4:]) == set(b"no")


def test_a_disk_dies_in_the_write_that_was_named_and_takes_no_other(disk: FlakyDisk) -> None:
    client = Client(disk.address)
    disk.cut_at(2, from_byte=8 * BLOCK)
    client.ask(WRITE, 0, b"a" * BLOCK)
    client.ask(WRITE, 8 * BLOCK, b"b" * BLOCK)
    client.ask(FLUSH)
    with pytest.raises((AssertionError, OSError)):
        client.ask(WRITE, 9 * BLOCK, b"c" * BLOCK)
    assert disk.cut.is_set()
    disk.lose()
    assert blocks(disk)[0:1] == b"a" and blocks(disk)[8:9] == b"b"
    Client(disk.address).ask(WRITE, BLOCK, b"d" * BLOCK)  # the power is back
    assert blocks(disk)[1:2] == b"d"


def asked(kind: int) -> bytes:
    head = bytes([1, 1, 6, 0]) + b"\1\2\3\4" + bytes(20) + b"\x52\x54\0\0\0\2" + bytes(202)
    return head + b"\x63\x82\x53\x63" + bytes([0, 53, 1, kind, 255])


@pytest.mark.parametrize(("kind", "answered"), [(1, 2), (3, 5)])
def test_the_one_lease_there_is_is_offered_and_granted(kind: int, answered: int) -> None:
    answer = peers.lease_answer(asked(kind), "198.51.100.1", "198.51.100.5")
    assert answer is not None and answer[0] == 2 and answer[4:8] == b"\1\2\3\4"
    assert ipaddress.ip_address(answer[16:20]) == ipaddress.ip_address("198.51.100.5")
    assert answer[28:34] == b"\x52\x54\0\0\0\2"
    assert answer[240:243] == bytes([53, 1, answered])
    assert peers.lease_answer(asked(7), "198.51.100.1", "198.51.100.5") is None, "a release wants no answer"


@given(st.binary(max_size=400))
def test_no_datagram_ends_the_dhcp_server(octets: bytes) -> None:
    peers.lease_answer(octets, "198.51.100.1", "198.51.100.5")
    peers.lease_answer(asked(1)[:240] + octets, "198.51.100.1", "198.51.100.5")


def test_the_trial_refuses_to_make_its_networks_among_those_of_this_machine() -> None:
    if {name for _, name in socket.if_nameindex()} <= {"lo"}:
        pytest.skip("this machine has no network to be spared")
    with pytest.raises(SystemExit, match="namespace"):
        peers.lay_cables()


def test_licences_are_found_in_both_forms_of_naming_them() -> None:
    text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nLicense: GPL-2+\n text\n"
    assert sbom.debian_licences(text + "\nFiles: x\nLicense: MIT\n") == ["GPL-2+", "MIT"]
    assert sbom.debian_licences("License: of an old file, free form") == []
    fields = [("License", "MIT\nlong text"), ("Classifier", "License :: OSI Approved :: BSD License")]
    assert sbom.python_licences(fields) == ["BSD License"]
    assert sbom.python_licences([*fields, ("License-Expression", "MIT AND BSD-2-Clause")]) == ["MIT AND BSD-2-Clause"]


def test_two_builds_that_differ_are_told_apart_by_their_parts(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "work").mkdir(parents=True)
        (tmp_path / name / "disk.img").write_bytes(b"same")
        (tmp_path / name / "work/initrd.img").write_text(name)
    assert list(twice.differences(tmp_path / "one", tmp_path / "other")) == ["work/initrd.img"]


# --- writing it


def image_of(folder: Path) -> Path:
    image = folder / "disk.img"
    image.write_bytes(random.Random(2).randbytes(5 << 20))
    return image


def test_a_file_is_written_and_read_back_when_its_name_is_typed(tmp_path: Path) -> None:
    image, target = image_of(tmp_path), tmp_path / "card"
    target.write_bytes(b"old" * 9)
    with pytest.raises(SystemExit, match="nothing was written"):
        write.write(image, target, force=False, ask=lambda question: "yes")
    assert target.read_bytes() == b"old" * 9
    write.write(image, target, force=False, ask=lambda question: "card")
    assert target.read_bytes() == image.read_bytes()


def test_what_reads_back_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, target = image_of(tmp_path), tmp_path / "card"
    target.touch()
    monkeypatch.setattr(write, "_digest", lambda path, size_bytes: "0" * 64)
    with pytest.raises(SystemExit, match="do not use it"):
        write.write(image, target, force=False, ask=lambda question: "card")


def test_what_is_no_disk_or_not_there_is_refused(tmp_path: Path) -> None:
    image = image_of(tmp_path)
    for path, reason in ((tmp_path / "none", "No such file"), (Path("/dev/null"), "neither"), (tmp_path, "neither")):
        with pytest.raises(SystemExit, match=reason):
            write.write(image, path, force=True, ask=lambda question: "none")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (write.Target(Path("/dev/sdx"), "Disk", 1 << 40, True, ("sdx1",), ("sdx1 is mounted at /",)), "in use"),
        (write.Target(Path("/dev/sdx"), "Card", 1 << 10, True, (), ()), "needs"),
        (write.Target(Path("/dev/sdx"), "Disk", 1 << 40, False, (), ()), "--force"),
    ],
)
def test_a_disk_in_use_one_too_small_and_one_that_is_no_card_are_refused(target: write.Target, reason: str) -> None:
    with pytest.raises(SystemExit, match=reason):
        write.refuse(target, 1 << 20, force=False)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A loop device of 8 MiB."""
    if shutil.which("losetup") is None:
        pytest.skip("losetup is not there")
    backing = tmp_path / "backing"
    backing.write_bytes(bytes(8 << 20))
    made = subprocess.run(["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device can be made here: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", str(device)], check=True)


def test_a_disk_is_written_only_by_force_if_it_is_not_removable(tmp_path: Path, loop: Path) -> None:
    image = image_of(tmp_path)
    with pytest.raises(SystemExit, match="--force"):
        write.write(image, loop, force=False, ask=lambda question: loop.name)
    write.write(image, loop, force=True, ask=lambda question: loop.name)
    assert loop.read_bytes()[: 5 << 20] == image.read_bytes()


def test_a_disk_that_is_mounted_is_refused_whatever_is_said(tmp_path: Path, loop: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", str(loop)], check=True)
    # In this process alone, the mount is seen only in a namespace of its own.
    script = (
        "import sys; from pathlib import Path; from firmware.builder import write\n"
        "write.write(Path(sys.argv[1]), Path(sys.argv[2]), force=True, ask=lambda question: Path(sys.argv[2]).name)"
    )
    (tmp_path / "at").mkdir()
    shell = 'mount "$1" "$2" && exec python3 -c "$3" "$4" "$1"'
    words = ["unshare", "--mount", "sh", "-c", shell, "sh", str(loop), str(tmp_path / "at"), script]
    done = subprocess.run([*words, str(image_of(tmp_path))], capture_output=True, text=True, check=False)
    assert "is in use" in done.stderr and f"mounted at {tmp_path / 'at'}" in done.stderr, done.stderr
