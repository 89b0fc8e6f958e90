"""Names in the form that DNS and TLS want: A-labels, lower case, nothing that could hurt a log line or a header.

Pure text in, text out: asks nobody. Called by the resolver and by `mx`; whoever compares domains calls `to_ascii` too,
for `bücher.example` and `xn--bcher-kva.example` are one domain.
"""

from __future__ import annotations

import ipaddress
import re

import idna

from appliance.core.address import MAX_DOMAIN_OCTETS
from appliance.core.errors import BadDomain

# RFC 1123 §2.1 has no underscore; real zones do, and it harms nobody.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")


def to_ascii(domain: str) -> str:
    """`domain` with U-labels as A-labels (RFC 5891 §4, mapped by UTS 46), in lower case, without a final dot.

    Raises:
        BadDomain: not a host name; permanent.
    """
    name = domain.removesuffix(".").lower()
    if not name.isascii() and len(name) <= MAX_DOMAIN_OCTETS:
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except UnicodeError as error:
            raise BadDomain(f"{domain!r}: {error}") from error
    if not is_host_name(name):
        raise BadDomain(f"{domain!r} is not a host name")
    return name


def is_host_name(name: str) -> bool:
    """Whether `name`, lower case and without final dot, is made of letters, digits, hyphens and dots, as hosts are."""
    return _HOST_NAME.fullmatch(name) is not None


def literal_address(domain: str) -> str:
    """The IP address in the address literal `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).

    Raises:
        BadDomain: not an address literal; permanent.
    """
    inner = domain[1:-1] if domain.startswith("[") and domain.endswith("]") else ""
    try:
        if inner[:5].lower() == "ipv6:":
            return str(ipaddress.IPv6Address(inner[5:]))
        return str(ipaddress.IPv4Address(inner))
    except ValueError as error:
        raise BadDomain(f"{domain!r} is not an address literal") from error
