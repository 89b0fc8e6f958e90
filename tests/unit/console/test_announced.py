"""The announcement that the gateway is ready, printed over the menu: the question stands there again below it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.console import announced
from appliance.console.announced import Announced
from appliance.console.terminal import Terminal
from tests.support.console import ScriptedLine, Typed

SAID = "Mailweir is ready: 220 mx ESMTP; up 77.20 s, memory in use 150 MiB of 462"


class Box:
    """Where the announcement is left, and what /dev/console is."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.line_file, self.consoles = folder / "line", folder / "active"
        self.consoles.write_text("tty0 ttyS0\n")
        monkeypatch.setattr(announced, "LINE_FILE", self.line_file)
        monkeypatch.setattr(announced, "CONSOLES", self.consoles)

    def read(self, name: str, *script: Typed, echo: bool = True, left_s: Callable[[], float] | None = None) -> str:
        """What stands on the line of the menu at the terminal `name`, which asks one question."""
        line = ScriptedLine(*script)
        self.line = line
        screen = Terminal(line, monotonic=lambda: line.now_s, announced=Announced(name))
        self.answer = screen.read_line("Mode [1]: ", echo=echo, left_s=left_s)
        return line.written.decode()

    def announce(self) -> bool:
        """As the script does it, on /dev/console, which is this line."""
        self.line.write(f"\r\n{SAID}\r\n".encode())
        return self.announce_elsewhere()

    def announce_elsewhere(self) -> bool:
        self.line_file.write_text(f"{SAID}\n")
        return True


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


def test_the_question_that_was_printed_over_stands_there_again_with_what_was_typed(box: Box) -> None:
    assert box.read("ttyS0", b"ab", box.announce, b"c\r") == f"Mode [1]: ab\r\n{SAID}\r\n\rMode [1]: abc\r\n"
    assert box.answer == "abc"


def test_what_is_hidden_stays_so(box: Box) -> None:
    text = box.read("ttyS0", b"secret", box.announce, b"\r", echo=False)
    assert text.endswith(f"{SAID}\r\n\rMode [1]: \r\n") and box.answer == "secret"


def test_seconds_that_are_left_are_counted_on_below_it(box: Box) -> None:
    left = iter([9.0, 8.0, 7.0])
    text = box.read("ttyS0", box.announce, b"y\r", left_s=lambda: next(left))
    assert text.partition(f"{SAID}\r\n")[2].startswith("\rMode [1]: \r   8 s left; Mode [1]: ")


def test_the_menu_on_another_line_tells_it_itself(box: Box) -> None:
    assert box.read("tty1", b"ab", box.announce_elsewhere, b"c\r") == f"Mode [1]: ab\r\n{SAID}\r\nMode [1]: abc\r\n"


def test_the_screen_is_the_console_where_no_line_is(box: Box) -> None:
    box.consoles.write_text("ttyS0 tty0\n")
    assert box.read("tty1", box.announce, b"\r").count(SAID) == 1


def test_what_was_announced_before_the_menu_came_is_not_told_again(box: Box) -> None:
    box.announce_elsewhere()
    for name in ("ttyS0", "tty1"):
        assert box.read(name, lambda: True, b"\r") == "Mode [1]: \r\n"


def test_a_question_that_is_drawn_after_it_is_drawn_once(box: Box) -> None:
    line = ScriptedLine(b"1\r", lambda: True, b"2\r")
    box.line = line
    screen = Terminal(line, announced=Announced("ttyS0"))
    screen.read_line("Mode [1]: ")
    box.announce()
    screen.read_line("Port: ")
    assert line.text == f"Mode [1]: 1\n\n{SAID}\nPort: 2\n"
