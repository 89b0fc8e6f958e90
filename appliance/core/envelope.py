"""The envelope of one transaction: who sends, to whom, with which extensions (RFC 5321 §2.3.1, RFC 3461)."""

from __future__ import annotations

import enum
from typing import Final

from appliance.core.address import NULL_SENDER, Address


class Body(enum.Enum):
    """BODY= of MAIL (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"
    BINARY = "BINARYMIME"


class Notify(enum.Flag):
    """NOTIFY= of RCPT (RFC 3461 §4.1). No flag at all: the client did not say."""

    UNSET = 0
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


_UNSET: Final = Notify.UNSET
_SEVEN_BIT: Final = Body.SEVEN_BIT


class Recipient:
    """One RCPT with its DSN parameters."""

    __slots__ = ("address", "notify", "orcpt")

    def __init__(self, address: Address, notify: Notify = _UNSET, orcpt: str = "") -> None:
        self.address = address
        self.notify = notify
        self.orcpt = orcpt
        """`addr-type;address`, xtext decoded (RFC 3461 §4.2); empty if not given."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipient) and (self.address, self.notify, self.orcpt) == (
            other.address, other.notify, other.orcpt,
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"Recipient({self.address!r}, {self.notify!r}, {self.orcpt!r})"


class Envelope:
    """What MAIL and RCPT said. Owned and filled by the transaction; read-only for everybody else."""

    __slots__ = (
        "body", "declared_size_bytes", "envid", "recipients", "requiretls", "ret", "sender", "smtputf8",
    )  # fmt: skip

    def __init__(
        self,
        sender: Address = NULL_SENDER,
        recipients: list[Recipient] | None = None,
        body: Body = _SEVEN_BIT,
        declared_size_bytes: int = 0,
        smtputf8: bool = False,
        requiretls: bool = False,
        ret: str = "",
        envid: str = "",
    ) -> None:
        self.sender = sender
        self.recipients = recipients if recipients is not None else []
        self.body = body
        self.declared_size_bytes = declared_size_bytes
        """SIZE= of MAIL (RFC 1870); 0 if not given."""
        self.smtputf8 = smtputf8
        self.requiretls = requiretls
        self.ret = ret
        """`FULL`, `HDRS` or empty (RFC 3461 §4.3)."""
        self.envid = envid
        """xtext decoded (RFC 3461 §4.4)."""

    def _values(self) -> tuple[object, ...]:
        return (
            self.sender, self.recipients, self.body, self.declared_size_bytes, self.smtputf8, self.requiretls,
            self.ret, self.envid,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Envelope) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Envelope{self._values()!r}"


class Client:
    """Who speaks to us: filled by the front door, kept with the transaction and its log events."""

    __slots__ = ("certificate", "esmtp", "helo", "ip", "kind", "listener", "login", "port", "rdns", "tls")

    def __init__(
        self,
        ip: str,
        port: int = 0,
        helo: str = "",
        esmtp: bool = False,
        rdns: str = "",
        tls: str = "",
        certificate: str = "",
        login: str = "",
        listener: str = "",
        kind: str = "",
    ) -> None:
        self.ip = ip
        self.port = port
        self.helo = helo
        self.esmtp = esmtp
        self.rdns = rdns
        self.tls = tls
        """TLS version and cipher such as `TLSv1.3/TLS_AES_256_GCM_SHA384`; empty in clear."""
        self.certificate = certificate
        """SHA-256 fingerprint of the verified client certificate, hex; empty without."""
        self.login = login
        self.listener = listener
        """Name of the listener it came in by."""
        self.kind = kind
        """`MTA` or `MUA`: how the session is classified, for the log and policy."""

    def copy(self) -> Client:
        """Another one with the same values."""
        return Client(*self._values())

    def _values(self) -> tuple[str, int, str, bool, str, str, str, str, str, str]:
        return (
            self.ip, self.port, self.helo, self.esmtp, self.rdns, self.tls, self.certificate, self.login,
            self.listener, self.kind,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Client) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Client{self._values()!r}"
