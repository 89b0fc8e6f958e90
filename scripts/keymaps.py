"""Writes appliance/console/keymaps.py from the layouts of xkeyboard-config, through libxkbcommon.

Needs Debian's libxkbcommon0 and xkb-data. Dead keys become the character that they would put on a letter, for the
menu reads ASCII: who types `^` wants it at once.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from appliance.config.box_tables import Keyboard  # noqa: E402
from appliance.console.keyboard import KEYCODES  # noqa: E402

VARIANTS = {"ch-fr": ("ch", "fr"), "dvorak": ("us", "dvorak"), "cz": ("cz", "qwerty"), "sk": ("sk", "qwerty")}
DEAD = {
    "dead_grave": "`", "dead_acute": "'", "dead_circumflex": "^", "dead_tilde": "~", "dead_diaeresis": '"',
    "dead_cedilla": ",", "dead_perispomeni": "~", "dead_macron": "¯", "dead_degree": "°", "dead_abovering": "°",
}  # fmt: skip
LEVELS = 4
HEADER = '''\
"""What the keys of each keyboard write: made by `scripts/keymaps.py` from xkeyboard-config (MIT licence). Data only.

For each layout four strings: plain, with Shift, with AltGr, with both; a character for each key of
`keyboard.KEYCODES`, a blank where there is none. Loaded only where a keyboard is set.
"""

from __future__ import annotations

KEYMAPS: dict[str, tuple[str, str, str, str]] = {
'''


class RuleNames(ctypes.Structure):
    """`struct xkb_rule_names`."""

    _fields_ = tuple((name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options"))


def library() -> ctypes.CDLL:
    xkb = ctypes.CDLL("libxkbcommon.so.0")
    for name in ("xkb_context_new", "xkb_keymap_new_from_names"):
        getattr(xkb, name).restype = ctypes.c_void_p
    return xkb


def characters(xkb: ctypes.CDLL, keymap: ctypes.c_void_p, level: int) -> str:
    found = ""
    for keycode in KEYCODES:
        symbols = ctypes.POINTER(ctypes.c_uint32)()
        count = xkb.xkb_keymap_key_get_syms_by_level(keymap, keycode + 8, 0, level, ctypes.byref(symbols))
        found += character(xkb, symbols[0]) if count else " "
    return found


def character(xkb: ctypes.CDLL, symbol: int) -> str:
    name = ctypes.create_string_buffer(64)
    xkb.xkb_keysym_get_name(symbol, name, 64)
    written = DEAD.get(name.value.decode()) or chr(xkb.xkb_keysym_to_utf32(symbol))
    return written if written.isprintable() and len(written) == 1 else " "


def main() -> None:
    xkb = library()
    context = ctypes.c_void_p(xkb.xkb_context_new(0))
    text = HEADER
    for keyboard in Keyboard:
        layout, variant = VARIANTS.get(keyboard.value, (keyboard.value, ""))
        names = RuleNames(b"evdev", b"pc105", layout.encode(), variant.encode(), b"")
        keymap = ctypes.c_void_p(xkb.xkb_keymap_new_from_names(context, ctypes.byref(names), 0))
        if not keymap.value:
            sys.exit(f"xkeyboard-config has no {layout} {variant}")
        rows = [characters(xkb, keymap, level) for level in range(LEVELS)]
        text += f'    "{keyboard.value}": (\n' + "".join(f"        {quoted(row)},\n" for row in rows) + "    ),\n"
    (ROOT / "appliance/console/keymaps.py").write_text(text + "}\n", encoding="utf-8")


def quoted(row: str) -> str:
    """As ruff's formatter would write it."""
    text = repr(row)
    if text[0] == "'" and '"' not in row:
        return f'"{text[1:-1]}"'
    return text


if __name__ == "__main__":
    main()
