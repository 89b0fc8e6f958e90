"""Certificates for servers in tests: self-made, for any name, in a file or as a context. Used by the TLS tests."""

from __future__ import annotations

import atexit
import datetime
import hashlib
import shutil
import ssl
import tempfile
import time
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.tls.certificates import read_certificate, self_signed


@cache
def certificate_file(name: str) -> str:
    """A PEM file with key and certificate for `name`; it is its own authority."""
    folder = tempfile.mkdtemp(prefix="mw-certificate-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return self_signed(folder, name, time.time())


def server_context(name: str) -> ssl.SSLContext:
    """A server's context that shows `certificate_file(name)`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file(name))
    return context


@cache
def client_certificate_file(name: str) -> str:
    """A PEM file with key and certificate fit for a client; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .sign(key, hashes.SHA256())
    )
    folder = tempfile.mkdtemp(prefix="mw-certificate-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    form, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = Path(folder, "client.pem")
    path.write_bytes(key.private_bytes(form, pkcs8, serialization.NoEncryption()) + certificate.public_bytes(form))
    return str(path)


def fingerprint_of(path: str) -> str:
    """SHA-256 of the certificate in a PEM file, hexadecimal."""
    return hashlib.sha256(read_certificate(path)).hexdigest()


def public_part(name: str) -> str:
    """A PEM file with the certificate alone, to be trusted."""
    pem = Path(certificate_file(name)).read_text()
    path = Path(certificate_file(name)).with_name("authority.pem")
    path.write_text(pem[pem.index("-----BEGIN CERTIFICATE-----") :])
    return str(path)
