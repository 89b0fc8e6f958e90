"""SHA-256 fingerprints of certificates, the one way in which this house writes them: 64 hex digits, lower case.

Called by `contexts`, by `certificates`, and by the front doors for client certificates.
"""

from __future__ import annotations

import hashlib
import re

from appliance.core.errors import ConfigError

_HEX = re.compile(r"[0-9a-f]{64}")


def fingerprint(raw_certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, as `ssl_object.getpeercert(binary_form=True)` gives it."""
    return hashlib.sha256(raw_certificate).hexdigest()


def parse_fingerprint(text: str) -> str:
    """A fingerprint as people paste it (`AB:CD:...`, `SHA256 Fingerprint=...`, blanks), in our form.

    Raises:
        ConfigError: not 32 octets in hex.
    """
    digits = text.rpartition("=")[2].lower().replace(":", "").replace(" ", "")
    if not _HEX.fullmatch(digits):
        raise ConfigError(f'"{text}" is no SHA-256 fingerprint: 64 hex digits, as `openssl x509 -fingerprint -sha256`')
    return digits
