"""`image bundle`: the built slot as one signed file, a bundle of RAUC. Called by `__main__` and by trials."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from appliance.update import formats
from firmware.builder.board import Board
from firmware.builder.keys import Signer
from firmware.builder.run import run
from firmware.builder.slot import make_boot

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~-]{0,39}")
_MANIFEST = """\
[update]
compatible=mailweir-{board}
version={version}
build={formats}

[bundle]
format={format}

[image.rootfs]
filename=root.img

[image.boot]
filename=boot.img
"""


def check_version(version: str) -> None:
    """It stands on the kernel's command line. Raises SystemExit."""
    if not _VERSION.fullmatch(version):
        raise SystemExit(f"--version {version!r}: write letters, digits and .+~- , as in 2026.11")


def bundle_path(board: Board, version: str) -> Path:
    """Where it lies once it was made."""
    return board.cache / f"mailweir-{board.name}-{version}.raucb"


def make_bundle(board: Board, version: str, signer: Signer, target: Path, root: tuple[Path, str] | None = None) -> Path:
    """Writes `target`: the slot that was built last, or `root` (an image and the kernel arguments that open it) with
    its kernel, called `version`.

    Raises:
        SystemExit: nothing was built, or it cannot be signed.
    """
    check_version(version)
    work = board.cache / "work"
    if not (work / "slot_arguments").exists():
        raise SystemExit(f"nothing was built yet: scripts/image build {board.name}")
    image, arguments = root or (work / "root.img", (work / "slot_arguments").read_text())
    folder = work / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "content").mkdir(parents=True)
    content = folder / "content"
    (content / "root.img").hardlink_to(image)
    boot = make_boot(work / "vmlinuz", work / "initrd.img", arguments, version, folder / "boot.img", board)
    boot.replace(content / "boot.img")
    manifest = _MANIFEST.format(
        board=board.name, version=version, formats=formats.told(), format=board.bundle_formats[0]
    )
    (content / "manifest.raucm").write_text(manifest)
    target.unlink(missing_ok=True)
    run(
        *("rauc", "bundle", f"--cert={signer.certificate}", f"--key={signer.key}"),
        *("--mksquashfs-args=-comp zstd -Xcompression-level 3 -no-progress", content, target),
    )
    shutil.rmtree(folder)
    return target
