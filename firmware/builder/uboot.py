"""U-Boot's environment as a file on the boot partition, made from the one that is compiled into it. Pure.

Debian's U-Boot waits two seconds for a key on the serial line, and boots from the network if the card fails. Noise on
an open line would stop a box in U-Boot's shell, a stranger's server would own it: both are taken away. Called by
`bootfiles`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

# Debian's configs/config.rpi_arm64: ENV_SIZE, ENV_IS_IN_FAT on mmc 0:1.
SIZE_BYTES = 0x4000


def compiled_in(program: bytes) -> dict[str, str]:
    """The variables that the program begins with.

    Raises:
        ValueError: there are none.
    """
    begin = program.find(b"\0bootcmd=") + 1
    end = program.find(b"\0\0", begin)
    if not begin or end < 0:
        raise ValueError("no environment in this U-Boot")
    pairs = (line.partition("=") for line in program[begin:end].decode("ascii").split("\0"))
    return {name: value for name, _, value in pairs}


def render(variables: Mapping[str, str]) -> bytes:
    """The file: a checksum, and NAME=VALUE with an octet of zero behind each; an empty value unsets nothing.

    Raises:
        ValueError: too many for the file.
    """
    text = b"".join(f"{name}={value}".encode() + b"\0" for name, value in variables.items())
    if len(text) + 1 > SIZE_BYTES - 4:
        raise ValueError(f"{len(text)} octets of variables in a file of {SIZE_BYTES}")
    data = text.ljust(SIZE_BYTES - 4, b"\0")
    return struct.pack("<I", zlib.crc32(data)) + data
