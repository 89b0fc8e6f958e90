from __future__ import annotations

from pathlib import Path

import pytest

from appliance.removable.devices import Devices, Stick

USB, PCI = "devices/pci0/usb1/1-1/host0", "devices/pci0/ata1/host1"


class Sys:
    """A made-up /sys, /proc and /run/udev."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.numbers = 0
        (root / "sys/class/block").mkdir(parents=True)
        (root / "run/udev/data").mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/mountinfo").write_text("22 1 8:99 / / rw - ext4 /dev/root rw\n")

    def disk(self, name: str, bus: str = USB, *, removable: bool = True, kind: str = "") -> Path:
        place = self.root / "sys" / bus / "block" / name
        (place / "device").mkdir(parents=True)
        (place / "device/vendor").write_text("ACME    \n")
        (place / "device/model").write_text("Key\n")
        (place / "removable").write_text(f"{int(removable)}\n")
        return self._entry(place, kind)

    def part(self, disk: Path, name: str, kind: str = "vfat", label: str = "KEYS") -> Path:
        place = disk / name
        place.mkdir()
        (place / "partition").write_text("1\n")
        return self._entry(place, kind, label)

    def mount(self, part: Path) -> None:
        with (self.root / "proc/self/mountinfo").open("a") as file:
            file.write(f"30 22 {(part / 'dev').read_text().strip()} / /data rw - ext4 /dev/x rw\n")

    def _entry(self, place: Path, kind: str, label: str = "") -> Path:
        self.numbers += 1
        number = f"8:{self.numbers}"
        (place / "dev").write_text(f"{number}\n")
        (place / "size").write_text("2048\n")
        (place / "holders").mkdir()
        (self.root / "sys/class/block" / place.name).symlink_to(place)
        note = f"S:disk/by-x\nE:ID_FS_TYPE={kind}\n" + (f"E:ID_FS_LABEL={label}\n" if label else "")
        (self.root / f"run/udev/data/b{number}").write_text(note if kind else "I:1\n")
        return place

    def names(self) -> list[str]:
        return [stick.device for stick in Devices(self.root).sticks()]


@pytest.fixture
def sys(tmp_path: Path) -> Sys:
    return Sys(tmp_path)


def test_the_partitions_of_a_stick_are_found_with_what_a_person_knows_them_by(sys: Sys) -> None:
    disk = sys.disk("sda")
    sys.part(disk, "sda1")
    sys.part(disk, "sda2", "exfat", "")
    assert Devices(sys.root).sticks() == [
        Stick("sda1", "vfat", "KEYS", 1 << 20, "ACME Key"),
        Stick("sda2", "exfat", "", 1 << 20, "ACME Key"),
    ]


def test_a_stick_without_partitions_is_one_too(sys: Sys) -> None:
    sys.disk("sdb", kind="ext4")
    assert sys.names() == ["sdb"]


def test_a_file_system_on_the_whole_disk_is_one_stick_whatever_its_first_sector_looks_like(sys: Sys) -> None:
    sys.part(sys.disk("sdb", kind="vfat"), "sdb1")
    assert sys.names() == ["sdb"]


def test_a_card_is_removable_without_being_on_usb_and_a_usb_disk_without_saying_so(sys: Sys) -> None:
    sys.part(sys.disk("mmcblk1", PCI), "mmcblk1p1")
    sys.part(sys.disk("sdc", removable=False), "sdc1")
    sys.part(sys.disk("sdd", PCI, removable=False), "sdd1")
    assert sys.names() == ["mmcblk1p1", "sdc1"]


def test_the_stick_that_the_box_runs_from_is_left_alone_with_all_its_partitions(sys: Sys) -> None:
    disk = sys.disk("sda")
    sys.part(disk, "sda1")
    sys.mount(sys.part(disk, "sda2", "ext4", "mailweir-data"))
    assert sys.names() == []


def test_so_is_one_that_carries_the_root_by_verity(sys: Sys) -> None:
    disk = sys.disk("sda")
    sys.part(disk, "sda1")
    (sys.part(disk, "sda2", "DM_verity_hash") / "holders/dm-0").mkdir()
    assert sys.names() == []


def test_other_file_systems_and_what_udev_has_not_looked_at_are_passed_over(sys: Sys) -> None:
    disk = sys.disk("sda")
    for name, kind in (("sda1", "ntfs"), ("sda2", ""), ("sda3", "crypto_LUKS")):
        sys.part(disk, name, kind)
    (sys.root / "run/udev/data/b8:3").unlink()
    (sys.part(disk, "sda4") / "size").write_text("0\n")
    assert sys.names() == []


def test_virtual_disks_are_none(sys: Sys) -> None:
    sys.disk("loop0", "devices/virtual", kind="vfat")
    sys.disk("zram0", "devices/virtual", kind="ext4")
    assert sys.names() == []
