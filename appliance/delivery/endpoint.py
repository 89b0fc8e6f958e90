"""Where a server of a next hop is, and how it is to be spoken to: values made from the configuration."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"smtp": 25, "smtps": 465, "lmtp": 24}


class Endpoint(NamedTuple):
    """One server: a host and port, or the path of a Unix socket (LMTP only)."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def lmtp(self) -> bool:
        return self.scheme == "lmtp"

    @property
    def implicit_tls(self) -> bool:
        return self.scheme == "smtps"

    def __str__(self) -> str:
        if self.path:
            return f"{self.scheme}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_endpoint(url: str) -> Endpoint:
    """The endpoint that `url` names: `smtp://host[:port]`, `smtps://...`, `lmtp://host[:port]` or `lmtp:///path`.

    Raises:
        ValueError: another scheme, no host, or a port out of range; the text says which.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"{url!r}: the scheme must be smtp, smtps or lmtp")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r}: only host, port or socket path belong here")
    if not parts.hostname:
        if parts.scheme == "lmtp" and re.fullmatch(r"/.+", parts.path):
            return Endpoint("lmtp", "", 0, parts.path)
        raise ValueError(f"{url!r}: no host")
    if parts.path not in ("", "/"):
        raise ValueError(f"{url!r}: a path is for Unix sockets, written as lmtp:///path")
    if parts.port == 0:
        raise ValueError(f"{url!r}: port 0 is none")
    return Endpoint(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])
