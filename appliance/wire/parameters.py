"""MAIL and RCPT with their parameters, parsed from the octets behind the verb.

One regular expression takes what nearly every client sends; everything else goes through the full grammar of
RFC 5321 §4.1.1.2 and §4.1.1.3, where the first thing that is wrong decides the reply. The module knows the syntax of
the extensions, not whether a sender, a size or a relay is allowed: `%`-hacks, `!`-paths and source routes are fine
here. `smtp_server` calls it, and the submission front door.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from appliance.core import reply
from appliance.core.address import (
    NULL_SENDER,
    PLAIN_MAILBOX,
    Address,
    BadAddress,
    NeedsSmtpUtf8,
    parse_address,
    plain_address,
)
from appliance.core.envelope import Body, Notify
from appliance.core.reply import Reply
from appliance.wire.xtext import BadXtext, decode_utf8_address, decode_xtext

MAX_ENVID_CHARACTERS: Final = 100  # RFC 3461 §4.4
MAX_ORCPT_CHARACTERS: Final = 500  # RFC 3461 §4.2
MAX_SIZE_DIGITS: Final = 20  # RFC 1870 §3

_PLAIN_MAIL: Final = re.compile(
    rf"(?:FROM|From|from): ?<(?:{PLAIN_MAILBOX})?>(?: SIZE=([0-9]{{1,20}}))?(?: BODY=(8BITMIME|7BIT))? *+".encode()
)
_PLAIN_RCPT: Final = re.compile(rf"(?:TO|To|to): ?<{PLAIN_MAILBOX}> *+".encode())
_MAIL: Final = re.compile(rb"[Ff][Rr][Oo][Mm]: ?(.*)", re.DOTALL)
_RCPT: Final = re.compile(rb"[Tt][Oo]: ?(.*)", re.DOTALL)
# The path ends at the first `>` outside quotes; what is between is for the address grammar to judge.
_PATH: Final = re.compile(rb'<((?:[^"<>\x00-\x20\x7f]++|"(?:[^"\\\x00-\x1f\x7f]++|\\[ -~])*")*)>')
_PARAMETER: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~\x80-\xff]++))?")
_ADDRESS_TYPE: Final = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")

_T = TypeVar("_T")
_UNSET: Final = Notify.UNSET
_SEVEN_BIT: Final = Body.SEVEN_BIT
_BODIES: Final = {body.value.encode(): body for body in Body}
_NOTIFY = {b"SUCCESS": Notify.SUCCESS, b"FAILURE": Notify.FAILURE, b"DELAY": Notify.DELAY, b"NEVER": Notify.NEVER}


class MailCommand:
    """A well-formed MAIL."""

    __slots__ = ("auth", "body", "declared_size_bytes", "envid", "requiretls", "ret", "sender", "smtputf8")

    def __init__(
        self,
        sender: Address,
        declared_size_bytes: int = 0,
        body: Body = _SEVEN_BIT,
        smtputf8: bool = False,
        requiretls: bool = False,
        ret: str = "",
        envid: str = "",
        auth: str | None = None,
    ) -> None:
        self.sender = sender
        self.declared_size_bytes = declared_size_bytes
        """0 if not given."""
        self.body = body
        self.smtputf8 = smtputf8
        self.requiretls = requiretls
        self.ret = ret
        """`FULL`, `HDRS` or empty."""
        self.envid = envid
        """xtext decoded."""
        self.auth = auth
        """AUTH= decoded, `<>` included (RFC 4954 §5); to be ignored unless the peer is trusted. None if not given."""

    def _values(self) -> tuple[object, ...]:
        return (
            self.sender, self.declared_size_bytes, self.body, self.smtputf8, self.requiretls, self.ret, self.envid,
            self.auth,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MailCommand) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"MailCommand{self._values()!r}"


class RcptCommand:
    """A well-formed RCPT."""

    __slots__ = ("notify", "orcpt", "recipient")

    def __init__(self, recipient: Address, notify: Notify = _UNSET, orcpt: str = "") -> None:
        self.recipient = recipient
        """`<Postmaster>` without a domain has `domain` empty (RFC 5321 §4.5.1)."""
        self.notify = notify
        self.orcpt = orcpt
        """`addr-type;address`, decoded."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RcptCommand) and (self.recipient, self.notify, self.orcpt) == (
            other.recipient, other.notify, other.orcpt,
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.recipient)

    def __repr__(self) -> str:
        return f"RcptCommand({self.recipient!r}, {self.notify!r}, {self.orcpt!r})"


class _Refused(Exception):
    def __init__(self, answer: Reply) -> None:
        self.answer = answer


def parse_mail(
    raw_line: bytes, *, utf8_offered: bool = True, binary_offered: bool = True, requiretls_offered: bool = True
) -> MailCommand | Reply:
    """The command in `raw_line`, the octets behind `MAIL ` without CRLF; or the reply that refuses it.

    Args:
        utf8_offered: EHLO offered SMTPUTF8 (RFC 6531).
        binary_offered: EHLO offered BINARYMIME (RFC 3030).
        requiretls_offered: the session has TLS, so that REQUIRETLS may be asked for (RFC 8689 §2).
    """
    match = _PLAIN_MAIL.fullmatch(raw_line)
    if match is not None:
        raw_local, raw_domain, digits, raw_body = match.groups()
        sender = NULL_SENDER if raw_local is None else plain_address(raw_local, raw_domain)
        if sender is not None:
            # An enum's attribute costs more than a module's dictionary.
            return MailCommand(sender, int(digits or 0), _BODIES[raw_body or b"7BIT"])
    try:
        raw_path, parameters = _split(_MAIL, raw_line, reply.BAD_SENDER)
        if b"SMTPUTF8" in parameters and not utf8_offered:
            return reply.BAD_PARAMETER
        if b"REQUIRETLS" in parameters and not requiretls_offered:
            return reply.NO_REQUIRETLS_WITHOUT_TLS
        if parameters.get(b"BODY", b"").upper() == b"BINARYMIME" and not binary_offered:
            return reply.BAD_PARAMETER
        return _mail(raw_path, parameters)
    except _Refused as refused:
        return refused.answer


def parse_rcpt(raw_line: bytes, *, utf8: bool = False) -> RcptCommand | Reply:
    """The command in `raw_line`, the octets behind `RCPT ` without CRLF; or the reply that refuses it.

    Args:
        utf8: MAIL of this transaction had SMTPUTF8 (RFC 6531 §3.4).
    """
    match = _PLAIN_RCPT.fullmatch(raw_line)
    if match is not None:
        recipient = plain_address(*match.groups())
        if recipient is not None:
            return RcptCommand(recipient)
    try:
        raw_path, parameters = _split(_RCPT, raw_line, reply.BAD_RECIPIENT)
        return _rcpt(raw_path, parameters, utf8)
    except _Refused as refused:
        return refused.answer


def _split(command: re.Pattern[bytes], raw_line: bytes, bad_path: Reply) -> tuple[bytes, dict[bytes, bytes]]:
    """Path without brackets, and the parameters by upper-case keyword; b"" is the value of one without `=`."""
    arguments = command.fullmatch(raw_line)
    if arguments is None:
        raise _Refused(reply.BAD_SYNTAX)
    raw = arguments[1].rstrip(b" ")
    path = _PATH.match(raw)
    if path is None:
        raise _Refused(bad_path)
    parameters: dict[bytes, bytes] = {}
    rest = raw[path.end() :]
    if rest and not rest.startswith(b" "):
        raise _Refused(reply.BAD_SYNTAX)
    for word in rest.split(b" ")[1:]:
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None:
            raise _Refused(reply.BAD_SYNTAX)
        keyword = parameter[1].upper()
        if keyword in parameters:
            raise _Refused(reply.BAD_SYNTAX)
        parameters[keyword] = parameter[2] or b""
    return path[1], parameters


def _address(raw_path: bytes, utf8: bool, bad_path: Reply) -> Address:
    try:
        return parse_address(raw_path, utf8=utf8)
    except NeedsSmtpUtf8:
        raise _Refused(reply.NON_ASCII_ADDRESS) from None
    except BadAddress:
        raise _Refused(bad_path) from None


def _mail(raw_path: bytes, parameters: dict[bytes, bytes]) -> MailCommand:
    size_bytes, body, ret, envid = 0, Body.SEVEN_BIT, "", ""
    auth: str | None = None
    for keyword, value in parameters.items():
        if keyword == b"SIZE":
            size_bytes = _size(value)
        elif keyword == b"BODY":
            body = _choice(_BODIES, value)
        elif keyword in (b"SMTPUTF8", b"REQUIRETLS"):
            _no_value(value)
        elif keyword == b"RET":
            ret = _choice({b"FULL": "FULL", b"HDRS": "HDRS"}, value)
        elif keyword == b"ENVID":
            envid = _xtext(value, MAX_ENVID_CHARACTERS)
        elif keyword == b"AUTH":
            auth = _xtext(value, MAX_ORCPT_CHARACTERS)
        else:
            raise _Refused(reply.BAD_PARAMETER)
    smtputf8 = b"SMTPUTF8" in parameters
    sender = _address(raw_path, smtputf8, reply.BAD_SENDER)
    return MailCommand(sender, size_bytes, body, smtputf8, b"REQUIRETLS" in parameters, ret, envid, auth)


def _rcpt(raw_path: bytes, parameters: dict[bytes, bytes], utf8: bool) -> RcptCommand:
    notify, orcpt = Notify.UNSET, ""
    for keyword, value in parameters.items():
        if keyword == b"NOTIFY":
            notify = _notify(value)
        elif keyword == b"ORCPT":
            orcpt = _orcpt(value, utf8)
        else:
            raise _Refused(reply.BAD_PARAMETER)
    if raw_path.lower() == b"postmaster":  # RFC 5321 §4.1.1.3
        name = raw_path.decode("ascii")
        return RcptCommand(Address(name, name, ""), notify, orcpt)
    recipient = _address(raw_path, utf8, reply.BAD_RECIPIENT)
    if recipient.is_null:
        raise _Refused(reply.BAD_RECIPIENT)
    return RcptCommand(recipient, notify, orcpt)


def _choice(choices: dict[bytes, _T], value: bytes) -> _T:
    try:
        return choices[value.upper()]
    except KeyError:
        raise _Refused(reply.BAD_SYNTAX) from None


def _size(value: bytes) -> int:
    if not value.isdigit() or len(value) > MAX_SIZE_DIGITS:
        raise _Refused(reply.BAD_SYNTAX)
    return int(value)


def _no_value(value: bytes) -> None:
    if value:
        raise _Refused(reply.BAD_SYNTAX)


def _xtext(value: bytes, max_characters: int) -> str:
    if not value or len(value) > max_characters:
        raise _Refused(reply.BAD_SYNTAX)
    try:
        return decode_xtext(value)
    except BadXtext:
        raise _Refused(reply.BAD_SYNTAX) from None


def _notify(value: bytes) -> Notify:
    """NEVER stands alone (RFC 3461 §4.1)."""
    notify = Notify.UNSET
    for word in value.split(b","):
        notify |= _choice(_NOTIFY, word)
    if Notify.NEVER in notify and notify != Notify.NEVER:
        raise _Refused(reply.BAD_SYNTAX)
    return notify


def _orcpt(value: bytes, utf8: bool) -> str:
    """`addr-type;address` (RFC 3461 §4.2); the address need not be one that we could route."""
    raw_type, separator, raw_address = value.partition(b";")
    if not separator or not _ADDRESS_TYPE.fullmatch(raw_type):
        raise _Refused(reply.BAD_SYNTAX)
    address_type = raw_type.decode("ascii").lower()
    if address_type != "utf-8":
        return f"{address_type};{_xtext(raw_address, MAX_ORCPT_CHARACTERS)}"
    if not raw_address or len(raw_address) > MAX_ORCPT_CHARACTERS or not (utf8 or raw_address.isascii()):
        raise _Refused(reply.BAD_SYNTAX)
    try:
        return f"utf-8;{decode_utf8_address(raw_address)}"
    except BadXtext:
        raise _Refused(reply.BAD_SYNTAX) from None
