"""A relay made of aiosmtpd on uvloop, as one would write it with care: pooled next-hop connections, one write a step.

A peer of the benchmark, run as a process of its own: `aiosmtpd_relay LISTEN_PORT NEXT_HOP_PORT [CERTIFICATE KEY]`.
It refuses to know policy, scanning and durability: a message is passed on before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

_MESSAGE_LIMIT_BYTES = 100 << 20


class HopRefused(Exception):
    """The next hop gave an unexpected reply; the text is that reply."""


class Hop:
    """One connection to the next hop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Hop:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        hop = cls(reader, writer)
        await hop._expect(b"220")
        writer.write(b"EHLO aiosmtpd.bench.example\r\n")
        await hop._expect(b"250")
        return hop

    async def _expect(self, code: bytes) -> bytes:
        while True:
            line = await self._reader.readline()
            if not line.startswith(code):
                raise HopRefused(line.decode("ascii", "replace").strip() or "connection closed")
            if line[3:4] != b"-":
                return line

    async def send(self, sender: str, recipients: list[str], content: bytes) -> None:
        lines = [f"MAIL FROM:<{sender}>\r\n", *(f"RCPT TO:<{recipient}>\r\n" for recipient in recipients), "DATA\r\n"]
        self._writer.write("".join(lines).encode())
        for _ in range(len(lines) - 1):
            await self._expect(b"250")
        await self._expect(b"354")
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        first = b"." if stuffed.startswith(b".") else b""
        self._writer.writelines((first, stuffed, b".\r\n"))
        await self._expect(b"250")

    def close(self) -> None:
        self._writer.close()


class Relay:
    """aiosmtpd's handler: the message goes out on an idle connection of the pool, or on a new one."""

    def __init__(self, next_hop_port: int) -> None:
        self._port = next_hop_port
        self._idle: list[Hop] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        hop = self._idle.pop() if self._idle else await Hop.open(self._port)
        try:
            await hop.send(envelope.mail_from or "", envelope.rcpt_tos, content)
        except (HopRefused, OSError) as error:
            hop.close()
            return f"451 4.4.0 {error}"
        self._idle.append(hop)
        return "250 2.0.0 Relayed"


async def serve(port: int, next_hop_port: int, tls: ssl.SSLContext | None) -> None:
    """Listens until the process is ended."""
    relay = Relay(next_hop_port)
    options: dict[str, Any] = {"data_size_limit": _MESSAGE_LIMIT_BYTES, "hostname": "aiosmtpd.bench.example"}
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(relay, tls_context=tls, **options), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    port, next_hop_port, *certificate = sys.argv[1:]
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*certificate)
    uvloop.run(serve(int(port), int(next_hop_port), tls))


if __name__ == "__main__":
    main()
