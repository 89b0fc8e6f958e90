"""Certificates for servers in tests: self-made, for any name, in a file or as a context. Used by the TLS tests."""

from __future__ import annotations

import atexit
import shutil
import ssl
import tempfile
import time
from functools import cache
from pathlib import Path

from appliance.tls.certificates import self_signed


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


def public_part(name: str) -> str:
    """A PEM file with the certificate alone, to be trusted."""
    pem = Path(certificate_file(name)).read_text()
    path = Path(certificate_file(name)).with_name("authority.pem")
    path.write_text(pem[pem.index("-----BEGIN CERTIFICATE-----") :])
    return str(path)
