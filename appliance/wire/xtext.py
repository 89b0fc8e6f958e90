"""xtext (RFC 3461 §4): octets that would be odd in an SMTP parameter as `+XX`; and its UTF-8 sister (RFC 6533 §3).

Decoding is strict, for what it yields ends up in logs, reports and commands: a text that decodes to a control
character is refused, not cleaned. The module does not know what the text means. `parameters`, `xclient` and
`client_commands` call it.
"""

from __future__ import annotations

import re
from typing import Final

_XCHARS: Final = re.compile(rb"[!-*,-<>-~]*")
_XTEXT: Final = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR: Final = re.compile(rb"\+([0-9A-F]{2})")
_PRINTABLE: Final = re.compile("[ -~]*")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_NOT_XCHAR: Final = re.compile(rb"[^!-*,-<>-~]")
_EMBEDDED: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_UTF8_ADDRESS: Final = re.compile(r"(?:[!-*,-<>-\[\]-~\u0080-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})*")
_NOT_QCHAR: Final = re.compile(r"[^!-*,-<>-\[\]-~]")


class BadXtext(ValueError):
    """Not xtext, or xtext for something that no command, log or header may contain; permanent."""


def decode_xtext(raw: bytes, *, utf8: bool = False) -> str:
    """The text behind `raw`: printable ASCII, blanks included; with `utf8`, UTF-8 without controls as well.

    Raises:
        BadXtext: malformed, or decodes to CR, LF, NUL or any other control character.
    """
    if _XCHARS.fullmatch(raw):
        return raw.decode("ascii")
    if not _XTEXT.fullmatch(raw):
        raise BadXtext("malformed xtext")
    octets = _HEXCHAR.sub(lambda match: bytes((int(match[1], 16),)), raw)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadXtext("xtext for something that is not UTF-8") from None
    if not (_PRINTABLE.fullmatch(text) or (utf8 and not _CONTROL.search(text))):
        raise BadXtext("xtext for a control or non-ASCII character")
    return text


def encode_xtext(text: str) -> str:
    """`text` as xtext; the inverse of `decode_xtext`."""
    return _NOT_XCHAR.sub(lambda match: b"+%02X" % match[0][0], text.encode("utf-8")).decode("ascii")


def decode_utf8_address(raw: bytes) -> str:
    r"""The address behind an ORCPT value of type `utf-8`: literal UTF-8 or `\x{HEX}` (RFC 6533 §3).

    Raises:
        BadXtext: malformed, or a control character.
    """
    try:
        value = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadXtext("not UTF-8") from None
    if not _UTF8_ADDRESS.fullmatch(value):
        raise BadXtext("malformed utf-8 address")
    try:
        text = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), value)
        text.encode("utf-8")
    except (ValueError, OverflowError):
        raise BadXtext("no such character") from None
    if _CONTROL.search(text):
        raise BadXtext("control character")
    return text


def encode_utf8_address(text: str) -> str:
    r"""`text` with each odd character as `\x{HEX}`: the form that also a next hop without SMTPUTF8 takes."""
    return _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", text)


def encode_orcpt(orcpt: str) -> str:
    """ORCPT= for a decoded `addr-type;address`, in the encoding that its type has (RFC 3461 §4.2, RFC 6533 §3)."""
    address_type, _, address = orcpt.partition(";")
    return f"{address_type};{encode_utf8_address(address) if address_type == 'utf-8' else encode_xtext(address)}"
