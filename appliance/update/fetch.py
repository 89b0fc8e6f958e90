"""Downloads an update by https into `update.incoming`: bounded, and taken up again where the connection broke.

The server must say how long it is. After a break the rest is asked for by Range, bound to the same version of the file
by If-Range; a server that sends another one, or cannot go on, makes it begin again, as often as there are tries. The
signature is what counts in the end; TLS keeps others from seeing and from wasting the disk. Blocks.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from appliance.update.incoming import Incoming, NotTaken, check_url

TRIES = 5
MAX_REDIRECTS = 5
_TIMEOUT_S = 30.0
_PIECE_BYTES = 256 << 10
_SLOWEST_BYTES_PER_S = 4 << 10
_RESTING_S = 2.0
_REDIRECTS = (301, 302, 303, 307, 308)


class _Broken(Exception):
    """Worth another try."""


def fetch(
    url: str,
    path: Path,
    told: Callable[[int], None],
    *,
    context: ssl.SSLContext | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """The complete file in `path`; `told` hears the percentage.

    Raises:
        NotTaken: it is not to be had; nothing is left of it.
        OSError: the disk.
    """
    check_url(url)
    download = _Download(url, path, told, context or ssl.create_default_context())
    trouble = ""
    for attempt in range(TRIES):
        try:
            return download.go_on()
        except _Broken as error:
            trouble = str(error)
            sleep(_RESTING_S * (attempt + 1))
        except BaseException:
            download.drop()
            raise
    download.drop()
    raise NotTaken(f"{url}: {trouble}, {TRIES} times")


class _Download:
    """One file, over as many connections as it takes."""

    def __init__(self, url: str, path: Path, told: Callable[[int], None], context: ssl.SSLContext) -> None:
        self._url = url
        self._path = path
        self._told = told
        self._context = context
        self._incoming: Incoming | None = None
        self._tag = ""

    def go_on(self) -> Path:
        connection, answer = self._asked(self._url)
        try:
            incoming = self._begun(answer)
            began_s, had_bytes = time.monotonic(), incoming.received_bytes
            while incoming.received_bytes < incoming.size_bytes:
                piece = answer.read(min(_PIECE_BYTES, incoming.size_bytes - incoming.received_bytes))
                if not piece:
                    raise _Broken("the connection broke")
                incoming.append(incoming.received_bytes, piece)
                self._told(incoming.percent)
                needed_s = (incoming.received_bytes - had_bytes) / _SLOWEST_BYTES_PER_S
                if time.monotonic() - began_s > _TIMEOUT_S + needed_s:
                    raise _Broken("the server is too slow")
            return incoming.complete()
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise _Broken(f"the connection broke ({error or type(error).__name__})") from error
        finally:
            connection.close()

    def drop(self) -> None:
        if self._incoming is not None:
            self._incoming.drop()

    def _asked(self, url: str) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        """The answer, behind redirects; whatever lies behind them is https, too."""
        headers = {"User-Agent": "mailweir", "Accept-Encoding": "identity"}
        if self._incoming is not None and self._incoming.received_bytes and self._tag:
            headers |= {"Range": f"bytes={self._incoming.received_bytes}-", "If-Range": self._tag}
        for _ in range(MAX_REDIRECTS):
            check_url(url)
            parts = urlsplit(url)
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port or 443, timeout=_TIMEOUT_S, context=self._context
            )
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            try:
                connection.request("GET", target, None, headers)
                answer = connection.getresponse()
            except ssl.SSLCertVerificationError as error:
                raise NotTaken(f"{url}: its certificate is not trusted: {error.verify_message}") from error
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                raise _Broken(f"no connection ({error or type(error).__name__})") from error
            if answer.status not in _REDIRECTS:
                return connection, answer
            connection.close()
            url = urljoin(url, answer.getheader("Location", ""))
        raise NotTaken(f"{self._url}: more than {MAX_REDIRECTS} redirects")

    def _begun(self, answer: http.client.HTTPResponse) -> Incoming:
        """Where the octets of `answer` go: on behind those that are there, or from the beginning."""
        if answer.status >= 500 or answer.status == 429:
            raise _Broken(f"the server said {answer.status}")
        if answer.status == 206 and self._incoming is not None:
            here, size_bytes = self._incoming.received_bytes, self._incoming.size_bytes
            if answer.getheader("Content-Range", "") == f"bytes {here}-{size_bytes - 1}/{size_bytes}":
                return self._incoming
            raise NotTaken(f"{self._url}: the server sent another part than it was asked for")
        if answer.status != 200:
            raise NotTaken(f"{self._url}: the server said {answer.status} {answer.reason}")
        raw_length = answer.getheader("Content-Length", "")
        if not raw_length.isdecimal():
            raise NotTaken(f"{self._url}: the server does not say how long it is")
        tag = answer.getheader("ETag", "")
        self._tag = tag if tag and not tag.startswith("W/") else answer.getheader("Last-Modified", "")
        self._incoming = Incoming.begin(self._path, int(raw_length))
        return self._incoming
