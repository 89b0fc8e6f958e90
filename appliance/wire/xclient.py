"""XCLIENT: a trusted proxy names the client that it speaks for (Postfix's extension).

Parses the attributes and lays them over a `Client`. It does not know who is trusted: `smtp_server` and the session
decide that before they call. After it the session starts over with a greeting.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable

from appliance.core import reply
from appliance.core.envelope import Client
from appliance.core.reply import Reply
from appliance.wire.xtext import decode_xtext

KEYWORDS = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
"""What EHLO says behind XCLIENT."""

NO_ADDRESS = "0.0.0.0"
"""ADDR=[UNAVAILABLE]: never the proxy's own address, which may be allowed to relay."""

_ABSENT = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9.])?")
_MAX_VALUE_CHARACTERS = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Xclient:
    """What was said; None: nothing, the value in force stays. Empty or 0: said to be unknown."""

    name: str | None = None
    addr: str | None = None
    port: int | None = None
    proto: str | None = None
    helo: str | None = None
    login: str | None = None
    destaddr: str | None = None
    destport: int | None = None

    def applied_to(self, client: Client) -> Client:
        """A copy of `client` with these attributes over it.

        A new address drops name, login and certificate, which were the proxy's.
        """
        changed = client.copy()
        if self.addr is not None:
            changed.ip, changed.port = self.addr or NO_ADDRESS, 0
            changed.rdns = changed.login = changed.certificate = ""
        if self.name is not None:
            changed.rdns = self.name
        if self.port is not None:
            changed.port = self.port
        if self.helo is not None:
            changed.helo = self.helo
        if self.proto is not None:
            changed.esmtp = self.proto == "ESMTP"
        if self.login is not None:
            changed.login = self.login
        return changed


def parse_xclient(raw_line: bytes) -> Xclient | Reply:
    """The attributes in `raw_line`, the octets behind `XCLIENT ` without CRLF; or the reply that refuses them."""
    values: dict[str, str | int] = {}
    for word in raw_line.rstrip(b" ").split(b" "):
        raw_name, equals, raw_value = word.partition(b"=")
        keyword = raw_name.decode("ascii", "replace").upper()
        if not equals or keyword not in _PARSERS or keyword.lower() in values:
            return reply.BAD_SYNTAX
        try:
            text = decode_xtext(raw_value, utf8=keyword == "LOGIN")
            if not text or len(text) > _MAX_VALUE_CHARACTERS:
                return reply.BAD_SYNTAX
            values[keyword.lower()] = _PARSERS[keyword]("" if text.upper() in _ABSENT else text)
        except ValueError:
            return reply.BAD_SYNTAX
    return Xclient(**values)  # type: ignore[arg-type]


def _host(text: str) -> str:
    if text and not _HOST.fullmatch(text):
        raise ValueError("no host name")
    return text


def _address(text: str) -> str:
    """IPv6 addresses come as `IPV6:...`; a mapped one is taken for the IPv4 address that it is."""
    if not text:
        return ""
    if "%" in text:
        raise ValueError("address with a zone")  # which `ipaddress` would let be any text
    if text[:5].upper() == "IPV6:":
        address = ipaddress.IPv6Address(text[5:])
        return str(address.ipv4_mapped or address)
    return str(ipaddress.IPv4Address(text))


def _port(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or not text.isascii() or int(text) > 65_535:
        raise ValueError("no port")
    return int(text)


def _proto(text: str) -> str:
    if text.upper() not in ("", "SMTP", "ESMTP"):
        raise ValueError("no such protocol")
    return text.upper()


_PARSERS: dict[str, Callable[[str], str | int]] = {
    "NAME": _host,
    "ADDR": _address,
    "PORT": _port,
    "PROTO": _proto,
    "HELO": str,
    "LOGIN": str,
    "DESTADDR": _address,
    "DESTPORT": _port,
}
