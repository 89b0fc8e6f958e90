"""A raw SMTP client for dialogues: it says exactly what it is told, in as many packets as it is told.

Unlike `smtplib` it repairs and refuses nothing. Used by the dialogue and system tests.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self

TIMEOUT_S = 15.0
"""After which a test fails that waits for a reply."""


class Closed(ConnectionError):
    """The server closed the connection where a reply was due."""


class Answer(NamedTuple):
    """One reply, with all its lines."""

    code: int
    text: str

    @property
    def id(self) -> str:
        """The transaction's id that stands in brackets in the reply, or an empty string."""
        found = re.search(r"\[([0-9A-Z]{16})\]", self.text)
        return found[1] if found else ""


class Client:
    """One connection. `with Client(port) as client:` reads the greeting and leaves by closing the socket."""

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", source: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.socket: socket.socket = socket.create_connection(
            (host, port), timeout=TIMEOUT_S, source_address=(source, 0) if source else None
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="gateway.example.test")
        self._input = b""
        self.greeting: Answer | None = None

    def __enter__(self) -> Self:
        self.greeting = self.answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # -- octets

    def send(self, octets: bytes, *, bytewise: bool = False) -> None:
        """Sends octets as they are, if wished one a packet. That the server has closed meanwhile is no error."""
        try:
            if not bytewise:
                self.socket.sendall(octets)
                return
            for place in range(len(octets)):
                self.socket.sendall(octets[place : place + 1])
        except (BrokenPipeError, ConnectionResetError):
            return  # what it said before it closed is still to be read

    def answer(self) -> Answer:
        """The next reply.

        Raises:
            Closed: there is none.
        """
        lines: list[str] = []
        while True:
            line = self._line().decode("utf-8", "replace")
            assert re.match(r"[2-5][0-9][0-9][ -]", line), f"no reply line: {line!r}"
            lines.append(line[4:])
            if line[3] == " ":
                return Answer(int(line[:3]), "\n".join(lines))

    def _line(self) -> bytes:
        while b"\r\n" not in self._input:
            try:
                more = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError) as error:
                raise Closed(str(error)) from error
            if not more:
                raise Closed(f"closed by the server; unread: {self._input!r}")
            self._input += more
        line, _, self._input = self._input.partition(b"\r\n")
        return line

    def answers_until_closed(self) -> list[Answer]:
        """All replies up to the end of the connection."""
        answers = []
        while True:
            try:
                answers.append(self.answer())
            except Closed:
                return answers

    @property
    def unread(self) -> bytes:
        """Octets that came behind the last reply."""
        return self._input

    # -- dialogue

    def say(self, command: str | bytes) -> Answer:
        """Sends one command line and returns the reply."""
        self.send((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return self.answer()

    def hello(self, name: str = "client.test") -> Answer:
        return self.say(f"EHLO {name}")

    def starttls(self, context: ssl.SSLContext | None = None) -> None:
        """STARTTLS and the handshake; fails where the server does not want to."""
        answer = self.say("STARTTLS")
        assert answer.code == 220, answer
        assert not self._input, "octets behind the 220"
        self.wrap(context or trusting_context())

    def wrap(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="gateway.example.test")

    def login(self, name: str, password: str) -> Answer:
        secret = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        return self.say(f"AUTH PLAIN {secret}")

    def envelope(self, sender: str, recipients: str | Iterable[str], parameters: str = "") -> list[Answer]:
        """MAIL and RCPTs one after the other; the replies."""
        some = [recipients] if isinstance(recipients, str) else list(recipients)
        answers = [self.say(f"MAIL FROM:<{sender}>{' ' + parameters if parameters else ''}")]
        return answers + [self.say(f"RCPT TO:<{recipient}>") for recipient in some]

    def message(self, sender: str, recipients: str | Iterable[str], body: bytes, parameters: str = "") -> Answer:
        """A whole transaction, `body` with CRLF and not yet dot-stuffed; the last reply that was given."""
        answers = self.envelope(sender, recipients, parameters)
        if answers[0].code >= 300 or all(answer.code >= 300 for answer in answers[1:]):
            return answers[-1] if answers[0].code < 300 else answers[0]
        go_on = self.say("DATA")
        if go_on.code != 354:
            return go_on
        self.send(stuffed(body) + b".\r\n")
        return self.answer()


def stuffed(body: bytes) -> bytes:
    """The form that DATA wants, without the final dot (RFC 5321 §4.5.2)."""
    doubled = body.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled


def trusting_context() -> ssl.SSLContext:
    """A client's context that takes any certificate, for the gateway's is self-made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
