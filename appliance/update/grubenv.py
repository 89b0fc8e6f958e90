"""GRUB's environment block: a file of 1,024 octets, read and written in place, as `save_env` of GRUB does it.

Knows no slots. Written in place, for GRUB notes no other blocks of the file than those it had, and the one block goes
to the disk in one write. Called by `update.slots`, by the builder of images, and by who wires them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SIZE_BYTES = 1024
_HEADER = "# GRUB Environment Block\n"


class Lost(ValueError):
    """The file holds no environment block; GRUB goes by its defaults then."""


def parse(block: bytes) -> dict[str, str]:
    """The variables in `block`.

    Raises:
        Lost: it is none.
    """
    if len(block) != SIZE_BYTES or not block.startswith(_HEADER.encode()):
        raise Lost("this is no environment block of GRUB")
    lines = block.decode("utf-8", "replace").split("\n")
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {name: value for name, found, value in pairs if found}


def render(values: Mapping[str, str]) -> bytes:
    """The block with `values`.

    Raises:
        ValueError: they are no text of one line each, or too long.
    """
    for name, value in values.items():
        if not name.isidentifier() or not value.isprintable() or "\\" in value:
            raise ValueError(f"{name}={value!r} cannot stand in GRUB's environment")
    block = (_HEADER + "".join(f"{name}={value}\n" for name, value in values.items())).encode()
    if len(block) > SIZE_BYTES:
        raise ValueError(f"the environment would have {len(block)} octets, and {SIZE_BYTES} is all there are")
    return block.ljust(SIZE_BYTES, b"#")


def read(path: Path) -> dict[str, str]:
    """The variables in the file; none where it is no environment block. Raises OSError."""
    try:
        return parse(path.read_bytes())
    except Lost:
        return {}


def write(path: Path, values: Mapping[str, str]) -> None:
    """Puts `values` in place of what is there; on the disk when this returns. Raises OSError, ValueError."""
    block = render(values)
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, block, 0)
        os.ftruncate(fd, SIZE_BYTES)
        os.fsync(fd)
    finally:
        os.close(fd)
