"""TAP devices as ports of hardware: their driver keeps whatever ethtool tells it, like a card that can do anything."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x1002
_SIOCETHTOOL = 0x8946
_GET, _SET = 0x4C, 0x4D  # ETHTOOL_GLINKSETTINGS, ETHTOOL_SLINKSETTINGS
_SETTINGS = "IIBBBBBBBbBBBB28x"  # struct ethtool_link_settings
COPPER = 0b1101111
"""10baseT to 1000baseT, negotiated; without 1000baseT/Half, and with Autoneg."""


@contextmanager
def tap(name: str, *, supported: int = 0, negotiates: bool = False, speed_mbit: int = 0) -> Iterator[None]:
    """A TAP device that says it supports these modes, by bits of ETHTOOL_LINK_MODE_*, and offers them all."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
        _equip(name, supported, negotiates, speed_mbit)
        yield
    finally:
        os.close(descriptor)


def _equip(name: str, supported: int, negotiates: bool, speed_mbit: int) -> None:
    speed, duplex = (speed_mbit, 1) if speed_mbit else (0xFFFFFFFF, 0xFF)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        words = -_ask(sock, name, struct.pack(_SETTINGS, _GET, *([0] * 13)))
        masks = [[mask, *([0] * (words - 1))] for mask in (supported, supported if negotiates else 0, 0)]
        head = struct.pack(_SETTINGS, _SET, speed, duplex, 0, 0, int(negotiates), 0, 0, 0, words, 0, 0, 0, 0)
        _ask(sock, name, head + struct.pack(f"{3 * words}I", *(word for mask in masks for word in mask)))


def _ask(sock: socket.socket, name: str, settings: bytes) -> int:
    """The number of words in a mask that the kernel answers with."""
    buffer = ctypes.create_string_buffer(settings, 512)
    fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(buffer)))
    return int(struct.unpack_from(_SETTINGS, buffer.raw)[9])
