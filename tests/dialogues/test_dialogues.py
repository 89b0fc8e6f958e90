"""Every `*.txt` beside this file is a dialogue, held with each front door, in whole lines and an octet a packet.

The lines of a file:

    # a comment
    C: EHLO client.test        what the client says; lines without a reply between them go in one packet
    R: a\\r\\nb                  as C, but with escapes and without a line end of its own
    S: 250 regular expression  the next reply: its code, and what is found in its text
    X:                         the server closes the connection
    @delivered 1               so many messages came out by the time the dialogue ends
    @body Subject: x\\r\\n\\r\\n   what the last of them was, to the octet, less our Received
    @only port25               for this front door alone
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.client import Client, Closed
from tests.support.conditions import until
from tests.support.gateway import LOGIN, PASSWORD, Gateway
from tests.support.sink import Sink

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.txt"))
DOORS = ("port25", "submission")


@dataclass
class Dialogue:
    """One file, parsed: steps are (kind, text), with C and R joined to one packet of kind C."""

    steps: list[tuple[str, bytes | str]] = field(default_factory=list)
    delivered: int | None = None
    body: bytes | None = None
    only: str = ""


def parse(text: str) -> Dialogue:
    dialogue = Dialogue()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        if kind in ("C:", "R:"):
            octets = _octets(rest) if kind == "R:" else rest.encode() + b"\r\n"
            if dialogue.steps and dialogue.steps[-1][0] == "C":
                dialogue.steps[-1] = ("C", dialogue.steps[-1][1] + octets)  # type: ignore[operator]
            else:
                dialogue.steps.append(("C", octets))
        elif kind in ("S:", "X:"):
            dialogue.steps.append((kind[0], rest))
        elif kind == "@delivered":
            dialogue.delivered = int(rest)
        elif kind == "@body":
            dialogue.body = _octets(rest)
        elif kind == "@only":
            dialogue.only = rest
        else:
            raise ValueError(f"line {number}: {line!r}")
    return dialogue


def _octets(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink) -> Iterator[Gateway]:
    limits = {"message_size": 100_000, "errors_per_session": 8, "recipients_per_message": 5, "hops": 5}
    limits["idle_commands"] = 12
    lockout = {"sessions_per_minute": 100_000, "sessions_per_address": 1_000, "messages_per_minute": 100_000}
    with Gateway([sink.url], {"limits": limits | lockout}, submission=True) as gateway:
        yield gateway


def cases() -> list[object]:
    found = []
    for path in FILES:
        only = parse(path.read_text()).only
        for door in DOORS:
            if only in ("", door):
                found += [
                    pytest.param(path, door, way, id=f"{path.stem}-{door}-{way}") for way in ("whole", "bytewise")
                ]
    return found


@pytest.mark.parametrize(("path", "door", "way"), cases())
def test_the_dialogue_goes_as_written(path: Path, door: str, way: str, gateway: Gateway, sink: Sink) -> None:
    dialogue = parse(path.read_text())
    before = len(sink.seen)
    with Client(gateway.port if door == "port25" else gateway.submission_port) as client:
        if door == "submission":
            client.hello()
            client.starttls()
            client.hello()
            assert client.login(LOGIN, PASSWORD).code == 235
        for step, content in dialogue.steps:
            hold(client, step, content, bytewise=way == "bytewise")
        assert not client.unread
    if dialogue.delivered is not None:
        until(lambda: sink.connections == 0 or len(sink.seen) >= before + dialogue.delivered, "the messages")
        assert len(sink.seen) - before == dialogue.delivered
    if dialogue.body is not None:
        assert sink.seen[-1].body == dialogue.body
    with Client(gateway.port) as next_client:
        assert next_client.hello().code == 250, "the next client is not served"


def hold(client: Client, step: str, content: bytes | str, *, bytewise: bool) -> None:
    if isinstance(content, bytes):
        client.send(content, bytewise=bytewise)
    elif step == "X":
        with pytest.raises(Closed):
            client.answer()
    else:
        code, _, pattern = content.partition(" ")
        answer = client.answer()
        assert answer.code == int(code), f"{answer} where {content!r} was due"
        assert re.search(pattern, answer.text, re.MULTILINE), f"{answer} where {content!r} was due"
