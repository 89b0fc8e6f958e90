"""Clients that a gateway meets besides ordinary mail: refused ones, slow ones, those that vanish or talk nonsense.

Each is a short dialogue with the code that must come back. Knows only SMTP. Called by `soak`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from appliance.scan.known_strings import EICAR, GTUBE

PATIENCE_S = 60.0
_HELLO = (b"EHLO odd.test\r\n", "250")
_MAIL = (b"MAIL FROM:<odd@sender.test>\r\n", "250")
_RCPT = (b"RCPT TO:<odd@smtp.test>\r\n", "250")
_OPENING = [_HELLO, _MAIL, _RCPT]
_HEADER = b"From: odd@sender.test\r\nSubject: odd\r\n\r\n"
_LINE = b"The quick brown fox jumps over the lazy dog, again and again.\r\n"

Step = tuple[bytes, str]
"""What is said, and how the reply begins; an empty reply is not waited for."""


class Oddity(NamedTuple):
    """One client. `arrives`: its message must come to the sink."""

    name: str
    steps: list[Step]
    arrives: bool = False
    slowly: bool = False


def _data(body: bytes, reply: str) -> list[Step]:
    return [*_OPENING, (b"DATA\r\n", "354"), (_HEADER + body + b".\r\n", reply)]


def oddities() -> list[Oddity]:
    """All of them, made anew."""
    whole = b"".join(said for said, _ in [*_OPENING, (b"DATA\r\n", "")])
    late = _LINE * 5000
    return [
        Oddity("recipient refused", [_HELLO, _MAIL, (b"RCPT TO:<x@elsewhere.test>\r\n", "550")]),
        Oddity("size refused", [_HELLO, (b"MAIL FROM:<odd@sender.test> SIZE=9999999999\r\n", "552")]),
        Oddity("GTUBE", _data(GTUBE + b"\r\n", "554")),
        Oddity("EICAR", _data(EICAR + b"\r\n", "554")),
        Oddity("GTUBE at the end of a long body", _data(late + GTUBE + b"\r\n", "554")),
        Oddity("bare newline", _data(b"one\ntwo\r\n", "550")),
        Oddity("nonsense", [_HELLO, (b"GET / HTTP/1.1\r\n", "5")]),
        Oddity("long line", [(b"NOOP " + b"x" * 5000 + b"\r\n", "5")]),
        Oddity("gone in the middle of a body", [*_OPENING, (b"DATA\r\n", "354"), (_HEADER + late, "")]),
        Oddity("gone in the middle of a command", [_HELLO, (b"MAIL FROM:<od", "")]),
        Oddity("reset", [*_OPENING, (b"RSET\r\n", "250"), *_data(_LINE, "250")[1:]], arrives=True),
        Oddity("slow", _data(_LINE * 8, "250"), arrives=True, slowly=True),
        Oddity("four recipients", [_HELLO, _MAIL, *[_RCPT] * 4, *_data(_LINE, "250")[3:]], arrives=True),
        Oddity("dots", _data(b"..\r\n...\r\n" * 100, "250"), arrives=True),
        Oddity(
            "chunks",
            [*_OPENING, (b"BDAT %d\r\n%s" % (len(_HEADER), _HEADER), "250"), (b"BDAT 4 LAST\r\n.a\r\n", "250")],
            arrives=True,
        ),
        Oddity("pipelined", [(whole, "250"), *[(b"", "250")] * 2, (b"", "354"), (_LINE + b".\r\n", "250")], True),
    ]


async def meet(port: int, oddity: Oddity, step: Callable[[], None] = lambda: None) -> str:
    """Plays one client; what went wrong, or an empty string."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for said, expected in [(b"", "220"), *oddity.steps]:
                if oddity.slowly:
                    for place in range(0, len(said), 16):
                        writer.write(said[place : place + 16])
                        await writer.drain()
                        await asyncio.sleep(0.001)
                else:
                    writer.write(said)
                    await writer.drain()
                reply = await _reply(reader) if expected else ""
                if not reply.startswith(expected):
                    return f"{oddity.name}: {said[:40]!r} got {reply!r} instead of {expected}"
                step()
    except (OSError, EOFError, TimeoutError) as error:
        return f"{oddity.name}: {error!r}"
    finally:
        writer.transport.abort()
    return ""


async def _reply(reader: asyncio.StreamReader) -> str:
    while True:
        line = (await reader.readuntil(b"\n")).decode("ascii", "replace").rstrip()
        if line[3:4] != "-":
            return line
