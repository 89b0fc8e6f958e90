"""A web server that has an update, for the box under trial, and the box's trust in it. Called by `trial_updates`."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firmware.builder.run import run
from firmware.builder.trial import Shell, TrialFailed


@contextmanager
def download(bundle: Path, host: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Serves `bundle` by https on loopback, which the box calls `host`, an address.

    Yields the URL, and a PEM file with the certificate that vouches for the server.
    """
    key, certificate = folder / "web.key", folder / "web.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"),
        *("-subj", "/CN=Updates", "-addext", f"subjectAltName=IP:{host}"),
        *("-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-keyout", key, "-out", certificate),
    )

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(bundle.parent))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            """Silent: the trial's report is read by people."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://{host}:{server.server_port}/{bundle.name}", certificate
    finally:
        server.shutdown()
        server.server_close()


def trust(shell: Shell, certificate: Path) -> None:
    """The box takes `certificate` for an authority until it starts again. Raises TrialFailed."""
    name = run("openssl", "x509", "-hash", "-noout", "-in", certificate).decode().strip()
    lines = "\\n".join(certificate.read_text().splitlines())
    done = shell.ask(
        f"mkdir -p /run/trust && printf '%b' '{lines}\\n' >/run/trust/{name}.0 && "
        "mount --bind /run/trust /etc/ssl/certs && echo trusted"
    )
    if done != "trusted":
        raise TrialFailed(f"the box cannot be made to trust the web server: {done}")
