"""Addresses as SMTP writes them (RFC 5321 §4.1.2), parsed from raw bytes.

The grammar is kept strict: what is refused here cannot reach a shell, a log line or a next hop. Most addresses are
plain dot-atoms, which one regular expression takes; the rest goes through the full grammar.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
PLAIN_MAILBOX: Final = rf"([{_ATEXT}]++(?:\.[{_ATEXT}]++)*)@([A-Za-z0-9]++(?:(?:\.|-+)[A-Za-z0-9]++)*)"
"""Regular expression of nearly all mailboxes: two groups, dot-atom and host name; lengths are not checked."""
_PLAIN: Final = re.compile(PLAIN_MAILBOX.encode())
_DOT_ATOM_UTF8: Final = re.compile(rf"[\u0080-\U0010ffff{_ATEXT}]+(?:\.[\u0080-\U0010ffff{_ATEXT}]+)*")
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*)"')
_LABEL = re.compile(r"[A-Za-z0-9\u0080-\U0010ffff](?:[A-Za-z0-9\u0080-\U0010ffff-]{0,61}[A-Za-z0-9\u0080-\U0010ffff])?")
_SOURCE_ROUTE: Final = re.compile(rb"@[A-Za-z0-9.\-\[\]:]+(?:,@[A-Za-z0-9.\-\[\]:]+)*:")
_CONTROL_UTF8: Final = re.compile("[\u0080-\u009f\u2028\u2029]")

MAX_LOCAL_OCTETS: Final = 64  # RFC 5321 §4.5.3.1.1
MAX_DOMAIN_OCTETS: Final = 255  # RFC 5321 §4.5.3.1.2
MAX_LABEL_OCTETS: Final = 63  # RFC 1035 §2.3.4
MAX_PATH_OCTETS: Final = 254  # RFC 5321 §4.5.3.1.3: 256 with the angle brackets


class BadAddress(Exception):
    """The bytes are no mailbox in the sense of RFC 5321 §4.1.2; permanent."""


class NeedsSmtpUtf8(BadAddress):
    """The address has non-ASCII characters, and the client did not ask for SMTPUTF8 (RFC 6531 §3.4)."""


class Address:
    """A mailbox, immutable by convention.

    `raw` is what stood between the angle brackets, less a source route, ready to be sent on.
    """

    __slots__ = ("domain", "local", "raw")

    def __init__(self, raw: str, local: str, domain: str) -> None:
        self.raw = raw
        self.local = local
        """The local part with quoting undone; case kept."""
        self.domain = domain
        """Lower case; an address literal keeps its brackets; U-labels stay U-labels (`dns` converts them)."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and (self.raw, self.local, self.domain) == (
            other.raw, other.local, other.domain,
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"Address({self.raw!r}, {self.local!r}, {self.domain!r})"

    def __str__(self) -> str:
        return self.raw

    @property
    def is_null(self) -> bool:
        return not self.raw

    @property
    def is_literal(self) -> bool:
        return self.domain.startswith("[")

    @property
    def is_ascii(self) -> bool:
        return self.raw.isascii()


NULL_SENDER: Final = Address("", "", "")


def parse_address(raw_path: bytes, *, utf8: bool = False) -> Address:
    """The mailbox in `raw_path` (without angle brackets); an empty path is the null sender.

    A source route is dropped, as RFC 5321 §3.6.1 and appendix C allow.

    Raises:
        NeedsSmtpUtf8: non-ASCII bytes and `utf8` is False.
        BadAddress: anything else that the grammar or its length limits forbid.
    """
    if not raw_path:
        return NULL_SENDER
    match = _PLAIN.fullmatch(raw_path)
    if match is not None and (address := plain_address(*match.groups())) is not None:
        return address
    return _parse_slowly(raw_path, utf8)


def plain_address(raw_local: bytes, raw_domain: bytes) -> Address | None:
    """The address of the two groups of `PLAIN_MAILBOX`; None where their lengths need the full grammar's attention."""
    # A domain that is no longer than one label may be (RFC 1035 §2.3.4) has no label that is too long.
    if len(raw_local) > MAX_LOCAL_OCTETS or len(raw_domain) > MAX_LABEL_OCTETS:
        return None
    local = raw_local.decode("ascii")
    domain = raw_domain.decode("ascii")
    return Address(f"{local}@{domain}", local, domain.lower())


def _parse_slowly(raw_path: bytes, utf8: bool) -> Address:
    if raw_path.startswith(b"@"):
        route = _SOURCE_ROUTE.match(raw_path)
        if route is None:
            raise BadAddress("malformed source route")
        raw_path = raw_path[route.end() :]
    if len(raw_path) > MAX_PATH_OCTETS:
        raise BadAddress("path too long")
    if not raw_path.isascii() and not utf8:
        raise NeedsSmtpUtf8("non-ASCII address without SMTPUTF8")
    try:
        path = raw_path.decode("utf-8")
    except UnicodeDecodeError:
        raise BadAddress("not UTF-8") from None
    if _CONTROL_UTF8.search(path):
        raise BadAddress("control character")
    raw_local, at, domain = path.rpartition("@")
    if not at:
        raise BadAddress("no domain")
    return Address(path, _local_part(raw_local), parse_domain(domain))


def _local_part(raw_local: str) -> str:
    if len(raw_local.encode()) > MAX_LOCAL_OCTETS:
        raise BadAddress("local part too long")
    if _DOT_ATOM_UTF8.fullmatch(raw_local):
        return raw_local
    quoted = _QUOTED.fullmatch(raw_local)
    if quoted is None or not quoted[1]:
        raise BadAddress("malformed local part")
    return re.sub(r"\\(.)", r"\1", quoted[1])


def parse_domain(domain: str) -> str:
    """`domain` in lower case, checked: host name (U-labels allowed) or address literal (RFC 5321 §4.1.3).

    Raises:
        BadAddress: it is neither.
    """
    if domain.startswith("["):
        if not domain.endswith("]"):
            raise BadAddress("malformed address literal")
        inner = domain[1:-1]
        try:
            if "%" in inner:  # a zone, which `ipaddress` lets be any text
                raise ValueError(inner)
            if inner[:5].lower() == "ipv6:":
                return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
            return f"[{ipaddress.IPv4Address(inner)}]"
        except ValueError:
            raise BadAddress("malformed address literal") from None
    if not domain or len(domain.encode()) > MAX_DOMAIN_OCTETS or not _labels_ok(domain):
        raise BadAddress("malformed domain")
    return domain.lower()


def _labels_ok(domain: str) -> bool:
    return len(domain) <= MAX_DOMAIN_OCTETS and all(_LABEL.fullmatch(label) for label in domain.split("."))
