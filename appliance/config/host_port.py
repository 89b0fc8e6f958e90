"""Addresses as the configuration writes them: `host:port`, `192.0.2.1:25`, `[::1]:25`.

Pure text; asks no resolver. Called by the rooms of `config.check`, and open to whoever must take such a text apart.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from appliance.core.address import BadAddress, parse_domain


class HostPort(NamedTuple):
    """A host (name in lower case, or IP address without brackets) and a port."""

    host: str
    port: int

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an address; None when it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def host_port(text: str, default_port: int | None = None) -> HostPort:
    """Host and port in `text`.

    Raises:
        ValueError: its text says what is wrong.
    """
    if text.startswith("["):
        raw_host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("after [IPv6 address] comes :port")
        host = str(ipaddress.IPv6Address(raw_host))
        raw_port = rest[1:]
    elif text.count(":") > 1:
        raise ValueError("an IPv6 address is written in brackets, as in [::1]:25")
    else:
        raw_host, colon, raw_port = text.partition(":")
        host = host_name(raw_host)
        rest = colon
    if not rest:
        if default_port is None:
            raise ValueError("the port is missing")
        return HostPort(host, default_port)
    if not (raw_port.isascii() and raw_port.isdigit() and len(raw_port) <= 5 and int(raw_port) <= 65535):
        raise ValueError(f"{raw_port!r} is no port")
    return HostPort(host, int(raw_port))


def host_name(raw_host: str) -> str:
    """The name in lower case, or the IPv4 address.

    Raises:
        ValueError: neither.
    """
    if not raw_host:
        raise ValueError("the host is missing")
    if raw_host.replace(".", "").isdigit():
        return str(ipaddress.IPv4Address(raw_host))
    try:
        return parse_domain(raw_host)
    except BadAddress:
        raise ValueError(f"{raw_host!r} is no host name") from None
