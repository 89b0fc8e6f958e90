"""The envelope of one transaction: who sends, to whom, with which extensions (RFC 5321 §2.3.1, RFC 3461)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Recipient:
    """One RCPT with its DSN parameters."""

    address: Address
    notify: Notify = Notify.UNSET
    orcpt: str = ""
    """`addr-type;address`, xtext decoded (RFC 3461 §4.2); empty if not given."""


@dataclass(slots=True)
class Envelope:
    """What MAIL and RCPT said. Owned and filled by the transaction; read-only for everybody else."""

    sender: Address = NULL_SENDER
    recipients: list[Recipient] = field(default_factory=list)
    body: Body = Body.SEVEN_BIT
    declared_size_bytes: int = 0
    """SIZE= of MAIL (RFC 1870); 0 if not given."""
    smtputf8: bool = False
    requiretls: bool = False
    ret: str = ""
    """`FULL`, `HDRS` or empty (RFC 3461 §4.3)."""
    envid: str = ""
    """xtext decoded (RFC 3461 §4.4)."""


@dataclass(slots=True)
class Client:
    """Who speaks to us: filled by the front door, kept with the transaction and its log events."""

    ip: str
    port: int = 0
    helo: str = ""
    esmtp: bool = False
    rdns: str = ""
    tls: str = ""
    """TLS version and cipher such as `TLSv1.3/TLS_AES_256_GCM_SHA384`; empty in clear."""
    certificate: str = ""
    """SHA-256 fingerprint of the verified client certificate, hex; empty without."""
    login: str = ""
    listener: str = ""
    """Name of the listener it came in by."""
    kind: str = ""
    """`MTA` or `MUA`: how the session is classified, for the log and policy."""
