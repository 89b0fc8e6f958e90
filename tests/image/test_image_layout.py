"""The image's layout: the partition table, boot sectors, the first disk in memory, and what is taken from Debian."""

from __future__ import annotations

import io
import itertools
import re
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.builder import board as boards
from firmware.builder import build, debian, gpt, grub, initrd, kernel, tree

FIRST_BOOT = boards.OVERLAY / "usr/lib/mailweir/first-boot"
SIZES = st.integers(1, 512)


def partitions_of(first: bytes) -> list[tuple[str, int, int]]:
    """Name, first and last sector of each entry, read back."""
    found = []
    for at in range(1024, 1024 + 128 * 128, 128):
        _, _, begins, ends, _, name = struct.unpack("<16s16sQQQ72s", first[at : at + 128])
        if ends:
            found.append((name.decode("utf-16-le").rstrip("\0"), begins, ends))
    return found


@given(SIZES, SIZES, SIZES)
def test_the_partitions_follow_each_other_and_read_back_as_they_were_laid_out(esp: int, boot: int, root: int) -> None:
    laid = gpt.lay_out(esp, boot, root)
    first, last = gpt.render(laid, gpt.disk_mib(laid))
    assert partitions_of(first) == [(it.name, it.first_sector, it.last_sector) for it in laid]
    assert all(after.first_sector == it.last_sector + 1 for it, after in itertools.pairwise(laid))
    assert first[1024:] == last[:-512], "both copies of the table are the same"


def test_both_headers_have_their_checksums_and_point_at_each_other() -> None:
    laid = gpt.lay_out(64, 48, 192)
    size_mib = gpt.disk_mib(laid)
    first, last = gpt.render(laid, size_mib)
    for header, own, other in ((first[512:1024], 1, size_mib * 2048 - 1), (last[-512:], size_mib * 2048 - 1, 1)):
        fields = struct.unpack("<8sIIIIQQ", header[:40])
        assert fields[0] == b"EFI PART" and fields[5:] == (own, other)
        assert zlib.crc32(header[:16] + bytes(4) + header[20:92]) == fields[3]
        assert struct.unpack("<I", header[88:92])[0] == zlib.crc32(first[1024:])


def test_partitions_that_overlap_or_do_not_fit_are_refused() -> None:
    one = gpt.Partition("one", gpt.LINUX, 1, 2)
    with pytest.raises(ValueError, match="two"):
        gpt.render([one, gpt.Partition("two", gpt.LINUX, 2, 1)], 8)
    with pytest.raises(ValueError, match="one"):
        gpt.render([one], 3)


def test_boot_code_that_would_run_over_the_partition_table_is_refused() -> None:
    with pytest.raises(ValueError, match="440"):
        gpt.render([], 8, bytes(441))


def test_the_boot_sector_points_at_the_core_and_the_core_at_its_rest() -> None:
    mbr, core = grub.boot_sectors(bytes(512), b"x" * 1300, 2048)
    assert len(mbr) == 440 and struct.unpack_from("<Q", mbr, 0x5C) == (2048,)
    assert len(core) == 1536
    assert struct.unpack_from("<QHH", core, 0x1F4) == (2049, 2, 0x820)


def test_grubs_environment_block_is_a_kibibyte() -> None:
    block = grub.environment({"ORDER": "A B", "A_OK": "1"})
    assert len(block) == 1024 and block.startswith(b"# GRUB Environment Block\nORDER=A B\nA_OK=1\n#")


def test_modules_are_loaded_behind_what_they_need() -> None:
    dependencies = (
        "kernel/a/virtio-blk.ko.xz: kernel/b/virtio_ring.ko.xz kernel/b/virtio.ko.xz\n"
        "kernel/b/virtio_ring.ko.xz: kernel/b/virtio.ko.xz\n"
        "kernel/b/virtio.ko.xz:\n"
    )
    assert kernel.load_order(dependencies, ["virtio_blk", "built_in", "virtio_ring"]) == [
        "kernel/b/virtio.ko.xz",
        "kernel/b/virtio_ring.ko.xz",
        "kernel/a/virtio-blk.ko.xz",
    ]


def test_the_first_disk_in_memory_reads_back_with_cpio(tmp_path: Path) -> None:
    entries = {"init": initrd.program(b"#!/bin/sh\n"), "a/b/file": initrd.file(b"odd"), "lib": initrd.link("a/b")}
    octets = initrd.archive(entries, 1_700_000_000)
    assert octets == initrd.archive(dict(reversed(entries.items())), 1_700_000_000)
    assert re.findall(rb"070701.{104}([^\0]+)\0", octets, re.DOTALL) == [
        b"a", b"a/b", b"a/b/file", b"init", b"lib", b"TRAILER!!!"
    ]  # fmt: skip


def test_users_get_neither_password_nor_shell() -> None:
    ours = tree.users('# comment\nu mta 801 "Mail" - -\n')
    assert ours == [("mta", 801)]
    line = b"mta:x:801:801:Mailweir:/nonexistent:/usr/sbin/nologin\n"
    assert tree.add_users("etc/passwd", b"root\n", ours) == b"root\n" + line
    assert b"mta:!*:" in tree.add_users("etc/shadow", b"", ours)


def test_what_is_laid_over_takes_the_place_of_debians_and_all_has_one_time(tmp_path: Path) -> None:
    base = tmp_path / "debian.tar"
    with tarfile.open(base, "w") as out:
        for name, octets in (("./etc/hosts", b"debian"), ("./etc/keep", b"kept"), ("./boot/vmlinuz", b"gone")):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(octets), 5
            out.addfile(member, io.BytesIO(octets))
    over = tmp_path / "over"
    (over / "etc").mkdir(parents=True)
    (over / "etc/hosts").write_text("ours")
    tree.merge(base, [over], [], 1_700_000_000, tmp_path / "root.tar")
    assert tree.read_files(tmp_path / "root.tar", lambda path: True) == {"etc/hosts": b"ours", "etc/keep": b"kept"}
    with tarfile.open(tmp_path / "root.tar") as made:
        assert {member.mtime for member in made} == {1_700_000_000}
        assert {member.uid for member in made} == {0}


def test_the_lock_reads_back_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    debian.mirror.cache_clear()
    monkeypatch.setenv("MAILWEIR_DEBIAN", "http://mirror.test/debian")
    monkeypatch.setenv("MAILWEIR_DEBIAN_SECURITY", "http://mirror.test/security/")
    printed = (
        "Reading package lists...\n'http://mirror.test/security/pool/a/a_1%7eb_all.deb' "
        f"a_2%3a1~b_all.deb 7 SHA256:{'0' * 64}\n'http://mirror.test/debian/pool/b/b_1_amd64.deb' b_1_amd64.deb 7 "
        f"SHA256:{'1' * 64}\n"
    )
    found = debian.parse_uris(printed)
    assert [(it.name, it.version) for it in found] == [("a", "2:1~b"), ("b", "1")]
    assert debian.read_lock(debian.write_lock(found)) == sorted(found)
    assert found[0].uri == "http://mirror.test/security/pool/a/a_1%7eb_all.deb"
    debian.mirror.cache_clear()


@pytest.mark.parametrize("name", boards.names())
def test_every_package_asked_for_is_in_the_boards_lock(name: str) -> None:
    board = boards.load(name)
    locked = {package.name for package in debian.read_lock(board.lock.read_text())}
    assert {*boards.packages(), *board.packages, *board.boot_packages} <= locked
    assert any(map(debian.is_kernel, locked))


def test_the_readme_gives_each_packages_reason() -> None:
    readme = (boards.FIRMWARE / "README.md").read_text()
    for name, reason in boards.packages().items():
        assert f"| {name} | {reason} |" in readme


@pytest.mark.parametrize("name", ["prepare-data", "first-boot", "console"])
def test_scripts_of_the_image_are_shell_that_parses(name: str) -> None:
    subprocess.run(["sh", "-n", str(boards.OVERLAY / "usr/lib/mailweir" / name)], check=True)
    subprocess.run(["sh", "-n", str(boards.FIRMWARE / "init")], check=True)


def test_the_journals_place_on_the_disk_is_there_before_systemd_and_sysd_may_empty_it() -> None:
    from appliance.daemon import sysd

    script = (boards.OVERLAY / "usr/lib/mailweir/prepare-data").read_text()
    link = script.index("ln -s /data/journal /var/log/journal\n")
    assert script.index("/var/log ") < script.index('"$device" /data ') < script.index(" /data/journal\n") < link
    unit = (boards.OVERLAY / "usr/lib/systemd/system/mailweir-sysd.service").read_text()
    (command,) = re.findall("^ExecStart=(.*)", unit, re.MULTILINE)
    (writable,) = re.findall("^ReadWritePaths=(.*)", unit, re.MULTILINE)
    assert " --journal " in command and " --erase /data/journal " in command
    assert (boards.OVERLAY / f"usr/lib/systemd/system/{sysd._ON_DISK}").exists()
    assert "-/data/journal" in writable.split() and "/var/log" not in writable


def test_the_factory_configuration_is_good() -> None:
    from appliance.config.check import refuse_errors
    from appliance.config.load import load

    path = str(boards.OVERLAY / "usr/share/mailweir/factory.toml")
    refuse_errors(load(path), path)


def test_the_resolvers_first_configuration_is_what_the_network_renders() -> None:
    from appliance.config.network_tables import Network
    from appliance.network import names

    shipped = (boards.OVERLAY / "usr/share/mailweir/unbound.conf").read_text()
    assert shipped == names.render(Network(), [])[names.UNBOUND]


@pytest.mark.parametrize(("memory_mib", "workers", "held"), [(453, 1, 48), (892, 0, 64), (7800, 0, 256)])
@pytest.mark.parametrize("name", boards.names())
def test_the_delivered_configuration_bears_the_machines_memory(
    tmp_path: Path, name: str, memory_mib: int, workers: int, held: int
) -> None:
    from appliance.config.check import refuse_errors
    from appliance.config.load import load

    shared = tmp_path / "usr/share/mailweir"
    shared.mkdir(parents=True)
    (tmp_path / "run/mailweir").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {memory_mib * 1024} kB\nMemFree: 1 kB\n")
    (shared / "factory.toml").write_bytes((boards.OVERLAY / "usr/share/mailweir/factory.toml").read_bytes())
    for file, text in build.rendered(boards.load(name)).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    subprocess.run(["sh", FIRST_BOOT], check=True, env={"MAILWEIR_ROOT": str(tmp_path), "CREDENTIALS_DIRECTORY": ""})
    config = load(str(tmp_path / "run/mailweir/factory.toml"))
    refuse_errors(config, "factory.toml")
    assert (config.workers.count, config.limits.memory_per_worker) == (workers, held << 20)


def test_a_configuration_that_was_passed_along_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "run/mailweir").mkdir(parents=True)
    (tmp_path / "mailweir.factory").write_text("version = 1\n")
    environment = {"MAILWEIR_ROOT": str(tmp_path), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    subprocess.run(["sh", FIRST_BOOT], check=True, env=environment)
    assert (tmp_path / "run/mailweir/factory.toml").read_text() == "version = 1\n"


@pytest.mark.parametrize("name", boards.names())
def test_the_least_machine_holds_what_its_workers_may_hold(name: str) -> None:
    board = boards.load(name)
    least = board.budgets[0]
    assert least.memory_mib == 0 and least.workers
    assert [it.memory_mib for it in board.budgets] == sorted({it.memory_mib for it in board.budgets})
    # 512 MiB, of which Linux itself takes 60 and an idle box 160.
    assert least.workers * least.held_mib <= 512 - 60 - 160
    for unit in board.memory_max:
        assert f"usr/lib/systemd/system/{unit}.d/50-board.conf" in build.rendered(board)
