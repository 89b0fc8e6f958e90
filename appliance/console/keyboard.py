"""Sets what the keys of the keyboard beside the screen write, in the kernel's tables: ioctl_console(2), KDSKBENT.

The tables are the kernel's own and the same for all screens; a serial line has none. Written by hand and not by
`loadkeys`: the menu reads single characters, so that 50 keys of a layout are all that counts, and a package less is on
the image. Called by the command line at the start, and where somebody chooses a keyboard.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Callable

from appliance.config.box_tables import Keyboard

KEYCODES = (41, *range(2, 14), *range(16, 28), *range(30, 41), 43, 86, *range(44, 54), 89, 124)
"""The kernel's numbers (linux/input-event-codes.h) of the keys that differ between keyboards, by rows."""

TITLES = {
    Keyboard.US: "English (US)",
    Keyboard.BE: "Belgian",
    Keyboard.BR: "Portuguese (Brazil)",
    Keyboard.CA: "French (Canada)",
    Keyboard.CH_DE: "German (Switzerland)",
    Keyboard.CH_FR: "French (Switzerland)",
    Keyboard.CZ: "Czech",
    Keyboard.DE: "German",
    Keyboard.DK: "Danish",
    Keyboard.DVORAK: "Dvorak",
    Keyboard.EE: "Estonian",
    Keyboard.ES: "Spanish",
    Keyboard.FI: "Finnish",
    Keyboard.FR: "French",
    Keyboard.GB: "English (UK)",
    Keyboard.HR: "Croatian, Slovenian",
    Keyboard.HU: "Hungarian",
    Keyboard.IS: "Icelandic",
    Keyboard.IT: "Italian",
    Keyboard.JP: "Japanese",
    Keyboard.LATAM: "Spanish (Latin America)",
    Keyboard.NO: "Norwegian",
    Keyboard.PL: "Polish",
    Keyboard.PT: "Portuguese",
    Keyboard.RO: "Romanian",
    Keyboard.SE: "Swedish",
    Keyboard.SK: "Slovak",
    Keyboard.TR: "Turkish",
}

_SCREEN = re.compile(r"tty[0-9]+")
_SET_ENTRY = 0x4B47  # KDSKBENT
_PLAIN, _SHIFT, _ALTGR, _ALTGR_SHIFT, _CTRL = 0, 1, 2, 3, 4
_LATIN, _LETTER = 0x0000, 0x0B00  # K(KT_LATIN, c), and K(KT_LETTER, c), which Caps Lock turns
_UNICODE = 0xF000
_CONTROL_LETTERS = re.compile(r"[a-z]")

Control = Callable[[int, int, bytes], object]
"""`fcntl.ioctl`."""


def is_screen(line: str) -> bool:
    """Whether the terminal of this name below /dev has a keyboard of its own."""
    return bool(_SCREEN.fullmatch(line))


def line_of(fd: int) -> str:
    """The name below /dev of the terminal behind `fd`; empty where it is none."""
    try:
        return os.ttyname(fd).removeprefix("/dev/")
    except OSError:
        return ""


def load(keyboard: Keyboard, fd: int = 0, control: Control = fcntl.ioctl) -> None:
    """From now on the keys write what is printed on them.

    Raises:
        OSError: `fd` is no screen of ours.
    """
    for table, index, value in entries(keyboard):
        control(fd, _SET_ENTRY, struct.pack("BBH", table, index, value))


def entries(keyboard: Keyboard) -> list[tuple[int, int, int]]:
    """Table, keycode and value of each entry."""
    from appliance.console.keymaps import KEYMAPS  # some 12 KiB, wanted once

    found = []
    rows = KEYMAPS[keyboard.value]
    for table, row in zip((_PLAIN, _SHIFT, _ALTGR, _ALTGR_SHIFT), rows, strict=True):
        found += [(table, key, _value(char)) for key, char in zip(KEYCODES, row, strict=True) if char != " "]
    for key, char in zip(KEYCODES, rows[0], strict=True):
        if _CONTROL_LETTERS.fullmatch(char):
            found.append((_CTRL, key, ord(char) & 0x1F))
    return found


def _value(char: str) -> int:
    code = ord(char)
    if code > 0xFF:
        return code ^ _UNICODE
    return (_LETTER if char.isalpha() else _LATIN) | code
