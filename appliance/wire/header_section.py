"""The header section of a message as it streams by: where it ends, whether it keeps its limits, what a log wants of it.

Views go in, the octets of the header section are copied (they are few), those of the body never. The scanner knows no
field's grammar beyond `name: value` with folding (RFC 5322 §2.2), decodes nothing and changes nothing; it reports
facts, and the reply for a section over its limits. The transaction feeds it; splits make no difference.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import stringzilla as sz

from appliance.core import reply
from appliance.core.reply import Reply

_END: Final = b"\r\n\r\n"
# A field's name is printable ASCII without colon (RFC 5322 §2.2), blanks before the colon are obsolete but seen (§4.5).
# The bounds keep the question "is this a field?" cheap for a line without end.
_FIRST_FIELD: Final = re.compile(rb"[!-9;-~]{1,256}+[ \t]{0,64}+:")
_MAYBE_FIRST: Final = re.compile(rb"(?:[!-9;-~]{1,256}+[ \t]{0,64}+|\r)?")
_UNDECIDED_OCTETS: Final = 256 + 64  # what `_MAYBE_FIRST` can match
_NOTHING: Final = bytearray()  # in place of a buffer where there is none; never written to
_SECTION: Final = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*)*(?:\r\n)?")
_VALUE_END: Final = re.compile(rb"\n(?![ \t])")
_CONTROLS: Final = bytes(octet for octet in range(32) if octet not in b"\t\r\n") + b"\x7f"
_NOT_CONTROLS: Final = bytes(octet for octet in range(256) if octet not in _CONTROLS)

MAX_VALUE_OCTETS: Final = 998
"""`HeaderSection.value` cuts what is longer, for it is meant for a log."""


class HeaderLimits(NamedTuple):
    """Bounds of a header section; octets include CRLF."""

    section_octets: int = 256 << 10
    fields: int = 1_000
    line_octets: int = 64 << 10
    hops: int = 50
    """`Received` fields (RFC 5321 §6.3)."""


class HeaderSection:
    """One message's header section. `feed` until it returns True, `finish` where the message ends before that.

    Before `ended` only `ended` has a meaning. Facts are those of the octets in `raw`.
    """

    __slots__ = ("_buffer", "_first_is_field", "_limits", "_lower", "ended", "headless", "hops", "raw", "refusal")

    def __init__(self, limits: HeaderLimits) -> None:
        self._limits = limits
        self._buffer = _NOTHING
        self._first_is_field = False
        self._lower = b""
        self.ended = False
        self.raw = b""
        """The section with its blank line if it has one; a prefix of the message, and empty if that is all body."""
        self.refusal: Reply | None = None
        """BAD_HEADER: over a limit; MAIL_LOOP: too many hops."""
        self.headless = False
        """The message has no fields: it begins with a blank line (then `raw` is that line) or is all body."""
        self.hops = 0
        """`Received` fields as mail servers write them, without a blank before the colon."""

    def feed(self, view: memoryview | bytes | bytearray) -> bool:
        """Looks at the next octets of the message; True once the section has ended: what follows is body.

        `view` is the caller's again on return. After True, `len(raw)` octets of the message were header section.
        """
        if self.ended:
            return True
        if self._buffer is _NOTHING:
            end = sz.find(view, _END, 0, self._limits.section_octets)
            if end >= 0 and _FIRST_FIELD.match(view):
                self._first_is_field = True
                self._end(bytes(view[: end + 4]))
                return True
            self._buffer = bytearray()
        return self._feed_slowly(view)

    def finish(self) -> None:
        """The message has ended. A section without a blank line is one all the same (RFC 5322 §2.1)."""
        if not self.ended:
            self._end(bytes(self._buffer) if self._first_is_field else b"")

    def count(self, name: bytes) -> int:
        """How many fields are called `name` (lower case)."""
        prefix = b"\n" + name
        total = self._lower.count(prefix + b":")
        if total != self._lower.count(prefix):  # `received-spf`, or blanks before the colon
            total = len(re.findall(re.escape(prefix) + rb"[ \t]*+:", self._lower))
        return total

    def value(self, name: bytes) -> bytes:
        """Raw value of the first field called `name` (lower case), unfolded, cut at MAX_VALUE_OCTETS; b"" if none.

        Anything but line ends may be in it: the caller decodes and escapes.
        """
        start = self._lower.find(b"\n" + name + b":")
        if start >= 0:
            return _unfolded(self.raw, start + len(name) + 1)
        match = re.search(b"\n" + re.escape(name) + rb"[ \t]++:", self._lower)
        # `_lower` has one octet more in front than `raw`.
        return _unfolded(self.raw, match.end() - 1) if match is not None else b""

    @property
    def fields(self) -> int:
        """Lines that continue no other; the blank line is none."""
        lines = self._lower.count(b"\n") - 1 - self.raw.endswith((b"\n\r\n",)) - (self.raw == b"\r\n")
        return lines - self._lower.count(b"\n ") - self._lower.count(b"\n\t")

    @property
    def delivered_to(self) -> int:
        """`Delivered-To` fields: another sign of a loop, for policy."""
        return self.count(b"delivered-to")

    @property
    def nul(self) -> bool:
        return b"\0" in self.raw

    @property
    def controls(self) -> bool:
        """Control characters other than TAB, CR and LF; NUL included. Some parsers see line ends in them."""
        return bool(self.raw.translate(None, _NOT_CONTROLS))

    @property
    def eight_bit(self) -> bool:
        """Octets over 127, which only an SMTPUTF8 message should have here (RFC 6532 §3)."""
        return not self.raw.isascii()

    @property
    def well_formed(self) -> bool:
        """Every line is a field or continues one; other readers may take another line for the start of the body."""
        return _SECTION.fullmatch(self.raw) is not None

    @property
    def message_id(self) -> bytes:
        return self.value(b"message-id")

    @property
    def date(self) -> bytes:
        return self.value(b"date")

    @property
    def sender(self) -> bytes:
        """From, as it was written."""
        return self.value(b"from")

    @property
    def subject(self) -> bytes:
        return self.value(b"subject")

    def _feed_slowly(self, view: memoryview | bytes | bytearray) -> bool:
        """For a section that is not whole in the first view, or is none."""
        buffer = self._buffer
        if not self._first_is_field:
            head = bytes(buffer) + bytes(view[: _UNDECIDED_OCTETS + 1])
            if _FIRST_FIELD.match(head) is None:
                return self._without_field(head)
            self._first_is_field = True
        room = self._limits.section_octets - len(buffer)
        # The blank line may lie across the seam of two views.
        seam = bytes(buffer[-3:])
        across = (seam + bytes(view[: min(3, room)])).find(_END)
        if across >= 0:
            end_octets = across + 4 - len(seam)
        else:
            end = sz.find(view, _END, 0, room)
            end_octets = end + 4 if end >= 0 else 0
        if end_octets:
            buffer += view[:end_octets]
            self._end(bytes(buffer))
        else:
            buffer += view[:room]
            if len(view) > room:
                self._end(bytes(buffer))
                self.refusal = reply.BAD_HEADER
        return self.ended

    def _without_field(self, head: bytes) -> bool:
        """The message does not begin with a field, or has too few octets yet to tell."""
        if head.startswith(b"\r\n"):
            self._end(b"\r\n")
        elif _MAYBE_FIRST.fullmatch(head):
            self._buffer[:] = head
        else:
            self._end(b"")
        return self.ended

    def _end(self, raw: bytes) -> None:
        self.ended = True
        self.raw = raw
        self._buffer = _NOTHING
        # One line end in front, so that the first field looks like all others.
        lower = self._lower = b"\n" + raw.lower()
        self.headless = not self._first_is_field
        self.hops = lower.count(b"\nreceived:")
        limits = self._limits
        if self.hops > limits.hops:
            self.refusal = reply.MAIL_LOOP
        if (
            # A field has four octets or more; only where that does not settle it they are counted.
            (len(raw) > 4 * limits.fields and self.fields > limits.fields)
            or (len(raw) > limits.line_octets and max(map(len, raw.split(b"\n"))) >= limits.line_octets)
        ):
            self.refusal = reply.BAD_HEADER


def _unfolded(raw: bytes, start: int) -> bytes:
    """The value that begins at `raw[start]`; looks no further than MAX_VALUE_OCTETS."""
    value = raw[start : start + MAX_VALUE_OCTETS]
    end = _VALUE_END.search(value)
    if end is not None:
        value = value[: end.start()]
    return value.replace(b"\r\n", b"").strip(b" \t\r\n")
