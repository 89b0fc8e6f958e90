"""The certificate that we show: made, kept private, renewed, and taken anew when its files change."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import HopTls, Tls
from appliance.core.errors import ConfigError
from appliance.tls import certificates
from appliance.tls.certificates import ServerCertificate, expiry_s, load, read_certificate, self_signed
from appliance.tls.contexts import ClientContexts, TlsPolicy
from appliance.tls.fingerprint import fingerprint

NAME = "gate.example.test"
NOW_S = time.time()
DAY_S = 86400.0
Make = Callable[..., str]
Shake = Callable[[ssl.SSLContext, ssl.SSLContext, str], Any]


def shown(shake: Shake, context: ssl.SSLContext) -> str:
    session = shake(context, ClientContexts().get(TlsPolicy(HopTls.MAY, NAME)), NAME)
    return fingerprint(session.client.getpeercert(binary_form=True))


def parsed(path: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(read_certificate(path))


def test_a_self_signed_certificate_is_for_the_host_on_p256_and_private(tmp_path: Path) -> None:
    path = self_signed(str(tmp_path), NAME, NOW_S)
    certificate = parsed(path)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == [os.path.basename(path)]


def test_a_self_signed_certificate_verifies_for_who_trusts_it(tmp_path: Path, shake: Shake) -> None:
    certificate = ServerCertificate.open(Tls(self_signed=True), str(tmp_path), NAME)
    assert certificate is not None
    policy = TlsPolicy(HopTls.VERIFY, NAME, ca=str(tmp_path / "self-signed.pem"))
    shake(certificate.context, ClientContexts().get(policy), NAME)
    assert certificate.fingerprint == shown(shake, certificate.context)


@pytest.mark.parametrize(
    "hostname", ["192.0.2.1", "[2001:db8::1]", "bücher.example", "a" * 60 + "." + "b" * 60 + ".example"]
)
def test_addresses_u_labels_and_long_names_get_certificates_too(tmp_path: Path, hostname: str) -> None:
    assert parsed(self_signed(str(tmp_path), hostname, NOW_S)).extensions


def test_the_certificate_is_kept_until_it_is_about_to_expire(tmp_path: Path) -> None:
    path = self_signed(str(tmp_path), NAME, NOW_S)
    first = read_certificate(path)
    self_signed(str(tmp_path), NAME, NOW_S + 690 * DAY_S)
    assert read_certificate(path) == first
    self_signed(str(tmp_path), NAME, NOW_S + 701 * DAY_S)
    assert read_certificate(path) != first


def test_a_damaged_file_and_what_a_killed_process_left_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "self-signed.pem").write_text("-----BEGIN CERTIFICATE-----\n!!!")
    (tmp_path / "self-signed.pem.new").write_text("half")
    assert parsed(self_signed(str(tmp_path), NAME, NOW_S))
    assert os.listdir(tmp_path) == ["self-signed.pem"]


def open_and_tell(state_dir: str, told: Any) -> None:
    certificate = ServerCertificate.open(Tls(self_signed=True), state_dir, NAME)
    told.put(certificate and certificate.fingerprint)


def test_workers_that_start_together_show_the_same_certificate(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    workers = [context.Process(target=open_and_tell, args=(str(tmp_path), told)) for _ in range(4)]
    for worker in workers:
        worker.start()
    prints = {told.get() for _ in workers}
    for worker in workers:
        worker.join()
    assert prints == {fingerprint(read_certificate(str(tmp_path / "self-signed.pem")))}


def test_a_state_directory_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot make a certificate: No such file"):
        load(Tls(self_signed=True), str(tmp_path / "absent"), NAME)


def test_without_a_certificate_there_is_no_tls(tmp_path: Path) -> None:
    assert load(Tls(), str(tmp_path), NAME) is None
    assert os.listdir(tmp_path) == []


def test_changed_files_are_taken_into_the_same_context_and_open_sessions_live_on(make: Make, shake: Shake) -> None:
    path = make(NAME)
    certificate = ServerCertificate.open(Tls(certificate=path), "/nowhere", NAME)
    assert certificate is not None
    context, before = certificate.context, certificate.fingerprint
    assert not certificate.refresh()
    session = shake(context, ClientContexts().get(TlsPolicy(HopTls.MAY, NAME)), NAME)
    shutil.copy(make(NAME, days=10), path)
    assert certificate.refresh() and not certificate.refresh()
    assert certificate.context is context
    assert before != certificate.fingerprint == shown(shake, context)
    assert certificate.not_after_s == pytest.approx(NOW_S + 10 * DAY_S, abs=600)
    session.client.write(b"still here")
    assert session.server.read(100) == b"still here"


def test_a_pair_that_does_not_match_leaves_the_old_one_in_use(make: Make, shake: Shake, tmp_path: Path) -> None:
    pair = make(NAME)
    chain, key = str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")
    shutil.copy(pair, chain)
    shutil.copy(pair, key)
    certificate = ServerCertificate.open(Tls(certificate=chain, key=key), "/nowhere", NAME)
    assert certificate is not None
    before = certificate.fingerprint
    new = make(NAME)
    shutil.copy(new, chain)
    with pytest.raises(ConfigError, match="do not match"):
        certificate.refresh()
    assert shown(shake, certificate.context) == before == certificate.fingerprint
    shutil.copy(new, key)
    assert certificate.refresh() and shown(shake, certificate.context) == certificate.fingerprint != before


def test_a_self_signed_certificate_renews_itself_when_refreshed(tmp_path: Path, shake: Shake) -> None:
    certificate = ServerCertificate.open(Tls(self_signed=True), str(tmp_path), NAME)
    assert certificate is not None
    before = certificate.fingerprint
    assert not certificate.refresh(NOW_S + 600 * DAY_S)
    assert certificate.refresh(NOW_S + 720 * DAY_S)
    assert before != certificate.fingerprint == shown(shake, certificate.context)


def test_a_key_that_anybody_can_read_is_refused(make: Make) -> None:
    path = make(NAME)
    os.chmod(path, 0o644)
    with pytest.raises(ConfigError, match="anybody can read it"):
        load(Tls(certificate=path), "/nowhere", NAME)
    os.chmod(path, 0o640)
    assert load(Tls(certificate=path), "/nowhere", NAME)


def test_missing_files_are_named(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/key\.pem: No such file"):
        load(Tls(certificate=make(NAME), key="/nowhere/key.pem"), "/nowhere", NAME)
    with pytest.raises(ConfigError, match=r"/nowhere/chain\.pem: No such file"):
        load(Tls(certificate="/nowhere/chain.pem", key=make(NAME)), "/nowhere", NAME)


@pytest.mark.parametrize("days", [1, 400, 40_000])  # up to 2049 UTCTime, from 2050 GeneralizedTime
def test_the_date_of_expiry_is_read_in_both_of_its_forms(make: Make, days: int) -> None:
    path = make(NAME, days=days)
    assert expiry_s(read_certificate(path)) == parsed(path).not_valid_after_utc.timestamp()


@given(st.binary(max_size=64))
def test_any_octets_are_a_certificate_or_a_clear_error(raw: bytes) -> None:
    with pytest.raises(ConfigError, match="not a certificate"):
        expiry_s(raw)


@given(st.data())
def test_a_certificate_cut_or_changed_anywhere_is_dated_or_a_clear_error(data: st.DataObject) -> None:
    raw = bytearray(SAMPLE)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ConfigError):
        expiry_s(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


SAMPLE = ssl.PEM_cert_to_DER_cert(
    certificates._make(NAME, NOW_S).decode().partition("KEY-----\n")[2].partition("KEY-----\n")[2]
)


def test_showing_a_certificate_does_not_load_the_library_that_makes_them(tmp_path: Path) -> None:
    self_signed(str(tmp_path), NAME, NOW_S)
    check = (
        "import sys; from appliance.config.schema import Tls; from appliance.tls.certificates import load; "
        f"assert load(Tls(self_signed=True), {str(tmp_path)!r}, {NAME!r}); print('cryptography' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", check]) == b"False\n"
