"""The certificate that we show: found, or made when the configuration says so, and noticed when it changes.

Reads PEM files and the two dates inside; knows no listener. The daemon opens it, asks `refresh` from time to time and
at SIGHUP. The library that makes certificates takes 10 MiB, so it is imported only to make one.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
import ssl
import stat
import time
from collections.abc import Iterator

from appliance.config.schema import Tls
from appliance.core.errors import ConfigError
from appliance.tls.contexts import load_pair, server_context
from appliance.tls.fingerprint import fingerprint

SELF_SIGNED_DAYS = 730
RENEW_BEFORE_S = 30 * 86400.0
_SELF_SIGNED = "self-signed.pem"
_MAX_COMMON_NAME = 64  # ub-common-name: RFC 5280 appendix A.1

Stamp = tuple[tuple[int, int, int], ...]


class ServerCertificate:
    """The certificate in use. `context` stays the same object over a refresh: listeners need not hear of it."""

    def __init__(self, config: Tls, state_dir: str, hostname: str) -> None:
        """Use `open`."""
        self._config = config
        self._state_dir = state_dir
        self._hostname = hostname
        certificate, key = self._files()
        self._stamp = _stamp(certificate, key)
        self.context: ssl.SSLContext = server_context(config, certificate, key)
        self.not_after_s = 0.0
        """When it expires, seconds since the epoch; worth a warning some weeks before."""
        self.fingerprint = ""
        """SHA-256, for whoever pins it."""
        self._read(certificate)

    @classmethod
    def open(cls, config: Tls, state_dir: str, hostname: str) -> ServerCertificate | None:
        """The certificate that `config` names, or a self-signed one; None when there is to be none.

        Raises:
            ConfigError: files missing, wrong, not matching, or a key that anybody can read.
        """
        if not config.certificate and not config.self_signed:
            return None
        return cls(config, state_dir, hostname)

    def refresh(self, now_s: float | None = None) -> bool:
        """Takes changed files into the same context; renews a self-signed certificate that is about to expire.

        New sessions get the new certificate, open ones keep theirs. False when nothing has changed.

        Raises:
            ConfigError: the new files cannot be used; the old certificate stays.
        """
        certificate, key = self._files(now_s)
        stamp = _stamp(certificate, key)
        if stamp == self._stamp:
            return False
        # A failed load leaves a context with half a pair: the trial is made on another one.
        server_context(self._config, certificate, key)
        load_pair(self.context, certificate, key)
        self._stamp = stamp
        self._read(certificate)
        return True

    def _files(self, now_s: float | None = None) -> tuple[str, str]:
        config = self._config
        if config.certificate:
            key = config.key or config.certificate
            _check_private(key)
            return config.certificate, key
        path = self_signed(self._state_dir, self._hostname, time.time() if now_s is None else now_s)
        return path, path

    def _read(self, certificate: str) -> None:
        raw_certificate = read_certificate(certificate)
        self.not_after_s = expiry_s(raw_certificate)
        self.fingerprint = fingerprint(raw_certificate)


def load(config: Tls, state_dir: str, hostname: str) -> ssl.SSLContext | None:
    """The context of `ServerCertificate.open`, for callers that do not watch for changes. Raises as it does."""
    certificate = ServerCertificate.open(config, state_dir, hostname)
    return certificate.context if certificate else None


def self_signed(state_dir: str, hostname: str, now_s: float) -> str:
    """The PEM file with key and self-signed certificate for `hostname`; made anew when it is missing or expires soon.

    Key and certificate are one file, replaced in one step: no reader can find a pair that does not match.

    Raises:
        ConfigError: `state_dir` cannot be written.
    """
    path = os.path.join(state_dir, _SELF_SIGNED)
    if _good_until(path) > now_s + RENEW_BEFORE_S:
        return path
    try:
        with _locked(state_dir):
            if _good_until(path) <= now_s + RENEW_BEFORE_S:  # else another process was faster
                _write_private(path, _make(hostname, now_s))
    except OSError as error:
        raise ConfigError(f"{path}: cannot make a certificate: {error.strerror}") from error
    return path


def read_certificate(path: str) -> bytes:
    """The first certificate in a PEM file, in DER: the one that is shown.

    Raises:
        ConfigError: there is none, or the file cannot be read.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            _, found, rest = file.read().partition(begin)
        return ssl.PEM_cert_to_DER_cert(begin + rest.partition(end)[0] + end) if found else _no_certificate(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError:
        return _no_certificate(path)


def expiry_s(raw_certificate: bytes) -> float:
    """`notAfter` of a certificate in DER, seconds since the epoch (RFC 5280 §4.1.2.5).

    Raises:
        ConfigError: no certificate.
    """
    try:
        fields = _elements(next(_elements(next(_elements(raw_certificate))[1]))[1])
        tag, content = next(fields)
        for _ in range(4 if tag == 0xA0 else 3):  # version is optional; serial, signature, issuer come before validity
            tag, content = next(fields)
        *_, (tag, raw_time) = _elements(content)
        text = raw_time.decode("ascii")
        if tag == 0x17:  # UTCTime: two digits of the year, 50 to 49 is 1950 to 2049
            text = ("19" if text >= "50" else "20") + text
        return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
    except (StopIteration, ValueError, IndexError) as error:
        raise ConfigError("not a certificate: no date of expiry") from error


def _elements(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of the DER elements in `raw`; ValueError where one is longer than what there is."""
    at = 0
    while at < len(raw):
        tag, length = raw[at], raw[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(raw[at : at + count], "big")
            at += count
        if at + length > len(raw):
            raise ValueError("truncated")
        yield tag, raw[at : at + length]
        at += length


def _no_certificate(path: str) -> bytes:
    raise ConfigError(f"{path}: no certificate in PEM")


def _good_until(path: str) -> float:
    try:
        return expiry_s(read_certificate(path))
    except ConfigError:  # missing or damaged: to be made anew
        return 0.0


def _check_private(key: str) -> None:
    try:
        mode = os.stat(key).st_mode
    except OSError as error:
        raise ConfigError(f"[tls] key {key}: {error.strerror}") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(f"[tls] key {key}: anybody can read it; chmod o-rwx, and better make a new one")


def _stamp(*paths: str) -> Stamp:
    try:
        return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in map(os.stat, paths))
    except OSError as error:
        raise ConfigError(f"[tls] {error.filename}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """One process at a time; the lock goes with the descriptor, even if the process is killed."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write_private(path: str, content: bytes) -> None:
    """Replaces `path` in one step, mode 0600 from the first octet on, on stable storage when this returns."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):  # left by a process that was killed
        os.unlink(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _make(hostname: str, now_s: float) -> bytes:
    """Key and certificate as PEM: ECDSA on P-256, for the host name or address `hostname`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(hostname.strip("[]")))
    except ValueError:
        alternative = x509.DNSName(hostname if hostname.isascii() else hostname.encode("idna").decode())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hostname[:_MAX_COMMON_NAME])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(form, pkcs8, serialization.NoEncryption()) + certificate.public_bytes(form)
