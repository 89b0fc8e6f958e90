"""What a TLS handshake tells about a client: version and cipher, and the certificate if it showed one.

Called by the sessions of all ports, after STARTTLS and where TLS comes first.
"""

from __future__ import annotations

import hashlib
import ssl

from appliance.core.envelope import Client


def secured(client: Client, ssl_object: ssl.SSLObject) -> Client:
    """`client` under TLS; what it said in clear before is forgotten (RFC 3207 §4.2)."""
    cipher = ssl_object.cipher()
    certificate = ssl_object.getpeercert(binary_form=True)
    changed = client.copy()
    changed.tls = f"{ssl_object.version()}/{cipher[0] if cipher is not None else ''}"
    changed.certificate = hashlib.sha256(certificate).hexdigest() if certificate else ""
    changed.helo = ""
    changed.esmtp = False
    return changed
