"""What a sink's script is made of, and what a sink keeps of a message. See `sink`."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Act = Callable[[str], str | None]
"""Gets what came (a command line, or a recipient), returns the reply without CRLF; None closes the connection."""

CONNECTION_TIMEOUT_S = 60.0


def say(reply: str) -> Act:
    """Always this reply."""
    return lambda _: reply


def hang_up(_: str) -> None:
    """Closes the connection without a word."""


def times(count: int, act: Act, then: Act) -> Act:
    """`act` for the first `count` times, `then` afterwards."""
    counter = itertools.count()
    return lambda line: act(line) if next(counter) < count else then(line)


def held(event: threading.Event, act: Act) -> Act:
    """Waits until the test sets `event`, then does `act`."""

    def wait(line: str) -> str | None:
        event.wait(CONNECTION_TIMEOUT_S)
        return act(line)

    return wait


@dataclass(slots=True)
class Taken:
    """A message. `raw` is what came between DATA's line and the final dot's, still dot-stuffed; or the BDAT octets."""

    mail: str
    recipients: list[str] = field(default_factory=list)
    raw: bytes = b""
    dotted: bool = True
    tls: str = ""
    accepted: bool = False
    hello: str = ""

    @property
    def content(self) -> bytes:
        """The message, dot-stuffing undone."""
        if not self.dotted:
            return self.raw
        plain = self.raw.replace(b"\r\n..", b"\r\n.")
        return plain[1:] if plain.startswith(b"..") else plain

    @property
    def body(self) -> bytes:
        """What came behind our own trace field: the message as the client sent it."""
        content = self.content
        assert content.startswith(b"Received: "), content[:100]
        end = content.index(b"\r\n")
        while content[end + 2 : end + 3] in (b" ", b"\t"):
            end = content.index(b"\r\n", end + 2)
        return content[end + 2 :]
