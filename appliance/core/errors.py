"""Failures that a peer or a user can cause, each with the reply that the peer may see.

The text of the exception is the private reason: it goes to the log, never to the peer.
"""

from __future__ import annotations

from appliance.core import reply
from appliance.core.reply import Reply


class GatewayError(Exception):
    """Base of all: temporary, unless a class says otherwise."""

    reply: Reply = reply.LOCAL_ERROR


class SpoolFull(GatewayError):
    """No room for the body; the sender should come back later."""

    reply = reply.SPOOL_FULL


class SpoolTrouble(GatewayError):
    """The disk answered an error (EIO, EROFS ...); the sender should come back later."""

    reply = reply.SPOOL_TROUBLE


class DnsTrouble(GatewayError):
    """No usable answer in time; temporary."""

    reply = reply.DNS_TROUBLE


class NullMx(GatewayError):
    """The domain takes no mail (RFC 7505 §3); permanent."""

    reply = reply.NULL_MX_RECIPIENT


class NoSuchDomain(GatewayError):
    """NXDOMAIN for the domain, asked and answered; permanent."""

    reply = Reply(550, "5.1.2", "Recipient domain does not exist")


class BadDomain(GatewayError):
    """Not a name that could be looked up, nor an address literal (RFC 5321 §4.1.2, RFC 5891 §4); permanent."""

    reply = Reply(553, "5.1.2", "Recipient domain is malformed")


class AddressLiteralRefused(GatewayError):
    """The domain is an address literal, and the configuration allows none; permanent."""

    reply = Reply(550, "5.1.2", "Address literals are not accepted")


class NoMailHost(GatewayError):
    """The domain exists, but names no host that has an address (RFC 5321 §5.1); permanent."""

    reply = Reply(550, "5.4.4", "Recipient domain has no mail host")


class MxLoop(GatewayError):
    """The best MX of the domain is this host itself (RFC 5321 §5.1); permanent."""

    reply = Reply(554, "5.4.6", "MX points back to this host, mail loop")


class NextHopDown(GatewayError):
    """No server of the next hop can be reached; temporary."""

    reply = reply.NEXT_HOP_DOWN


class TlsPolicyFailed(GatewayError):
    """The peer does not offer the TLS that our policy requires; temporary, never downgraded."""

    reply = reply.TLS_POLICY


class ConfigError(Exception):
    """A configuration that cannot be used. `str()` names file, line and remedy, for a person."""
