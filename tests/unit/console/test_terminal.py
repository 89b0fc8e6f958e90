from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.console.terminal import LONGEST_LINE, Cancelled, HungUp, Idle, Terminal
from tests.support.console import ScriptedLine, Typed


def terminal(*script: Typed, idle_s: float = 900.0) -> tuple[Terminal, ScriptedLine]:
    line = ScriptedLine(*script)
    return Terminal(line, idle_s=idle_s, monotonic=lambda: line.now_s), line


def test_what_is_typed_is_shown_and_rubbed_out_by_backspaces_alone() -> None:
    screen, line = terminal(b"ab\x7fc\r")
    assert screen.read_line("? ") == "ac"
    assert line.written == b"? ab\b \bc\r\n"


def test_ctrl_u_rubs_out_the_line() -> None:
    screen, line = terminal(b"abc\x15d\r")
    assert screen.read_line("") == "d"
    assert line.written == b"abc" + b"\b \b" * 3 + b"d\r\n"


def test_a_hidden_line_is_not_shown_nor_how_long_it_is() -> None:
    screen, line = terminal(b"secret\x7f\x15word\r")
    assert screen.read_line("? ", echo=False) == "word"
    assert line.written == b"? \r\n"


def test_ctrl_c_leaves_the_question() -> None:
    screen, _ = terminal(b"ab\x03")
    with pytest.raises(Cancelled):
        screen.read_line("? ")


def test_two_lines_in_one_piece_answer_two_questions() -> None:
    screen, _ = terminal(b"one\rtwo\r")
    assert [screen.read_line(""), screen.read_line("")] == ["one", "two"]


def test_a_line_without_end_is_kept_to_its_bound() -> None:
    screen, _ = terminal(b"x" * 5000, b"\r")
    assert screen.read_line("") == "x" * LONGEST_LINE


def test_a_question_that_nobody_answers_ends_and_typing_keeps_it() -> None:
    screen, line = terminal(lambda: line.now_s >= 50, b"a", lambda: line.now_s >= 90, b"b", lambda: False, idle_s=60)
    with pytest.raises(Idle):
        screen.read_line("? ")
    assert line.now_s == 150


def test_seconds_left_are_shown_on_the_line_and_end_it() -> None:
    screen, line = terminal(b"y", lambda: False)
    left = iter([3.0, 3.0, 2.0, 1.0, 0.0])
    assert screen.read_line("keep? ", left_s=lambda: next(left)) == ""
    assert b"   3 s left; keep? y\r   2 s left; keep? y" in line.written


def test_lines_are_wrapped_below_80_columns_and_keep_their_indent() -> None:
    screen, line = terminal()
    screen.say("    " + "word " * 40)
    lines = line.text.splitlines()
    assert len(lines) == 3
    assert all(len(text) < 80 and text.startswith("    w") for text in lines)


def test_strangers_texts_cannot_command_the_terminal() -> None:
    screen, line = terminal()
    screen.page(["\x1b[2Jgone\x07 \u202e"])
    assert line.written == b"?[2Jgone? ?\r\n"


def test_a_page_waits_after_22_lines_and_goes_on_or_stops() -> None:
    screen, line = terminal("", "q")
    screen.page([f"line {number}" for number in range(60)])
    assert line.text.count("-- more") == 2
    assert "line 43\n" in line.text and "line 44" not in line.text


def test_a_line_that_is_gone_is_told() -> None:
    with pytest.raises(HungUp):
        terminal()[0].read_line("? ")


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.booleans())
def test_whatever_comes_only_plain_text_goes_out(pieces: list[bytes], echo: bool) -> None:
    screen, line = terminal(*pieces)
    with suppress(HungUp):
        while True:
            with suppress(Cancelled):
                assert screen.read_line("? ", echo=echo).isprintable()
    assert set(line.written) <= {*range(0x20, 0x7F), 0x08, 0x0A, 0x0D}
