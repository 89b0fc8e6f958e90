"""On which line of a TOML text a key stands, so that a complaint can name it.

`tomllib` gives values without places. This is a second, lenient walk over a text that `tomllib` accepted already: it
judges nothing and never fails on such a text. Called by `config.load`, and by the command line for `check`.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]
"""Keys, and positions in arrays counted from 0: `("next_hop", 1, "servers", 0, "url")`."""

# Possessive, so that no text makes these backtrack.
_BLANK = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\\n]++|\\.)*"' r"|'[^'\n]*+'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")


def dotted(path: KeyPath) -> str:
    """The path as a person writes it: `next_hop[1].servers[0].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Places:
    """Lines by key path, made by `locate`."""

    __slots__ = ("_lines",)

    def __init__(self, lines: dict[KeyPath, int]) -> None:
        self._lines = lines

    def line(self, path: KeyPath) -> int:
        """The line, counted from 1, of the key or of the innermost table around it; 1 when nothing of it is there."""
        for length in range(len(path), 0, -1):
            found = self._lines.get(path[:length])
            if found is not None:
                return found
        return 1


def locate(text: str) -> Places:
    """Places of all keys, tables and array elements of `text`, which must be valid TOML."""
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return Places(walk.lines)


class _Walk:
    """One pass over the text; `at` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.last_index: dict[KeyPath, int] = {}
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip_blank():
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`; a name that is an array of tables means its last element so far (TOML 1.0)."""
        line = self._line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        keys = self._key()
        path: KeyPath = ()
        for position, key in enumerate(keys, 1):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if is_array and position == len(keys):
                self.last_index[path] = self.last_index.get(path, -1) + 1
            if path in self.last_index:
                path = (*path, self.last_index[path])
        self.at += 2 if is_array else 1
        self.lines.setdefault(path, line)
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for key in self._key():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self._skip_blank()
        self._value(path)

    def _key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip_blank()
            match = _STRING.match(self.text, self.at) or _BARE_KEY.match(self.text, self.at)
            if match is None:
                return keys
            self.at = match.end()
            part = match[0]
            keys.append(tomllib.loads(f"k={part}")["k"] if part[0] in "\"'" else part)
            self._skip_blank()
            if self.text[self.at : self.at + 1] != ".":
                return keys
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        first = self.text[self.at : self.at + 1]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            match = _STRING.match(self.text, self.at) or _SCALAR.match(self.text, self.at)
            if match is not None:
                self.at = match.end()

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self._skip_blank() and self.text[self.at] != "]":
            self.lines.setdefault((*path, index), self._line())
            self._value((*path, index))
            index += 1
            self._skip_comma()
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self._skip_blank() and self.text[self.at] != "}":
            self._pair(path)
            self._skip_comma()
        self.at += 1

    def _skip_comma(self) -> None:
        if self._skip_blank() and self.text[self.at] == ",":
            self.at += 1

    def _skip_blank(self) -> bool:
        """Moves over blanks, line ends and comments; False at the end of the text."""
        match = _BLANK.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return self.at < len(self.text)

    def _line(self) -> int:
        return bisect_right(self.newlines, self.at) + 1
