"""Who may sign updates: the keyring that goes into an image, and the key that a bundle is signed with.

Real ones are given on the command line. Without, an authority for development is made at the first build, in the cache:
it is nobody's but this machine's, and an image that trusts it is for trying only. Called by `build` and `bundle`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from firmware.builder.board import CACHE
from firmware.builder.run import run

DEVELOPMENT = CACHE / "keys"
_DAYS = "7300"


@dataclass(frozen=True, slots=True)
class Signer:
    """Two PEM files; RAUC takes a `pkcs11:` URI for each as well."""

    certificate: str
    key: str


def keyring(given: Path | None) -> Path:
    """The PEM file of the certificates that an image trusts. Raises SystemExit: it is none."""
    path = given or authority(DEVELOPMENT, "Mailweir development") / "authority.pem"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"--keyring {path}: {error}") from error
    if "PRIVATE KEY" in text:
        raise SystemExit(f"--keyring {path}: this holds a private key, which must not go into an image")
    if "BEGIN CERTIFICATE" not in text:
        raise SystemExit(f"--keyring {path}: there is no certificate in it")
    return path


def signer(certificate: str | None, key: str | None) -> Signer:
    """What a bundle is signed with. Raises SystemExit: one of the two alone."""
    if (certificate is None) != (key is None):
        raise SystemExit("--sign-cert and --sign-key go together")
    if certificate is not None and key is not None:
        return Signer(certificate, key)
    folder = authority(DEVELOPMENT, "Mailweir development")
    return Signer(str(folder / "signer.pem"), str(folder / "signer.key"))


def authority(folder: Path, name: str) -> Path:
    """A folder with `authority.pem`, and `signer.pem` and `signer.key` by it; made if it is not there."""
    if folder.exists():
        return folder
    beside = folder.with_suffix(".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True, mode=0o700)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run(
        *("openssl", "req", "-x509", *new_key, "-days", _DAYS, "-subj", f"/CN={name} authority"),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", beside / "authority.key", "-out", beside / "authority.pem"),
    )
    run(
        *("openssl", "req", *new_key, "-subj", f"/CN={name} updates"),
        *("-keyout", beside / "signer.key", "-out", beside / "signer.csr"),
    )
    (beside / "signer.ext").write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n")
    run(
        *("openssl", "x509", "-req", "-in", beside / "signer.csr", "-days", _DAYS, "-CAcreateserial"),
        *("-CA", beside / "authority.pem", "-CAkey", beside / "authority.key"),
        *("-extfile", beside / "signer.ext", "-out", beside / "signer.pem"),
    )
    os.chmod(beside / "signer.key", 0o600)
    beside.replace(folder)
    return folder
