"""Features row 38: the install guide, built with the image, tells of each mode and of each question of the menu."""

from __future__ import annotations

import itertools
import re

import pytest

from appliance.config.box_tables import Mode
from appliance.console.mode_texts import TEXTS
from firmware.builder.guide import guide
from tests.support.first_boot_script import Fixed, first_boot, keep

BOARDS = ["x86_64", "rpi"]
FIXED = Fixed("192.0.2.5/24", "192.0.2.1", "2001:db8::5/64", "fe80::1")


@pytest.mark.parametrize("board", BOARDS)
def test_the_guide_tells_of_each_question_in_its_order(board: str) -> None:
    text = guide(board)
    at = text.index("3. Answer the menu")
    for question, _ in itertools.chain(first_boot(server="mail", fixed=FIXED, server_answers=False), keep()):
        words = re.split(r" \[|: |, or p|(?<=server of) |(?<=message to) ", question)[0].strip()
        assert text.find(words, at) > 0, f"{words} is missing, or not in its place"
        at = text.index(words, at)


@pytest.mark.parametrize("board", BOARDS)
def test_the_guide_tells_of_each_mode_and_fits_a_page(board: str) -> None:
    text = guide(board)
    for title, lines in TEXTS.values():
        assert title in text and all(line in text for line in lines)
    assert TEXTS.keys() == {mode.value for mode in Mode}
    assert "$" not in text
    assert max(len(line) for line in text.splitlines()) <= 120
