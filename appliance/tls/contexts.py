"""SSL contexts, server and client, and what a next hop must show before it gets mail.

Knows OpenSSL's switches; knows no socket and no file but the PEM files it is told. A context is made once and serves
thousands of sessions. `certificates` makes the server's, `delivery` asks `ClientContexts` for the hops'.
"""

from __future__ import annotations

import dataclasses
import ssl
from dataclasses import dataclass

from appliance.config.schema import HopTls, NextHop, Tls
from appliance.core.errors import ConfigError, TlsPolicyFailed
from appliance.tls.fingerprint import fingerprint, parse_fingerprint

_MINIMUM = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_TICKETS = 1  # OpenSSL sends two; one is enough for a client that comes back, and half the work
_PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN: a listed certificate is trusted without its issuer

PeerObject = ssl.SSLObject | ssl.SSLSocket


def server_context(config: Tls, certificate: str, key: str) -> ssl.SSLContext:
    """The context that sessions are accepted with.

    With `client_ca`, a client is asked for a certificate and may go without. OpenSSL ends the handshake of a client
    that shows one which these authorities did not sign: list an authority only where clients are known to have theirs.

    Raises:
        ConfigError: a file is missing, unreadable or no PEM, key and certificate do not match, unknown `minimum`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, config.minimum)
    # The preference is ours, for a client may list a weaker cipher first; renegotiation is a lever for attackers.
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    context.num_tickets = _TICKETS
    load_pair(context, certificate, key)
    if config.client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= _PARTIAL_CHAIN
        _load_ca(context, config.client_ca, "[tls] client_ca")
    return context


def load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Puts certificate and key (PEM files) into `context`; sessions that are open keep what they have.

    Raises:
        ConfigError: as `server_context`.
    """
    try:
        # The password callback keeps OpenSSL from asking on the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        reason = "key and certificate do not match" if error.reason == "KEY_VALUES_MISMATCH" else _reason(error)
        raise ConfigError(f"[tls] certificate {certificate}, key {key}: {reason}") from error
    except OSError as error:
        raise ConfigError(f"[tls] certificate {certificate}, key {key}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What one server of a next hop must show. Hashable; compare by value."""

    level: HopTls
    name: str
    """The name we ask for by SNI (RFC 6066 §3), and verify with `verify`; a host name or an address."""
    fingerprints: frozenset[str] = frozenset()
    """With `verify`: any of these certificates will do, and nothing else counts."""
    ca: str = ""
    """PEM file of authorities instead of the system's."""

    @classmethod
    def of(cls, hop: NextHop, host: str) -> TlsPolicy:
        """The policy of `hop` for its server `host`.

        Raises:
            ConfigError: a fingerprint is none, or what is to be verified is not verified at this level.
        """
        if hop.tls is not HopTls.VERIFY and (hop.tls_fingerprints or hop.tls_name or hop.tls_ca):
            raise ConfigError(f'next hop "{hop.name}": tls_name, tls_fingerprints and tls_ca need tls = "verify"')
        prints = frozenset(map(parse_fingerprint, hop.tls_fingerprints))
        return cls(hop.tls, hop.tls_name or host, prints, hop.tls_ca)

    @property
    def wanted(self) -> bool:
        """Whether STARTTLS is asked for at all."""
        return self.level is not HopTls.NONE

    @property
    def required(self) -> bool:
        """Whether mail must not go in clear."""
        return self.level in (HopTls.ENCRYPT, HopTls.VERIFY)

    def with_requiretls(self) -> TlsPolicy:
        """The policy for a message under REQUIRETLS: the server must be verified, RFC 8689 §4.2.1."""
        return self if self.level is HopTls.VERIFY else dataclasses.replace(self, level=HopTls.VERIFY)


class ClientContexts:
    """The contexts for next hops, made when first asked for: three kinds serve any number of hops.

    Lives as long as the configuration: a new one, after a reload, reads the files of authorities anew.
    """

    def __init__(self) -> None:
        self._contexts: dict[tuple[bool, str], ssl.SSLContext] = {}

    def get(self, policy: TlsPolicy) -> ssl.SSLContext:
        """The context to shake hands with; pass `policy.name` as `server_hostname`, then call `check_peer`.

        With `may` and `encrypt` nobody is verified (RFC 7435 §3): encryption without authentication keeps listeners
        out, and an attacker who is in the way could take STARTTLS away just as well.

        Raises:
            ConfigError: the file of authorities cannot be read.
        """
        by_name = policy.level is HopTls.VERIFY and not policy.fingerprints
        key = (by_name, policy.ca if by_name else "")
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = _client_context(*key)
        return context


def _client_context(by_name: bool, ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, "TLSv1.2")  # older ones are no protection to speak of: RFC 8996
    if not by_name:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca:
        context.verify_flags |= _PARTIAL_CHAIN  # the hop's own self-signed certificate may be the authority
        _load_ca(context, ca, "[[next_hop]] tls_ca")
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def check_peer(ssl_object: PeerObject | None, policy: TlsPolicy) -> None:
    """Whether the session that came about is what `policy` asks for; to be called after each handshake, or without one.

    Args:
        ssl_object: `transport.get_extra_info("ssl_object")`; None in clear.

    Raises:
        TlsPolicyFailed: it is less; nothing may be sent over it.
    """
    if ssl_object is None or ssl_object.version() is None:
        if policy.required:
            raise TlsPolicyFailed(f"{policy.name}: TLS is required, and the session is in clear")
        return
    if policy.level is not HopTls.VERIFY:
        return
    if policy.fingerprints:
        shown = fingerprint(ssl_object.getpeercert(binary_form=True) or b"")
        if shown not in policy.fingerprints:
            raise TlsPolicyFailed(f"{policy.name}: its certificate has the fingerprint {shown}, none of those allowed")
        return
    # OpenSSL has verified chain and name if it was told to. That it was is checked, lest a wrong context pass for it.
    context = ssl_object.context
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname or not ssl_object.getpeercert():
        raise TlsPolicyFailed(f"{policy.name}: the session was made without verification")
    if ssl_object.server_hostname != policy.name:
        raise TlsPolicyFailed(f"{policy.name}: verified as {ssl_object.server_hostname}")


def handshake_failed(error: Exception, policy: TlsPolicy) -> TlsPolicyFailed:
    """The error of a handshake in words for the log: a name that does not match, an authority unknown, no TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsPolicyFailed(f"{policy.name}: certificate not verified: {error.verify_message}")
    reason = _reason(error) if isinstance(error, ssl.SSLError) else str(error) or type(error).__name__
    return TlsPolicyFailed(f"{policy.name}: TLS handshake failed: {reason}")


def describe(ssl_object: PeerObject) -> str:
    """Version and cipher for `Received` and the log: `TLSv1.3/TLS_AES_256_GCM_SHA384`."""
    cipher = ssl_object.cipher()
    return f"{ssl_object.version()}/{cipher[0] if cipher else 'unknown'}"


def peer_fingerprint(ssl_object: PeerObject) -> str:
    """Fingerprint of the client's certificate if it was verified; empty without one."""
    raw_certificate = ssl_object.getpeercert(binary_form=True)
    if not raw_certificate or ssl_object.context.verify_mode is ssl.CERT_NONE:
        return ""
    return fingerprint(raw_certificate)


def _harden(context: ssl.SSLContext, minimum: str) -> None:
    if minimum not in _MINIMUM:
        raise ConfigError(f'[tls] minimum = "{minimum}": use "TLSv1.2" or "TLSv1.3"')
    context.minimum_version = _MINIMUM[minimum]
    # Renegotiation costs the server more than the client, and compression tells secrets by its length.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _load_ca(context: ssl.SSLContext, ca: str, setting: str) -> None:
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ConfigError(f'{setting} = "{ca}": no certificate in PEM: {_reason(error)}') from error
    except OSError as error:
        raise ConfigError(f'{setting} = "{ca}": {error.strerror}') from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
