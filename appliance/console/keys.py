"""From octets of a terminal to keys: characters, Enter, rubbing out. Whatever else comes, noise above all, is nothing.

Pure; keeps what is incomplete between two reads. Escape sequences (arrows, function keys, answers of a terminal) are
swallowed whole and never for long: a carriage return always ends one, so that Enter brings the line back to its senses.
"""

from __future__ import annotations

import codecs
from enum import Enum, auto


class Key(Enum):
    """A key that is no character."""

    ENTER = auto()
    BACKSPACE = auto()
    KILL = auto()  # Ctrl-U: the whole line
    CANCEL = auto()  # Ctrl-C: this line; nothing ends by it


_CONTROLS = {
    0x03: Key.CANCEL,
    0x08: Key.BACKSPACE,
    0x0A: Key.ENTER,
    0x0D: Key.ENTER,
    0x15: Key.KILL,
    0x7F: Key.BACKSPACE,
}
_LONGEST_SEQUENCE_OCTETS = 32
_ESCAPE = 0x1B
_INTRODUCERS = b"[O"  # ECMA-48: CSI and SS3


class Keys:
    """`feed` it what was read, in pieces of any size."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._after_return = False
        self._sequence = 0
        """Octets of the escape sequence so far; 0: none."""
        self._kind = 0

    def feed(self, raw: bytes) -> list[str | Key]:
        """The keys in `raw`: printable characters, one each, and members of `Key`."""
        found: list[str | Key] = []
        for octet in raw:
            key = self._one(octet)
            if isinstance(key, str):
                found += [character for character in key if character.isprintable()]
            elif key is not None:
                found.append(key)
        return found

    def _one(self, octet: int) -> str | Key | None:
        after_return, self._after_return = self._after_return, octet == 0x0D
        if octet == 0x0A and after_return:
            return None  # CR LF is one Enter
        if self._sequence and octet not in (0x0D, 0x0A, 0x03):
            self._swallow(octet)
            return None
        self._sequence = 0
        if octet == _ESCAPE:
            self._decoder.reset()
            self._sequence, self._kind = 1, 0
            return None
        if octet < 0x20 or octet == 0x7F:
            self._decoder.reset()
            return _CONTROLS.get(octet)
        return self._decoder.decode(bytes((octet,)))

    def _swallow(self, octet: int) -> None:
        self._sequence += 1
        if octet == _ESCAPE:
            self._sequence, self._kind = 1, 0
        elif self._sequence == 2 and octet in _INTRODUCERS:
            self._kind = octet
        elif self._kind != 0x5B or 0x40 <= octet <= 0x7E or self._sequence > _LONGEST_SEQUENCE_OCTETS:
            self._sequence = 0
