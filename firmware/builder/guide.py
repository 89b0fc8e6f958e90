"""The install guide of a board, as text beside its image: made with the image, of the same words as the menu's.

`firmware/guide.txt` is for all boards, `boards/NAME/guide.toml` what differs, and the modes are those that are built.
Called by `build`.
"""

from __future__ import annotations

import tomllib
from string import Template

from appliance.console.mode_texts import TEXTS
from firmware.builder.board import FIRMWARE

_INDENT = " " * 30
_KEYBOARD = "  Keyboard                    On the screen only: what is printed on its keys.\n"


def guide(board: str) -> str:
    """The whole text. Raises OSError: the board has no guide."""
    words = tomllib.loads((FIRMWARE / "boards" / board / "guide.toml").read_text(encoding="utf-8"))
    template = Template((FIRMWARE / "guide.txt").read_text(encoding="utf-8"))
    text = template.substitute(
        title=words["title"],
        write=words["write"].strip(),
        connect=words["connect"].strip(),
        screen=_KEYBOARD if words["screen"] else "",
        modes="\n".join(f"{_INDENT}{line}" for title, lines in TEXTS.values() for line in (title, *lines)),
    )
    title, line, rest = text.split("\n", 2)
    return f"{title}\n{line[:1] * len(title)}\n{rest}"
