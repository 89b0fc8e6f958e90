"""What our contexts accept and refuse, in handshakes in memory."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.config.schema import HopServer, HopTls, NextHop, Tls
from appliance.core.errors import ConfigError, TlsPolicyFailed
from appliance.tls.certificates import read_certificate
from appliance.tls.contexts import (
    ClientContexts,
    TlsPolicy,
    check_peer,
    describe,
    handshake_failed,
    peer_fingerprint,
    server_context,
)
from appliance.tls.fingerprint import fingerprint, parse_fingerprint

NAME = "mx.example.test"
Make = Callable[..., str]
Shake = Callable[[ssl.SSLContext, ssl.SSLContext, str], Any]


def print_of(path: str) -> str:
    return fingerprint(read_certificate(path))


def server(path: str, **config: Any) -> ssl.SSLContext:
    return server_context(Tls(**config), path, path)


def connected(shake: Shake, path: str, policy: TlsPolicy) -> Any:
    """The client's end, shaken hands with the server of `path` as `policy` says, and checked."""
    session = shake(server(path), ClientContexts().get(policy), policy.name)
    check_peer(session.client, policy)
    return session


@pytest.mark.parametrize("level", [HopTls.MAY, HopTls.ENCRYPT])
def test_without_verification_any_certificate_will_do(make: Make, shake: Shake, level: HopTls) -> None:
    session = connected(shake, make("somebody.example"), TlsPolicy(level, NAME))
    assert describe(session.client).startswith("TLSv1.3/TLS_")


def test_in_clear_only_a_policy_that_does_not_require_tls_is_content() -> None:
    for level in (HopTls.NONE, HopTls.MAY):
        check_peer(None, TlsPolicy(level, NAME))
    for level in (HopTls.ENCRYPT, HopTls.VERIFY):
        with pytest.raises(TlsPolicyFailed, match="clear"):
            check_peer(None, TlsPolicy(level, NAME))


def test_a_handshake_that_did_not_happen_is_in_clear() -> None:
    pending = ClientContexts().get(TlsPolicy(HopTls.MAY, NAME)).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    with pytest.raises(TlsPolicyFailed, match="clear"):
        check_peer(pending, TlsPolicy(HopTls.ENCRYPT, NAME))


def test_a_certificate_of_our_authority_for_the_right_name_is_verified(make: Make, shake: Shake) -> None:
    authority = make("Authority", ca=True)
    connected(shake, make(NAME, issuer=authority), TlsPolicy(HopTls.VERIFY, NAME, ca=authority))


@pytest.mark.parametrize("name", ["other.example.test", "example.test", "mx.example.test.evil.example"])
def test_a_certificate_for_another_name_ends_the_handshake(make: Make, shake: Shake, name: str) -> None:
    authority = make("Authority", ca=True)
    policy = TlsPolicy(HopTls.VERIFY, NAME, ca=authority)
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        connected(shake, make(name, issuer=authority), policy)
    told = str(handshake_failed(caught.value, policy))
    assert told.startswith(f"{NAME}: certificate not verified: Hostname mismatch")


@pytest.mark.parametrize("ca", ["another", "system's"])
def test_a_certificate_of_an_unknown_authority_ends_the_handshake(make: Make, shake: Shake, ca: str) -> None:
    path = make("Another", ca=True) if ca == "another" else ""
    with pytest.raises(ssl.SSLCertVerificationError):
        connected(shake, make(NAME), TlsPolicy(HopTls.VERIFY, NAME, ca=path))


def test_an_expired_certificate_ends_the_handshake(make: Make, shake: Shake) -> None:
    authority = make("Authority", ca=True)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connected(shake, make(NAME, issuer=authority, days=-1), TlsPolicy(HopTls.VERIFY, NAME, ca=authority))


def test_the_hops_own_certificate_may_be_its_authority(make: Make, shake: Shake) -> None:
    authority = make("Authority", ca=True)
    leaf = make(NAME, issuer=authority)
    connected(shake, leaf, TlsPolicy(HopTls.VERIFY, NAME, ca=leaf))


def test_a_fingerprint_takes_the_place_of_authority_name_and_date(make: Make, shake: Shake) -> None:
    path = make("other.example", days=-1)
    connected(shake, path, TlsPolicy(HopTls.VERIFY, NAME, frozenset({"0" * 64, print_of(path)})))
    with pytest.raises(TlsPolicyFailed, match=print_of(path)):
        connected(shake, path, TlsPolicy(HopTls.VERIFY, NAME, frozenset({"0" * 64})))


def test_a_session_of_a_lesser_context_or_for_another_name_does_not_pass_as_verified(make: Make, shake: Shake) -> None:
    authority = make("Authority", ca=True)
    path = make(NAME, issuer=authority)
    verify = TlsPolicy(HopTls.VERIFY, NAME, ca=authority)
    lesser = shake(server(path), ClientContexts().get(TlsPolicy(HopTls.MAY, NAME)), NAME)
    with pytest.raises(TlsPolicyFailed, match="without verification"):
        check_peer(lesser.client, verify)
    session = connected(shake, path, verify)
    with pytest.raises(TlsPolicyFailed, match="verified as"):
        check_peer(session.client, TlsPolicy(HopTls.VERIFY, "other.example.test", ca=authority))


def test_requiretls_asks_for_verification_whatever_the_hop_says() -> None:
    for level in HopTls:
        policy = TlsPolicy(level, NAME).with_requiretls()
        assert policy.level is HopTls.VERIFY and policy.required
        assert ClientContexts().get(policy).verify_mode is ssl.CERT_REQUIRED


def test_contexts_are_made_once_for_all_hops_of_a_kind() -> None:
    contexts = ClientContexts()
    may = contexts.get(TlsPolicy(HopTls.MAY, NAME))
    assert may is contexts.get(TlsPolicy(HopTls.ENCRYPT, "other.example"))
    assert may is contexts.get(TlsPolicy(HopTls.VERIFY, NAME, frozenset({"0" * 64})))
    assert may is not contexts.get(TlsPolicy(HopTls.VERIFY, NAME))


@pytest.mark.parametrize(("minimum", "accepted"), [("TLSv1.2", True), ("TLSv1.3", False)])
def test_versions_under_the_minimum_are_refused(make: Make, shake: Shake, minimum: str, accepted: bool) -> None:
    client = ClientContexts().get(TlsPolicy(HopTls.MAY, NAME))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    if accepted:
        assert shake(server(make(NAME), minimum=minimum), client, NAME).server.version() == "TLSv1.2"
    else:
        with pytest.raises(ssl.SSLError):
            shake(server(make(NAME), minimum=minimum), client, NAME)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused_by_both_ends(make: Make, shake: Shake) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake(server(make(NAME)), old, NAME)
    old_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old_server.set_ciphers("ALL:@SECLEVEL=0")
    old_server.minimum_version = old_server.maximum_version = ssl.TLSVersion.TLSv1_1
    old_server.load_cert_chain(make(NAME))
    with pytest.raises(ssl.SSLError):
        shake(old_server, ClientContexts().get(TlsPolicy(HopTls.MAY, NAME)), NAME)


def test_renegotiation_compression_and_anonymous_ciphers_are_off(make: Make) -> None:
    for context in (server(make(NAME)), ClientContexts().get(TlsPolicy(HopTls.MAY, NAME))):
        assert context.options & ssl.OP_NO_RENEGOTIATION and context.options & ssl.OP_NO_COMPRESSION
        names = [cipher["name"] for cipher in context.get_ciphers()]
        assert not [name for name in names if any(bad in name for bad in ("NULL", "RC4", "ADH", "AECDH", "EXP", "DES"))]


def test_the_server_offers_one_ticket_and_no_application_protocol(make: Make, shake: Shake) -> None:
    context = server(make(NAME))
    assert context.num_tickets == 1
    client = ClientContexts().get(TlsPolicy(HopTls.MAY, NAME))
    client.set_alpn_protocols(["smtp"])
    session = shake(context, client, NAME)
    assert session.client.session.has_ticket and session.client.selected_alpn_protocol() is None


def test_a_client_certificate_is_optional_and_told_when_verified(make: Make, shake: Shake) -> None:
    authority = make("Authority", ca=True)
    mine = make("client.example", issuer=authority)
    context = server(make(NAME), client_ca=authority)
    client = ClientContexts().get(TlsPolicy(HopTls.MAY, NAME))
    assert peer_fingerprint(shake(context, client, NAME).server) == ""
    client.load_cert_chain(mine)
    assert peer_fingerprint(shake(context, client, NAME).server) == print_of(mine)


def test_a_client_certificate_of_another_authority_ends_the_handshake(make: Make, shake: Shake) -> None:
    context = server(make(NAME), client_ca=make("Authority", ca=True))
    client = ClientContexts().get(TlsPolicy(HopTls.MAY, NAME))
    client.load_cert_chain(make("client.example"))
    with pytest.raises(ssl.SSLError):
        shake(context, client, NAME)


def test_nobody_is_asked_for_a_certificate_without_client_ca(make: Make, shake: Shake) -> None:
    client = ClientContexts().get(TlsPolicy(HopTls.MAY, NAME))
    client.load_cert_chain(make("client.example"))
    assert peer_fingerprint(shake(server(make(NAME)), client, NAME).server) == ""


def test_a_hops_configuration_becomes_its_policy() -> None:
    servers = [HopServer(url=f"smtp://{NAME}:25")]
    shown = ":".join(["AB"] * 32)
    hop = NextHop(name="inside", servers=servers, tls=HopTls.VERIFY, tls_name="x.example", tls_fingerprints=[shown])
    policy = TlsPolicy.of(hop, NAME)
    assert policy == TlsPolicy(HopTls.VERIFY, "x.example", frozenset({"ab" * 32}))
    assert TlsPolicy.of(NextHop(name="inside", servers=servers), NAME) == TlsPolicy(HopTls.MAY, NAME)
    with pytest.raises(ConfigError, match='need tls = "verify"'):
        TlsPolicy.of(NextHop(name="inside", servers=servers, tls=HopTls.ENCRYPT, tls_fingerprints=[shown]), NAME)


@pytest.mark.parametrize("text", ["sha256 Fingerprint=" + ":".join(["0A"] * 32), "0a" * 32, " ".join(["0a"] * 32)])
def test_fingerprints_are_taken_as_people_paste_them(text: str) -> None:
    assert parse_fingerprint(text) == "0a" * 32


@pytest.mark.parametrize("text", ["", "0a" * 31, "0a" * 20, "0g" * 32, "0a" * 33])
def test_what_is_no_sha256_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="fingerprint"):
        parse_fingerprint(text)


def test_files_that_cannot_be_used_are_named_with_the_reason(make: Make, tmp_path: Path) -> None:
    path, other = make(NAME), make(NAME)
    junk = tmp_path / "junk"
    junk.write_text("nothing")
    with pytest.raises(ConfigError, match="do not match"):
        server_context(Tls(), path, other)
    with pytest.raises(ConfigError, match="No such file"):
        server_context(Tls(), path, "/nowhere")
    with pytest.raises(ConfigError, match=r"client_ca.*no certificate"):
        server(path, client_ca=str(junk))
    with pytest.raises(ConfigError, match=r"tls_ca.*No such file"):
        ClientContexts().get(TlsPolicy(HopTls.VERIFY, NAME, ca="/nowhere"))
    with pytest.raises(ConfigError, match="minimum"):
        server(path, minimum="SSLv3")
