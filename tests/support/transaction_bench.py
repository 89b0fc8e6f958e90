"""One transaction without sockets: a real spool on a simulated disk, a played next hop, and the test as its front door.

The door reads into a shared buffer as sessions do, and spoils it where the transaction did not ask for it, so that a
view that was kept too long shows.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any, cast

from appliance.config.schema import Config, Delivery, Domain, HopServer, NextHop
from appliance.core.address import parse_address
from appliance.core.envelope import Body, Client
from appliance.core.ids import IdSource
from appliance.core.reply import Reply
from appliance.daemon import rooms
from appliance.delivery.route import Router
from appliance.intake.buffers import BufferPool
from appliance.intake.shared_counts import SharedCounts
from appliance.intake.site import Site
from appliance.intake.transaction import Transaction
from appliance.observe.metrics import Counters
from appliance.queue.store import QueueStore
from appliance.wire.parameters import MailCommand, RcptCommand
from tests.support.hop_bench import Hop, settle
from tests.support.spool_fixture import Bench

NOW_S = 1_700_000_000.0


class Events:
    """A log that keeps the names of its events."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def event(self, name: str, fields: dict[str, object], level: int = 0) -> None:
        self.names.append(name)


def site_of(config: Config, hop: Hop, disk: Bench) -> Site:
    """What a worker builds, around `hop` and the spool of `disk`."""
    counts = SharedCounts(1)
    counts.attach(0)
    lasting = rooms.Lasting(
        spool=disk.spool,
        queue=QueueStore(disk.spool, config.queue, clock=lambda: NOW_S, chance=random.Random(1).random),
        events=cast(Any, Events()),
        tracking=None,
        counters=Counters(),
        buffers=BufferPool(64 << 20),
        counts=counts,
        ids=IdSource(),
        date=rooms.DateCache(),
    )
    site = rooms._build_site(config, lasting, Router(config), {hop.config.name: hop.pool}, [], None)
    return dataclasses.replace(site, clock=lambda: NOW_S)


class TransactionBench:
    """A message for a domain behind `hop`; create it in a running loop."""

    def __init__(self, **delivery: Any) -> None:
        self.hop = Hop()
        self.disk = Bench(segment_bytes=1 << 20)
        servers = [HopServer(url="smtp://192.0.2.1:25")]
        config = Config(
            hostname="gate.example.test",
            next_hop=[NextHop(name=self.hop.config.name, servers=servers)],
            domain=[Domain(name="d.test", next_hop=self.hop.config.name)],
            delivery=Delivery(**delivery),
        )
        self.site = site_of(config, self.hop, self.disk)
        self.answers: list[Reply] = []
        self.stopped: set[int] = set()
        """Reasons for which the transaction wants no more input."""
        self.transaction = Transaction(self.site, Client(ip="192.0.2.7", helo="client.test"), self, b"key")

    # -- what a transaction sees of its door

    def answer(self, answer: Reply) -> None:
        self.answers.append(answer)

    def flow(self, reason: int, *, flows: bool) -> None:
        (self.stopped.discard if flows else self.stopped.add)(reason)

    # -- what the client does

    async def in_body(self, declared_size_bytes: int = 0) -> None:
        """MAIL, a recipient that the next hop takes, DATA."""
        sender = parse_address(b"a@sender.test")
        assert self.transaction.mail(MailCommand(sender, declared_size_bytes, Body.EIGHT_BIT)).code == 250
        assert self.transaction.recipient(RcptCommand(parse_address(b"r@d.test"))) is None
        await settle()
        self.hop.says(b"250 ok\r\n250 ok\r\n")
        assert [answer.code for answer in self.answers] == [250]
        self.answers.clear()
        self.hop.heard()

    def data(self) -> None:
        started = self.transaction.data("data")
        assert started is not None and started.code == 354

    def sends(self, octets: bytes, piece_bytes: int = 4096) -> None:
        """Octets of the body, in pieces of that size."""
        buffers = self.site.buffers
        for start in range(0, len(octets), piece_bytes):
            piece = octets[start : start + piece_bytes]
            buffers.scratch[: len(piece)] = piece
            self.transaction.body(buffers.scratch_view[: len(piece)])
            if self.transaction.secure():
                self.transaction.own(buffers.adopt_scratch())
            else:
                buffers.scratch[: len(piece)] = b"~" * len(piece)

    def ends(self) -> Reply:
        """The end of the body; the final reply, once the disk has done what it was asked for."""
        answer = self.transaction.body_end(bare_newlines=False)
        self.disk.settle()
        return answer if answer is not None else self.answers.pop()

    # -- what became of it

    def spooled(self) -> list[bytes]:
        """The messages that the next life of the spool finds."""
        after = self.disk.cut_power()
        return [after.octets(entry_id) for entry_id in sorted(after.ids())]


def lines(size_bytes: int) -> bytes:
    """A message of `size_bytes`, no stretch of which looks like another."""
    numbered = b"Subject: long\r\n\r\n" + b"".join(b"line %07d\r\n" % n for n in range(size_bytes // 14))
    return numbered[: size_bytes - 2] + b"\r\n"
