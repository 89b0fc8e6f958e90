"""Senders of a crash test: parallel SMTP clients that write down each 250 in the ledger.

They speak in turns, pipelined, or with BDAT, begin anew when a connection breaks, and never send a message twice: what
was not acknowledged may be lost. A gateway that neither answers nor breaks off within `PATIENCE_S` is counted as a
stall.
"""

from __future__ import annotations

import asyncio
import random

from tests.support.crash_ledger import MAX_RECIPIENTS, Ledger, Stock, message

PATIENCE_S = 60.0
DOMAINS = ("smtp.test", "lmtp.test", "stuck.test")
_DOMAIN_SHARES = (75, 24, 1)
_MIXED_SHARE = 0.1
"""Of messages with several recipients: their domains differ, and so may their fates."""
_HELD_SHARE = 0.005
HELD_PHRASE = b"please hold this one"
_SIZES_BYTES = (
    (60, 0, 8_000),
    (25, 8_000, 60_000),
    (10, 60_000, 300_000),
    (5, 300_000, 1_500_000),
)


class _Refused(Exception):
    """The message will not be taken now."""


class Sender:
    """One client after the other, as one task: `run` until cancelled."""

    def __init__(self, port: int, ledger: Ledger, stock: Stock, chance: random.Random, going: asyncio.Event) -> None:
        """While `going` is clear no new session and no new message begins."""
        self._port = port
        self._ledger = ledger
        self._stock = stock
        self._chance = chance
        self._going = going
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def run(self) -> None:
        while True:
            await self._going.wait()
            try:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await self._session()
                finally:
                    self._writer.transport.abort()
            except TimeoutError:
                self._ledger.counts["stalls"] += 1
            except (OSError, EOFError):
                self._ledger.counts["connections lost"] += 1
                await asyncio.sleep(0.005)  # the whole gateway may be away

    async def _session(self) -> None:
        if await self._reply() != 220:
            return
        await self._command(b"EHLO client.test\r\n")
        for _ in range(self._chance.randrange(1, 8)):
            if not self._going.is_set():
                break
            try:
                await self._send_one()
            except _Refused:
                self._ledger.counts["refused"] += 1
                if await self._command(b"RSET\r\n") != 250:
                    return
        await self._command(b"QUIT\r\n")

    async def _send_one(self) -> None:
        chance = self._chance
        domains = self._domains()
        number = self._ledger.new((1 << len(domains)) - 1)
        octets = message(number, self._body())
        mail = b"MAIL FROM:<sender@back.test>"
        if chance.random() < 0.5:
            mail += b" SIZE=%d" % len(octets)
        commands = [mail + b"\r\n"]
        commands += [b"RCPT TO:<r%d@%s>\r\n" % (n, domain.encode()) for n, domain in enumerate(domains)]
        form = chance.choice(("turns", "pipelined", "bdat"))
        codes = await (self._turns(commands) if form == "turns" else self._pipelined(commands))
        mask = sum(1 << n for n, code in enumerate(codes[1:]) if code == 250)
        if codes[0] != 250 or not mask:
            raise _Refused
        code = await (self._bdat(octets) if form == "bdat" else self._data(octets))
        if code != 250:
            raise _Refused
        self._ledger.acknowledged(number, mask)

    def _domains(self) -> list[str]:
        """Of the recipients of one message."""
        count = self._chance.choices((1, 2, MAX_RECIPIENTS), (8, 1, 1))[0]
        if self._chance.random() < _MIXED_SHARE:
            return self._chance.choices(DOMAINS, k=count)
        return self._chance.choices(DOMAINS, _DOMAIN_SHARES) * count

    def _body(self) -> bytes:
        shares, lows, highs = zip(*_SIZES_BYTES, strict=True)
        low, high = self._chance.choices(list(zip(lows, highs, strict=True)), shares)[0]
        body = self._stock.body(self._chance.randrange(low, high))
        return body + HELD_PHRASE + b"\r\n" if self._chance.random() < _HELD_SHARE else body

    async def _turns(self, commands: list[bytes]) -> list[int]:
        return [await self._command(command) for command in commands]

    async def _pipelined(self, commands: list[bytes]) -> list[int]:
        self._writer.write(b"".join(commands))
        return [await self._reply() for _ in commands]

    async def _data(self, octets: bytes) -> int:
        if await self._command(b"DATA\r\n") != 354:
            raise _Refused
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        self._writer.write(stuffed + b".\r\n")
        await self._writer.drain()
        return await self._reply()

    async def _bdat(self, octets: bytes) -> int:
        start, size, code = 0, self._chance.randrange(1_000, 400_000), 250
        while start < len(octets) and code == 250 and not self._writer.is_closing():
            piece = octets[start : start + size]
            start += size
            self._writer.write(b"BDAT %d%s\r\n" % (len(piece), b" LAST" if start >= len(octets) else b"") + piece)
            await self._writer.drain()
            code = await self._reply()
        return code

    async def _command(self, command: bytes) -> int:
        self._writer.write(command)
        return await self._reply()

    async def _reply(self) -> int:
        while True:
            line = await self._reader.readuntil(b"\n")
            if line[3:4] != b"-":
                return int(line[:3])
