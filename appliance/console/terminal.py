"""Lines in and out over a plain terminal: typing with rubbing out, pages of 22 lines, waiting with an end.

Needs 80 columns, carriage return, line feed and backspace, and nothing else: no colours, no cursor addressing. Knows
nothing of what is asked. What it is given to print may come from strangers: nothing in it is obeyed by a terminal.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from appliance.console.keys import Key, Keys

COLUMNS = 80
PAGE_LINES = 22
LONGEST_LINE = 255
IDLE_S = 600.0
"""So long may a question stand there, and a sitting last with nobody typing."""
_TICK_S = 1.0
_MARGIN = re.compile(r" *(?:[0-9]{1,4}  )?")
_WIDEST_MARGIN = 40
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class HungUp(Exception):
    """The other end of the line is gone: the only end of the menu that nobody chose."""


class Cancelled(Exception):
    """Ctrl-C: away from this question."""


class Idle(Exception):
    """Nobody has typed for a long time."""


class Line(Protocol):
    """The octets' way."""

    def read(self, timeout_s: float) -> bytes:
        """What came within `timeout_s`; empty: nothing. Raises HungUp."""

    def write(self, octets: bytes) -> None:
        """All of it. Raises HungUp."""


def _nothing() -> None:
    return


class Terminal:
    """See the module."""

    def __init__(
        self,
        line: Line,
        *,
        idle_s: float = IDLE_S,
        monotonic: Callable[[], float] = time.monotonic,
        announced: Callable[[], list[str] | None] = _nothing,
    ) -> None:
        """`idle_s`: a question that waits so long raises Idle; `announced`: as `announced.Announced`."""
        self._line = line
        self._announced = announced
        self._keys = Keys()
        self._ahead: list[str | Key] = []
        self._idle_s = idle_s
        self._monotonic = monotonic

    def now_s(self) -> float:
        """Monotonic."""
        return self._monotonic()

    def say(self, text: str = "") -> None:
        """Prints `text`, wrapped at 79 columns; lines that are indented stay so."""
        for line in text.splitlines() or [""]:
            self._out("".join(f"{part}\r\n" for part in wrapped(line)))

    def page(self, lines: Iterable[str]) -> None:
        """Prints `lines`, a screen at a time; raises Cancelled for Ctrl-C."""
        shown = 0
        for line in (part for whole in lines for part in wrapped(whole)):
            if shown == PAGE_LINES:
                if self.read_line("-- more: Enter; q and Enter: enough -- ").strip().lower() == "q":
                    return
                shown = 0
            self._out(f"{line}\r\n")
            shown += 1

    def read_line(
        self,
        prompt: str,
        *,
        echo: bool = True,
        left_s: Callable[[], float] | None = None,
        news: Callable[[], list[str]] | None = None,
    ) -> str:
        """What is typed until Enter.

        Args:
            echo: False: nothing is shown of it.
            left_s: asked every second and shown before the prompt; at 0 the line ends, as it is.
            news: asked every second, while nothing comes, for lines to print above the prompt.

        Raises:
            Cancelled: Ctrl-C.
            Idle: nothing came for too long; not with `left_s`.
            HungUp: the line is gone.
        """
        typed = ""
        if lines := self._announced():
            self.say("\n".join(lines))
        self._show(prompt, left_s)
        last_s = self._monotonic()
        while True:
            if not self._ahead:
                self._ahead = list(self._keys.feed(self._line.read(_TICK_S)))
                if self._ahead:
                    last_s = self._monotonic()
                elif left_s is None and self._monotonic() - last_s >= self._idle_s:
                    self._out("\r\n")
                    raise Idle
                if not self._ahead:
                    self._tell(self._announced(), prompt, typed if echo else "")
                if left_s is not None and not self._still(prompt, left_s, typed if echo else ""):
                    return ""
                if news is not None and not self._ahead:
                    self._tell(news() or None, prompt, typed if echo else "")
                continue
            key = self._ahead.pop(0)
            if key is Key.ENTER:
                self._out("\r\n")
                return typed
            typed = self._typed(key, typed, echo)

    def pressed(self, wait_s: float) -> bool:
        """Whether Enter or Ctrl-C comes within `wait_s`; other keys are forgotten."""
        keys = [*self._ahead, *self._keys.feed(self._line.read(wait_s))]
        self._ahead = []
        return Key.ENTER in keys or Key.CANCEL in keys

    def forget_typed(self) -> None:
        """What was typed ahead answers no question that matters."""
        while self._line.read(0.0):
            continue
        self._ahead, self._keys = [], Keys()

    def _typed(self, key: str | Key, typed: str, echo: bool) -> str:
        if key is Key.CANCEL:
            self._out("^C\r\n")
            raise Cancelled
        if isinstance(key, str):
            if len(typed) < LONGEST_LINE:
                self._out(printable(key) if echo else "")
                return typed + key
            return typed
        gone = len(typed) if key is Key.KILL else min(1, len(typed))
        kept = typed[: len(typed) - gone]
        self._out("\b \b" * (len(printable(typed)) - len(printable(kept))) if echo else "")
        return kept

    def _show(self, prompt: str, left_s: Callable[[], float] | None) -> None:
        self._out(prompt if left_s is None else f"{left_s():4.0f} s left; {prompt}")

    def _tell(self, lines: list[str] | None, prompt: str, typed: str) -> None:
        """Prints `lines` above the question; without any only the question, over which somebody else has printed."""
        if lines is None:
            return
        self._out("\r\n" if lines else "\r")  # who printed over it has left the cursor in the first column
        if lines:
            self.say("\n".join(lines))
        self._out(prompt + printable(typed))

    def _still(self, prompt: str, left_s: Callable[[], float], typed: str) -> bool:
        left = left_s()
        # The return goes to the first column on any terminal; the line is written anew over itself.
        self._out(f"\r{left:4.0f} s left; {prompt}{printable(typed)}")
        if left <= 0:
            self._out("\r\n")
        return left > 0

    def _out(self, text: str) -> None:
        if text:
            self._line.write(text.encode("ascii", "replace"))


def printable(text: str) -> str:
    """`text` in ASCII without anything that a terminal obeys."""
    return _UNPRINTABLE.sub("?", text)


def wrapped(line: str) -> list[str]:
    """One line as lines of at most 79 columns, all with its indent; a number before it stands alone."""
    line = printable(line.expandtabs(4)).rstrip()
    margin = _MARGIN.match(line)
    indent = " " * min(len(margin[0]) if margin else 0, _WIDEST_MARGIN)
    return textwrap.wrap(
        line, COLUMNS - 1, subsequent_indent=indent, drop_whitespace=True, replace_whitespace=False
    ) or [""]
