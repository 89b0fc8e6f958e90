"""SASL mechanisms of a client: PLAIN (RFC 4616) and LOGIN, for a smart host that asks for AUTH (RFC 4954).

A mechanism makes answers to challenges and knows nothing of SMTP but that its answers travel in base64. Whether the
channel is safe enough for a password is for the caller to decide, before it asks. `smtp_client` drives it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

CANCEL = b"*\r\n"
MAX_INITIAL_OCTETS = 512 - len("AUTH PLAIN \r\n")
"""A longer initial response waits for the first challenge: RFC 4954 §4 with RFC 5321 §4.5.3.1.4."""


class Mechanism(Protocol):
    """One authentication. Used once."""

    name: str

    def initial(self) -> bytes | None:
        """What goes along with AUTH; None: the server speaks first."""

    def respond(self, challenge: bytes) -> bytes | None:
        """The answer to `challenge`; None: there is none, cancel."""


class Plain:
    """PLAIN: authorisation identity (empty), name and password in one answer."""

    name = "PLAIN"
    __slots__ = ("_message", "_sent")

    def __init__(self, username: str, password: str) -> None:
        """
        Raises:
            ValueError: a NUL in either, or an empty name or password (RFC 4616 §2).
        """
        if not username or not password or "\0" in username + password:
            raise ValueError("name or password that PLAIN cannot carry")
        self._message = f"\0{username}\0{password}".encode()
        self._sent = False

    def initial(self) -> bytes | None:
        if len(base64.b64encode(self._message)) > MAX_INITIAL_OCTETS:
            return None
        self._sent = True
        return self._message

    def respond(self, challenge: bytes) -> bytes | None:
        if self._sent:
            return None
        self._sent = True
        return self._message


class Login:
    """LOGIN: name, then password, whatever the two prompts say, for their wording differs between servers."""

    name = "LOGIN"
    __slots__ = ("_answers",)

    def __init__(self, username: str, password: str) -> None:
        self._answers = [password.encode(), username.encode()]

    def initial(self) -> bytes | None:
        return None

    def respond(self, challenge: bytes) -> bytes | None:
        return self._answers.pop() if self._answers else None


def choose(offered: str, username: str, password: str) -> Mechanism | None:
    """The best mechanism that `offered` (EHLO's words behind AUTH) and we have in common; None: there is none."""
    names = offered.upper().split()
    if Plain.name in names:
        return Plain(username, password)
    if Login.name in names:
        return Login(username, password)
    return None


def auth_command(mechanism: Mechanism) -> bytes:
    """The AUTH line, with CRLF; an empty initial response is written `=` (RFC 4954 §4)."""
    initial = mechanism.initial()
    if initial is None:
        return f"AUTH {mechanism.name}\r\n".encode()
    return b"AUTH %b %b\r\n" % (mechanism.name.encode(), base64.b64encode(initial) or b"=")


def auth_answer(mechanism: Mechanism, raw_challenge: str) -> bytes:
    """The line that answers a 334, with CRLF; `*` cancels where there is no answer (RFC 4954 §4)."""
    try:
        challenge = base64.b64decode(raw_challenge, validate=True)
    except (binascii.Error, ValueError):
        return CANCEL
    answer = mechanism.respond(challenge)
    return CANCEL if answer is None else base64.b64encode(answer) + b"\r\n"
