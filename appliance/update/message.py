"""A real message through the running gateway: in at its port for SMTP, out at a next hop on loopback, which is here.

Blocks; each step has a time. Knows no control sockets: whoever calls (`daemon.health`) has opened the domain.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import formatdate
from types import TracebackType

_STEP_S = 20.0
_LONGEST_LINE = 4096
_LONGEST_MESSAGE = 1 << 20


class NotDelivered(Exception):
    """`str()` says where the message got stuck."""


class Refused(NotDelivered):
    """By a clear answer."""


class LoopbackHop:
    """A mail server on a port of loopback for a few sessions; keeps nothing but whether the awaited text came."""

    def __init__(self, awaited: str) -> None:
        self._awaited = awaited.encode()
        self._came = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> LoopbackHop:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def wait(self, timeout_s: float) -> bool:
        """Whether the text came."""
        return self._came.wait(timeout_s)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._session, args=(connection,), daemon=True).start()

    def _session(self, connection: socket.socket) -> None:
        connection.settimeout(_STEP_S)
        with suppress(OSError), connection, connection.makefile("rwb") as stream:

            def say(reply: bytes) -> None:
                stream.write(reply + b"\r\n")
                stream.flush()

            say(b"220 check.mailweir.invalid ESMTP")
            while line := stream.readline(_LONGEST_LINE):
                verb = line[:4].upper()
                if verb == b"DATA":
                    say(b"354 go on")
                    self._read_message(iter(lambda: stream.readline(_LONGEST_LINE), b""))
                say(b"221 2.0.0 Bye" if verb == b"QUIT" else b"250 2.0.0 Ok")
                if verb == b"QUIT":
                    return

    def _read_message(self, lines: Iterator[bytes]) -> None:
        found, octets = False, 0
        for line in lines:
            octets += len(line)
            if line == b".\r\n" or octets > _LONGEST_MESSAGE:
                break
            found = found or self._awaited in line
        if found:
            self._came.set()


def send(host: str, port: int, recipient: str, text: str, deadline_s: float) -> None:
    """Hands a message with `text` in its subject to the gateway, with TLS where it is offered.

    The client's address is loopback, whatever address the gateway listens on. `deadline_s`: monotonic.

    Raises:
        NotDelivered: it was not taken.
    """
    source = "::1" if ":" in host else "127.0.0.1"
    body = (
        f"From: <postmaster@check.mailweir.invalid>\r\nTo: <{recipient}>\r\nSubject: health of the gateway {text}\r\n"
        f"Date: {formatdate()}\r\nMessage-ID: <{text}@check.mailweir.invalid>\r\n\r\nIt goes in and comes out.\r\n"
    )
    timeout_s = max(1.0, min(_STEP_S, deadline_s - time.monotonic()))
    try:
        with smtplib.SMTP(host, port, "check.mailweir.invalid", timeout_s, (source, 0)) as client:
            client.ehlo_or_helo_if_needed()
            if client.has_extn("starttls"):
                client.starttls(context=_unverified())
                client.ehlo()
            # The null sender: should it get stuck, nobody is told.
            client.sendmail("", [recipient], body)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise Refused(f"port {port} refused the test message: {code} {_text(said)}") from error
    except smtplib.SMTPResponseException as error:
        raise Refused(f"port {port} refused the test message: {error.smtp_code} {_text(error.smtp_error)}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(f"port {port} did not take the test message: {error or type(error).__name__}") from error


def _unverified() -> ssl.SSLContext:
    """The certificate may be the box's own, and the connection does not leave the machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _text(raw_reply: bytes | str) -> str:
    return raw_reply.decode("utf-8", "replace") if isinstance(raw_reply, bytes) else raw_reply
