"""The PROXY protocol, versions 1 and 2: one header in front of the session that names the client of a load balancer.

`ProxyHeader` takes chunks until the header is whole and keeps what came behind it. It knows neither the peer nor
whether that peer may be believed: the listener asks only trusted addresses for a header, and closes without a word
where it is malformed, for no SMTP reply would be read as one.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

MAX_V1_OCTETS = 107
MAX_V2_OCTETS = 4096
"""Version 2 needs 16 and at most 216 for addresses; the rest is room for TLVs such as names in a certificate."""

_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_ADDRESS, _PORT = "([0-9A-Fa-f:.]{2,39})", "(0|[1-9][0-9]{0,4})"
_V1 = re.compile(f"PROXY (TCP[46]) {_ADDRESS} {_ADDRESS} {_PORT} {_PORT}".encode())
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?")
_IPV4_OCTETS, _IPV6_OCTETS, _UNIX_OCTETS = 12, 36, 216
# family and transport -> octets of the addresses
_V2_FAMILIES = {
    0x00: 0,
    0x11: _IPV4_OCTETS,
    0x12: _IPV4_OCTETS,
    0x21: _IPV6_OCTETS,
    0x22: _IPV6_OCTETS,
    0x31: _UNIX_OCTETS,
    0x32: _UNIX_OCTETS,
}


class BadProxyHeader(ValueError):
    """No PROXY header, or a malformed one; permanent: close the connection."""


class Endpoint(NamedTuple):
    """An address and its port; an IPv4-mapped IPv6 address is given as IPv4, so that access rules see one form."""

    ip: str
    port: int


class ProxyHeader:
    """Feed it until it says True; then `source` and `destination` count, and `rest` is the session's first input.

    Both are None for UNKNOWN, LOCAL and transports that have no such address: then the connection's own hold.
    """

    __slots__ = ("_buffer", "destination", "rest", "source")

    def __init__(self) -> None:
        self._buffer = b""
        self.source: Endpoint | None = None
        self.destination: Endpoint | None = None
        self.rest = b""

    def feed(self, chunk: bytes | bytearray | memoryview) -> bool:
        """Takes the next octets (copied); True once the header is whole.

        Raises:
            BadProxyHeader: it is none, or longer than the bounds.
        """
        buffer = self._buffer = self._buffer + bytes(chunk)
        if buffer.startswith(_V2_SIGNATURE):
            return self._feed_v2(buffer)
        if _V2_SIGNATURE.startswith(buffer):
            return False
        return self._feed_v1(buffer)

    def _feed_v1(self, buffer: bytes) -> bool:
        end = buffer.find(b"\r\n", 0, MAX_V1_OCTETS)
        if end < 0:
            if len(buffer) >= MAX_V1_OCTETS or not (b"PROXY ".startswith(buffer[:6])):
                raise BadProxyHeader("no PROXY header")
            return False
        line = buffer[:end]
        match = _V1.fullmatch(line)
        if match is not None:
            family, source, destination, source_port, destination_port = match.groups()
            version = 4 if family == b"TCP4" else 6
            self.source = _endpoint_v1(version, source, source_port)
            self.destination = _endpoint_v1(version, destination, destination_port)
        elif not _V1_UNKNOWN.fullmatch(line):
            raise BadProxyHeader("malformed version 1 header")
        self.rest = buffer[end + 2 :]
        return True

    def _feed_v2(self, buffer: bytes) -> bool:
        if len(buffer) < 16:
            return False
        command, family = buffer[12], buffer[13]
        length = int.from_bytes(buffer[14:16], "big")
        if command not in (0x20, 0x21):
            raise BadProxyHeader(f"version and command {command:#04x}")
        if 16 + length > MAX_V2_OCTETS:
            raise BadProxyHeader(f"version 2 header of {16 + length} octets")
        if len(buffer) < 16 + length:
            return False
        if command == 0x21:
            self._take_addresses(family, buffer[16 : 16 + length])
        self.rest = buffer[16 + length :]
        return True

    def _take_addresses(self, family: int, block: bytes) -> None:
        needed = _V2_FAMILIES.get(family)
        if needed is None or len(block) < needed:
            raise BadProxyHeader(f"version 2 family {family:#04x} with {len(block)} octets")
        if family == 0x11:
            self.source = Endpoint(str(ipaddress.IPv4Address(block[0:4])), int.from_bytes(block[8:10], "big"))
            self.destination = Endpoint(str(ipaddress.IPv4Address(block[4:8])), int.from_bytes(block[10:12], "big"))
        elif family == 0x21:
            self.source = Endpoint(_text_of_ipv6(block[0:16]), int.from_bytes(block[32:34], "big"))
            self.destination = Endpoint(_text_of_ipv6(block[16:32]), int.from_bytes(block[34:36], "big"))


def _endpoint_v1(version: int, raw_address: bytes, raw_port: bytes) -> Endpoint:
    text = raw_address.decode("ascii")
    port = int(raw_port)
    if port > 65_535:
        raise BadProxyHeader(f"port {port}")
    try:
        if version == 4:
            return Endpoint(str(ipaddress.IPv4Address(text)), port)
        return Endpoint(_text_of_ipv6(ipaddress.IPv6Address(text).packed), port)
    except ValueError as error:
        raise BadProxyHeader(str(error)) from None


def _text_of_ipv6(packed: bytes) -> str:
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)
