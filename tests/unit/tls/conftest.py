"""Certificates made for the tests, and handshakes in memory."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a PEM file with key and certificate for a name; signed by the one in `issuer`, or by itself."""

    def made(name: str, issuer: str = "", ca: bool = False, days: int = 90) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        signer, signer_name = key, subject
        if issuer:
            pem = Path(issuer).read_bytes()
            loaded = serialization.load_pem_private_key(pem, None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            signer, signer_name = loaded, x509.load_pem_x509_certificate(pem).subject
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1000))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )
        path = tmp_path / f"{name}-{certificate.serial_number:x}.pem"
        form = serialization.Encoding.PEM
        path.write_bytes(
            key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(form)
        )
        path.chmod(0o600)
        return str(path)

    return made


class Session:
    """A client and a server that shake hands in memory; errors of either side come out."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        self.client = client.wrap_bio(to_client, to_server, server_hostname=name)
        waiting = [self.client, self.server]
        for _ in range(10):
            for side in list(waiting):
                try:
                    side.do_handshake()
                    waiting.remove(side)
                except ssl.SSLWantReadError:
                    pass
        assert not waiting
        for side, other in ((self.server, self.client), (self.client, self.server)):
            side.write(b"x")  # what TLS 1.3 tells only after the handshake, such as a refused certificate
            assert other.read(1) == b"x"


@pytest.fixture
def shake() -> type[Session]:
    return Session
