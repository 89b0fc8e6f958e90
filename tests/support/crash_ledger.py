"""Who promised what in a crash test: every message the gateway acknowledged, and what arrived of it.

A message carries its number and a digest of all the rest of itself, so that whoever gets it can tell without a memory
of bodies whether it is whole. States are one octet of recipients' bits per message: millions of messages cost little.
Knows no sockets. Filled by the senders and the sink of `crash`, asked by the tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections import Counter

MAX_RECIPIENTS = 4
_ID = b"X-Crash-Id: "
_DIGEST = b"X-Crash-Digest: "
_NUMBER = re.compile(rb"X-Crash-Id: ([0-9]+)\r\n")
_FAILED = re.compile(rb"Final-Recipient: rfc822;\s*r([0-3])@[^\r\n]*\r\nAction: failed\r\n", re.IGNORECASE)
_DELAYED = re.compile(rb"Final-Recipient: rfc822;\s*r[0-3]@[^\r\n]*\r\nAction: delayed\r\n", re.IGNORECASE)
_STOCK_BYTES = 3 << 20


class Stock:
    """Bodies to draw from: a stretch of CRLF lines, in one half of them some that begin with dots."""

    def __init__(self, chance: random.Random) -> None:
        lines = [
            b"." * chance.choice((0, 0, 0, 1, 2)) + chance.randbytes(chance.randrange(0, 36)).hex().encode() + b"\r\n"
            for _ in range(2000)
        ]
        self._dotted = b"".join(chance.choices(lines, k=_STOCK_BYTES // 30))
        self._plain = self._dotted.replace(b"\n.", b"\n-")
        self._chance = chance

    def body(self, size_bytes: int) -> bytes:
        """About `size_bytes` octets in whole lines."""
        octets = self._chance.choice((self._dotted, self._plain))
        start = octets.index(b"\n", self._chance.randrange(0, len(octets) - size_bytes - 100)) + 1
        stop = octets.index(b"\n", start + size_bytes) + 1
        return octets[start:stop]


def message(number: int, body: bytes) -> bytes:
    """Message `number`: its digest covers every octet but its own line."""
    start = _ID + b"%010d\r\nFrom: sender@back.test\r\nSubject: crash\r\n" % number
    return start + _DIGEST + hashlib.sha256(start + body).hexdigest().encode() + b"\r\n\r\n" + body


def read(content: bytes | bytearray) -> tuple[int, bool]:
    """The number of a message that arrived, -1 if it has none, and whether it arrived as it was sent.

    What stands before our first line was added on the way.
    """
    start = content.find(_ID)
    number = _NUMBER.match(content, max(0, start))
    at = content.find(_DIGEST, start)
    if number is None or at < 0:
        return -1, False
    digest = content[at + len(_DIGEST) : at + len(_DIGEST) + 64]
    rest = hashlib.sha256(memoryview(content)[start:at])
    rest.update(memoryview(content)[at + len(_DIGEST) + 64 + 4 :])
    return int(number[1]), rest.hexdigest().encode() == bytes(digest)


class Ledger:
    """The books. A `mask` has bit n for recipient n of a message."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Of deliveries, duplicates, bounces, refusals and the like, for the report."""
        self.damaged = b""
        """The last message that did not arrive as it was sent."""
        self.strange = b""
        """The last delivery report that nobody could make sense of."""
        self._sent = bytearray()
        self._acknowledged = bytearray()
        self._arrived = bytearray()
        self._bounced = bytearray()
        self._open = 0
        self._progress = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def new(self, mask: int) -> int:
        """The number of a message that will be sent to `mask`."""
        for states in (self._acknowledged, self._arrived, self._bounced):
            states.append(0)
        self._sent.append(mask)
        return len(self._sent) - 1

    def acknowledged(self, number: int, mask: int) -> None:
        """The sender got 250: somebody owes the message to `mask` now."""
        self._acknowledged[number] |= mask
        self._open += bool(self._owed(number))
        self.counts["acknowledged"] += 1
        self.step()

    def arrived(self, content: bytes, mask: int) -> None:
        """The sink has taken a message for `mask`, and is about to say so."""
        number, whole = read(content)
        if not whole or number >= len(self._sent) or mask & ~self._sent[number]:
            self.counts["damaged"] += 1
            self.damaged = content
            return
        was_owed = self._owed(number)
        self.counts["delivered"] += (mask & ~self._arrived[number]).bit_count()
        self.counts["duplicates"] += (mask & self._arrived[number]).bit_count()
        self._arrived[number] |= mask
        self._open -= bool(was_owed) and not self._owed(number)
        self.step()

    def returned(self, report: bytes) -> None:
        """The sink has taken a delivery report."""
        number = _NUMBER.search(report)
        recipients = _FAILED.findall(report)
        if number is not None and not recipients and _DELAYED.search(report):
            self.counts["delays told"] += 1
            return
        if number is None or not recipients or int(number[1]) >= len(self._sent):
            self.counts["strange reports"] += 1
            self.strange = report
            return
        place = int(number[1])
        was_owed = self._owed(place)
        for recipient in recipients:
            self._bounced[place] |= 1 << int(recipient)
        self.counts["bounced"] += len(recipients)
        self._open -= bool(was_owed) and not self._owed(place)
        self.step()

    def _owed(self, number: int) -> int:
        return self._acknowledged[number] & ~self._arrived[number] & ~self._bounced[number]

    @property
    def sent(self) -> int:
        """Messages that were begun."""
        return len(self._sent)

    @property
    def open(self) -> int:
        """Acknowledged messages that somebody still waits for."""
        return self._open

    def missing(self) -> list[int]:
        """Their numbers, counted anew."""
        return [number for number in range(len(self._sent)) if self._owed(number)]

    # -- progress

    def step(self) -> None:
        """Something happened between the gateway and its peers."""
        self._progress += 1
        due = [waiter for waiter in self._waiting if waiter[0] <= self._progress]
        if due:
            self._waiting = [waiter for waiter in self._waiting if waiter[0] > self._progress]
            for _, future in due:
                if not future.done():
                    future.set_result(None)

    async def steps(self, count: int) -> None:
        """Returns after `count` more steps."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._progress + count, future))
        await future
