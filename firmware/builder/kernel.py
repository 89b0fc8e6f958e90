"""The kernel and its drivers, out of Debian's package, without installing it. Called by `build`."""

from __future__ import annotations

import gzip
import lzma
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from firmware.builder.run import run


def unpack(packages: Iterable[Path], folder: Path, left_out: Sequence[str]) -> str:
    """Puts `usr/lib/modules/` into `folder` without the drivers in `left_out`; beside it `vmlinuz`, and `dtb/` where
    the kernel has device trees.

    Returns the kernel's release.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for package in packages:
        run("dpkg-deb", "--extract", package, folder)
    shutil.rmtree(folder / "usr/share", ignore_errors=True)
    release = next((folder / "usr/lib/modules").iterdir()).name
    modules = folder / "usr/lib/modules" / release
    # Debian moved them from /boot to the modules' folder.
    kernel = next(path for path in (modules / "vmlinuz", folder / f"boot/vmlinuz-{release}") if path.exists())
    _take(kernel, folder.with_name("vmlinuz"))
    shutil.rmtree(folder.with_name("dtb"), ignore_errors=True)
    if (modules / "dtb").exists():
        (modules / "dtb").replace(folder.with_name("dtb"))
    for name in ("config", "System.map"):
        (modules / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "boot", ignore_errors=True)
    for name in left_out:
        shutil.rmtree(folder / "usr/lib/modules" / release / "kernel" / name, ignore_errors=True)
    run("depmod", "--basedir", folder, "--moduledir", "/usr/lib/modules", release) if _has_moduledir() else _depmod(
        folder, release
    )
    return release


def _take(kernel: Path, target: Path) -> None:
    """Compressed, if Debian left it as it is, as for arm64: GRUB inflates faster than a card reads 50 MiB."""
    octets = kernel.read_bytes()
    target.write_bytes(gzip.compress(octets, 9, mtime=0) if octets[56:60] == b"ARM\x64" else octets)


def _has_moduledir() -> bool:
    return b"--moduledir" in run("depmod", "--help")


def _depmod(folder: Path, release: str) -> None:
    """An older depmod looks in /lib/modules only."""
    link = folder / "lib"
    link.symlink_to("usr/lib")
    try:
        run("depmod", "--basedir", folder, release)
    finally:
        link.unlink()


def load_order(dependencies: str, wanted: Iterable[str]) -> list[str]:
    """Paths of the modules in `wanted` and of all they need, each behind what it needs.

    `dependencies` is the text of modules.dep. A name that is not in it is built into the kernel, or not had at all;
    both are passed over.
    """
    needs: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for line in dependencies.splitlines():
        module, _, after = line.partition(":")
        needs[module] = after.split()
        paths[PurePosixPath(module).name.partition(".")[0].replace("-", "_")] = module
    order: dict[str, None] = {}
    for name in wanted:
        path = paths.get(name.replace("-", "_"))
        if path is not None:
            # modules.dep names the nearest first; the farthest must be loaded first.
            order |= dict.fromkeys([*reversed(needs[path]), path])
    return list(order)


def module_octets(path: Path) -> bytes:
    """The module as `insmod` of busybox wants it, not compressed."""
    octets = path.read_bytes()
    return lzma.decompress(octets) if path.suffix == ".xz" else octets
