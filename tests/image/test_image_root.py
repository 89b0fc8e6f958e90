"""Debian's part of the root: packages unpacked, and what their scripts would have left; for each architecture."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.builder import application, debian, installed, kernel, root
from firmware.builder import board as boards

PASSWD = b"root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = b"root:*:0:\nshadow:*:42:\nnogroup:*:65534:\n"
MASTERS = {"usr/share/base-passwd/passwd.master": PASSWD, "usr/share/base-passwd/group.master": GROUP}


CONTROL = "Package: {}\nVersion: 1\nArchitecture: all\nMaintainer: me\nDescription: nothing\n"


def package(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A Debian package with `files`."""
    tree = folder / name
    for path, text in {"DEBIAN/control": CONTROL.format(name), **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    made = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made], check=True, capture_output=True)
    return made


def written(folder: Path, files: list[tuple[str, Path]]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(folder / "root.tar", "w") as out:
        root._write(out, files)
    with tarfile.open(folder / "root.tar") as made:
        return {member.name.removeprefix("./"): member for member in made}


def base(folder: Path) -> Path:
    return package(folder, "base", {path: octets.decode() for path, octets in MASTERS.items()})


def test_packages_are_unpacked_into_one_archive_with_merged_folders_and_accounts(tmp_path: Path) -> None:
    old = package(tmp_path, "old", {"bin/tool": "x", "usr/share/doc/old/copyright": "not wanted"})
    found = written(tmp_path, [("base", base(tmp_path)), ("old", old)])
    assert found["usr/bin/tool"].isreg() and found["bin"].linkname == "usr/bin"
    assert not any(path.startswith("usr/share/doc/") for path in found)
    assert found["etc/shadow"].mode == 0o640 and found["etc/shadow"].gid == 42
    assert {member.uid for member in found.values()} == {0}


def test_a_file_that_two_packages_bring_is_refused(tmp_path: Path) -> None:
    one, two = (package(tmp_path, name, {"usr/bin/tool": name}) for name in ("one", "two"))
    with pytest.raises(SystemExit, match="usr/bin/tool is in one and in two"):
        written(tmp_path, [("base", base(tmp_path)), ("one", one), ("two", two)])


def test_what_is_no_package_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.deb").write_bytes(b"!<arch>\n")
    with pytest.raises((SystemExit, tarfile.ReadError)):
        written(tmp_path, [("broken", tmp_path / "broken.deb")])


def accounts(made: dict[str, bytes | str], name: str) -> dict[str, list[str]]:
    octets = made[f"etc/{name}"]
    assert isinstance(octets, bytes)
    return {line.split(":")[0]: line.split(":")[1:] for line in octets.decode().splitlines()}


def test_system_users_are_numbered_downwards_and_have_no_password() -> None:
    lines = b'g systemd-journal - -\nu! systemd-network - "systemd Network Management"\ng adm 4 -\nu root 0 - /root\n'
    files = {**MASTERS, "usr/lib/sysusers.d/some.conf": lines}
    made = installed.additions(files, {"usr/sbin/unbound"})
    users, groups = accounts(made, "passwd"), accounts(made, "group")
    assert users["unbound"][1:3] == ["999", "999"] and groups["systemd-journal"][1] == "998"
    assert users["systemd-network"][1:4] == ["997", "997", "systemd Network Management"]
    assert users["unbound"][-1] == "/usr/sbin/nologin" and "adm" not in groups
    shadow = accounts(made, "shadow")
    assert shadow.keys() == users.keys() and {fields[0] for fields in shadow.values()} == {"*"}


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), max_size=30))
def test_no_two_users_share_a_number_or_a_name(names: list[str]) -> None:
    lines = "".join(f"u {name} -\n" for name in names).encode()
    made = installed.additions({**MASTERS, "usr/lib/sysusers.d/some.conf": lines}, set())
    octets = made["etc/passwd"]
    assert isinstance(octets, bytes)
    fields = [line.split(":") for line in octets.decode().splitlines()]
    assert len({it[0] for it in fields}) == len(fields) == len({it[2] for it in fields})


def test_certificates_become_one_bundle() -> None:
    files = {**MASTERS, "usr/share/ca-certificates/b.crt": b"B\n\n", "usr/share/ca-certificates/a.crt": b"A"}
    assert installed.additions(files, set())["etc/ssl/certs/ca-certificates.crt"] == b"A\nB\n"


def test_the_kernel_may_come_as_one_package_or_as_several() -> None:
    ours = ["linux-image-6.12.1+deb13-amd64", "linux-binary-7.3.4+deb13-arm64", "linux-base-7.3.4+deb13-arm64"]
    assert all(map(debian.is_kernel, ours))
    assert not any(map(debian.is_kernel, ["linux-base", "linux-image-arm64", "linux-libc-dev"]))


@pytest.mark.parametrize("name", boards.names())
def test_no_two_packages_of_a_board_need_a_diversion_and_its_python_is_that_of_the_others(name: str) -> None:
    lock = debian.read_lock(boards.load(name).lock.read_text())
    releases = {
        application._release(debian.read_lock(boards.load(other).lock.read_text())) for other in boards.names()
    }
    assert releases == {application._release(lock)}
    assert len({it.name for it in lock}) == len(lock)


def test_a_kernel_that_is_not_compressed_is_compressed_for_grub(tmp_path: Path) -> None:
    import gzip

    raw = bytes(56) + b"ARM\x64" + bytes(4096)
    (tmp_path / "raw").write_bytes(raw)
    kernel._take(tmp_path / "raw", tmp_path / "vmlinuz")
    assert gzip.decompress((tmp_path / "vmlinuz").read_bytes()) == raw
    (tmp_path / "pc").write_bytes(b"MZ" + bytes(100))
    kernel._take(tmp_path / "pc", tmp_path / "vmlinuz")
    assert (tmp_path / "vmlinuz").read_bytes() == b"MZ" + bytes(100)
