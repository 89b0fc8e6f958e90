"""From a board's name to its disk image: the order of the work, and nothing else. Called by `__main__`."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from appliance import __version__
from firmware.builder import application, bootfiles, initrd, kernel, keys, sbom, tree
from firmware.builder.board import FIRMWARE, OVERLAY, Board
from firmware.builder.bundle import check_version
from firmware.builder.debian import fetch, is_kernel, read_lock
from firmware.builder.disk import assemble
from firmware.builder.guide import guide
from firmware.builder.root import root_archive, unpack
from firmware.builder.run import epoch_s, run, step
from firmware.builder.slot import make_boot, make_root

_INITRD_LIBRARIES = (
    *("libdevmapper.so", "libudev.so", "libselinux.so", "libpcre2-8.so", "libm.so", "libc.so", "libcap.so"),
)


def image_path(board: Board) -> Path:
    """Where the disk image lies once it was built."""
    return board.cache / "disk.img"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for."""

    offline: bool = False
    """Fetch nothing."""
    compiled: Path | None = None
    """The package with compiled modules, instead of the one in this tree."""
    version: str = __version__
    keyring: Path | None = None
    """The certificates whose updates the image takes; None: the development authority's."""


def build(board: Board, wishes: Wishes) -> Path:
    """Makes the disk image.

    Raises:
        SystemExit: something is missing or too large; the text says what.
    """
    begun_s = time.monotonic()
    offline = wishes.offline
    check_version(wishes.version)
    if not board.lock.exists():
        raise SystemExit(f"{board.lock} is not there: scripts/image lock {board.name}")
    lock = read_lock(board.lock.read_text())
    work = board.cache / "work"
    work.mkdir(parents=True, exist_ok=True)
    with step(f"{len(lock)} Debian packages"):
        for package in lock:
            fetch(package, offline)
    with step("Debian's part of the root"):
        debian = root_archive(board, lock, offline)
    with step("kernel and drivers"):
        packages = [fetch(package, offline) for package in lock if is_kernel(package.name)]
        release = kernel.unpack(packages, work / "kernel", board.left_out)
    with step("the gateway and its wheels"):
        application.build(board, debian, work / "application", wishes.compiled, offline)
    with step("the root, one archive"):
        _render(work / "rendered", board, keys.keyring(wishes.keyring))
        over = [work / "kernel", work / "application", OVERLAY, work / "rendered"]
        users = tree.users((OVERLAY / "usr/lib/sysusers.d/mailweir.conf").read_text())
        tree.merge(debian, over, users, epoch_s(), work / "root.tar")
    with step("the root's file system, with verity"):
        root, arguments = make_root(work / "root.tar", work, board)
    with step("initial RAM disk, boot loader, disk"):
        ram_disk = _initrd(debian, work, release, board)
        (work / "slot_arguments").write_text(arguments)
        boot = make_boot(work / "vmlinuz", ram_disk, arguments, wishes.version, work / "boot.img", board)
        shutil.rmtree(work / "boot", ignore_errors=True)
        for package in lock:
            if package.name in board.boot_packages:
                unpack(fetch(package, offline), work / "boot")
        more = bootfiles.collect(board, work / "boot", work / "dtb", work / "bootfiles")
        assemble(board, root, boot, more, work, image_path(board))
    figures = {
        "root_mib": round(root.stat().st_size / 2**20, 1),
        "initrd_mib": round(ram_disk.stat().st_size / 2**20, 1),
        "kernel_mib": round((work / "vmlinuz").stat().st_size / 2**20, 1),
        "build_s": round(time.monotonic() - begun_s, 1),
    }
    figures["slot_mib"] = round(figures["root_mib"] + figures["initrd_mib"] + figures["kernel_mib"], 1)
    if figures["slot_mib"] > board.slot_mib:
        raise SystemExit(f"a slot has {figures['slot_mib']} MiB, more than the board's {board.slot_mib}: {figures}")
    with step("the list of what is in it"):
        home = work / "application" / application.HOME
        sbom.write(board, lock, application.wheels(board, offline=True), home, image_path(board), wishes.version)
    (board.cache / "figures.json").write_text(json.dumps(figures))
    (board.cache / "install-guide.txt").write_text(guide(board.name), encoding="utf-8")
    print(f"{image_path(board)}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    return image_path(board)


def rendered(board: Board) -> dict[str, str]:
    """Files that depend on the board, by path."""
    texts = {
        "etc/mailweir-board": f"{board.name}\n",
        "etc/machine-id": "",
        "etc/hostname": "mailweir\n",
        "usr/share/mailweir/budget": "".join(
            f"{it.memory_mib} {it.workers} {it.held_mib}\n" for it in board.budgets
        ),
        "etc/rauc/system.conf": _rauc(board),
        "usr/lib/clock-epoch": "",  # its time is the earliest that the clock may show
    }
    for unit, limit in board.memory_max.items():
        texts[f"usr/lib/systemd/system/{unit}.d/50-board.conf"] = f"[Service]\nMemoryMax={limit}\n"
    return texts


def _rauc(board: Board) -> str:
    text = (FIRMWARE / "rauc.conf").read_text().replace("@BOARD@", board.name)
    return text.replace("@FORMATS@", " ".join(board.bundle_formats))


def _render(folder: Path, board: Board, keyring: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in {**rendered(board), "etc/rauc/keyring.pem": keyring.read_text()}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "etc/resolv.conf").symlink_to("/run/mailweir/resolv.conf")
    for name in ("data", "boot/efi", "dev", "proc", "sys", "run", "tmp", "mnt", "var/lib", "var/log", "var/cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def _initrd(debian: Path, work: Path, release: str, board: Board) -> Path:
    def wanted(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if name.startswith("ld-linux"):
            return folder in ("usr/lib", "usr/lib64", f"usr/lib/{board.machine}-linux-gnu")
        library = folder == f"usr/lib/{board.machine}-linux-gnu" and name.startswith(_INITRD_LIBRARIES)
        return library or path in ("usr/bin/busybox", "usr/sbin/dmsetup")

    entries: dict[str, initrd.Entry] = {}
    for path, content in tree.read_files(debian, wanted).items():
        place = path.replace("usr/bin/", "bin/").replace("usr/sbin/", "bin/")
        entries[place] = initrd.link(content) if isinstance(content, str) else initrd.program(content)
    entries["lib64"] = initrd.link("usr/lib64")
    entries["lib"] = initrd.link("usr/lib")
    entries["init"] = initrd.program((FIRMWARE / "init").read_bytes())
    modules = work / "kernel/usr/lib/modules" / release
    order = kernel.load_order((modules / "modules.dep").read_text(), board.initial_drivers)
    names = [f"{number:03}-{Path(path).name.removesuffix('.xz')}" for number, path in enumerate(order)]
    for name, path in zip(names, order, strict=True):
        entries[f"modules/{name}"] = initrd.file(kernel.module_octets(modules / path))
    entries["modules/order"] = initrd.file("".join(f"{name}\n" for name in names).encode())
    plain = work / "initrd.cpio"
    plain.write_bytes(initrd.archive(entries, epoch_s()))
    target = work / "initrd.img"
    run("zstd", "-q", "-f", "-15", "-T1", plain, "-o", target)
    return target
