from __future__ import annotations

import string
import struct
from pathlib import Path

import pytest

from appliance.config.box_tables import Keyboard
from appliance.console import keyboard
from appliance.console.keymaps import KEYMAPS
from tests.support.console import ConsoleBench

PRINTABLE = {chr(code) for code in range(0x21, 0x7F)}


def keys(layout: Keyboard) -> dict[tuple[int, int], int]:
    return {(table, key): value for table, key, value in keyboard.entries(layout)}


@pytest.mark.parametrize("layout", Keyboard, ids=lambda layout: layout.value)
def test_every_keyboard_writes_all_that_a_password_can_be_made_of(layout: Keyboard) -> None:
    assert set("".join(KEYMAPS[layout.value])) >= PRINTABLE
    assert layout in keyboard.TITLES
    letters = {value & 0xFF for value in keys(layout).values() if value >> 8 == 0x0B}
    assert set(map(ord, string.ascii_letters)) <= letters, "Caps Lock turns letters"


@pytest.mark.parametrize(
    ("layout", "table", "key", "char"),
    [
        ("us", 0, 21, "y"), ("de", 0, 21, "z"), ("de", 0, 44, "y"), ("de", 2, 16, "@"), ("de", 1, 12, "?"),
        ("fr", 0, 16, "a"), ("fr", 1, 2, "1"), ("fr", 2, 11, "@"), ("gb", 1, 3, '"'), ("es", 2, 2, "|"),
        ("dvorak", 0, 31, "o"), ("br", 0, 89, "/"), ("jp", 1, 3, '"'), ("se", 2, 3, "@"),
    ],
)  # fmt: skip
def test_keys_write_what_is_printed_on_them(layout: str, table: int, key: int, char: str) -> None:
    assert keys(Keyboard(layout))[table, key] & 0xFF == ord(char)


def test_control_keys_go_with_their_letters() -> None:
    found = keys(Keyboard.DVORAK)
    assert found[4, 23] == 0x03, "Ctrl-C is on the key that writes c"
    assert found[0, 23] & 0xFF == ord("c")


def test_loading_sets_each_entry_by_the_kernels_request() -> None:
    calls: list[tuple[int, int, bytes]] = []
    keyboard.load(Keyboard.DE, 7, lambda *call: calls.append(call))
    assert {call[:2] for call in calls} == {(7, 0x4B47)}
    assert (7, 0x4B47, struct.pack("BBH", 0, 21, 0x0B00 | ord("z"))) in calls
    assert (7, 0x4B47, struct.pack("BBH", 2, 18, 0x20AC ^ 0xF000)) in calls, "the euro, in Unicode"


def test_a_serial_line_and_a_window_are_no_screens() -> None:
    assert keyboard.is_screen("tty1")
    assert not any(map(keyboard.is_screen, ("ttyS0", "ttyAMA0", "pts/1", "tty", "")))


def test_the_first_boot_asks_for_the_keyboard_on_the_screen_alone_and_uses_it_at_once(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    assert "Keyboard" not in bench.type()
    text = bench.type("xx", "de", "<", "8", screen=True)
    assert "Keyboard [us]: " in text and "Keyboard [de]: " in text and "write a number or a short name" in text
    assert bench.board.keyboards == ["de", "de"]
    assert text.endswith("Mode [1]: ")
    assert all(len(line) < 80 for line in text.splitlines())
