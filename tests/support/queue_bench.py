"""A queue with its runner on a bench: real store, clerk and runner; clock, spool, servers and time-outs are played."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Self, cast

from appliance.config.schema import Config, Domain, Duration, HopServer, NextHop, Queue
from appliance.core.address import parse_address
from appliance.core.envelope import Envelope, Notify, Recipient
from appliance.core.errors import GatewayError
from appliance.core.reply import OK, Reply
from appliance.delivery import dsn
from appliance.delivery.endpoint import Endpoint
from appliance.delivery.remote import Connection
from appliance.delivery.report import Clerk, Reading
from appliance.delivery.route import Route, Router
from appliance.delivery.runner import Runner
from appliance.observe.tracking import DeliveryRow
from appliance.queue.store import QueueStore
from appliance.spool.meta import Entry, EntryMeta, RecipientState
from appliance.spool.spool import Spool

Answer = Reply | Exception
CONTENT = b"Subject: hello\r\n\r\n..dots\r\n"
RETRY_S = (60.0, 300.0)
HOP = NextHop(
    name="inside", servers=[HopServer(url="smtp://192.0.2.1:25")], breaker_reset=Duration(15), connections=20
)


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Makes a test of a coroutine function."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


def config(**queue: Any) -> Config:
    retry = [Duration(s) for s in RETRY_S]
    given: dict[str, Any] = {"retry": retry, "lifetime": Duration(1000), "warn_after": Duration(0)}
    return Config(
        hostname="gate.example.test",
        next_hop=[HOP],
        domain=[Domain(name="example.test", next_hop="inside")],
        queue=Queue(**(given | queue)),
    )


class FakeSpool:
    """Counts what the store asks of it."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.updated: list[str] = []

    def update(self, entry_id: str) -> None:
        """States need no disk here."""
        self.updated.append(entry_id)

    def remove(self, entry_id: str) -> None:
        self.removed.append(entry_id)


class FakeReading:
    """The content as one extent that nobody reads from a file."""

    extents: Sequence[tuple[int, int, int]] = ()
    size_bytes = len(CONTENT)

    def chunks(self) -> Iterator[bytes]:
        yield CONTENT

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class FakeConnection:
    def __init__(self, endpoint: Endpoint, extensions: dict[str, str]) -> None:
        self.endpoint = endpoint
        self.extensions = extensions
        self.trouble: Reply | None = None

    def quit(self) -> None:
        self.trouble = Reply(421, "4.4.2", "gone")


class FakeOutlet:
    """Servers: `down` says what opening meets with; `at_once_max` how many connections they bear."""

    def __init__(self, *, pooled: bool) -> None:
        self.pooled = pooled
        self.down: dict[str, GatewayError | Exception] = {}
        self.opened: list[str] = []
        self.at_once = 0
        self.at_once_seen = 0
        self.at_once_max = 1_000
        self.extensions: dict[str, str] = {}
        self.scheme = "smtp"
        self.requiretls: list[bool] = []

    async def open(self, route: Route, *, requiretls: bool) -> Connection:
        self.opened.append(route.key)
        self.requiretls.append(requiretls)
        await asyncio.sleep(0)
        if route.key in self.down:
            raise self.down[route.key]
        if self.at_once >= self.at_once_max:
            raise GatewayError("too many connections")
        self.at_once += 1
        self.at_once_seen = max(self.at_once_seen, self.at_once)
        return FakeConnection(Endpoint(self.scheme, f"mx.{route.domain}", 25), self.extensions)

    def release(self, connection: Connection) -> None:
        self.at_once -= 1


class Bench:
    """Everything around one runner. `answers` says what a recipient's server replies (default: Ok)."""

    def __init__(self, configuration: Config | None = None) -> None:
        self.config = configuration or config()
        self.now_s = 1_000_000.0
        self.spool = FakeSpool()
        self.hops = FakeOutlet(pooled=True)
        self.remote = FakeOutlet(pooled=False)
        self.answers: dict[str, Answer] = {}
        self.sent: list[tuple[str, list[str]]] = []
        self.connections: list[Connection] = []
        self.gate: asyncio.Event | None = None
        self.under_way = 0
        self.under_way_seen = 0
        self.reports: list[tuple[Envelope, bytes]] = []
        self.full = False
        self.rows: list[DeliveryRow] = []
        self.waits_for_s: float | None = None
        self.count = 0
        self.store = QueueStore(
            cast(Spool, self.spool), self.config.queue, clock=lambda: self.now_s, chance=lambda: 0.5, wake=self.wake
        )
        self.clerk = Clerk(
            self.store, self.read, self.submit, self.config, clock=lambda: self.now_s, record=self.rows.append
        )
        self.runner = Runner(
            self.store,
            self.clerk,
            Router(self.config),
            self.config,
            read=self.read,
            send=self.send,
            hops=self.hops,
            remote=self.remote,
            clock=lambda: self.now_s,
            wait=self.wait,
            gather_s=0.0,
        )

    def wake(self) -> None:
        self.runner.wake()

    def entry(
        self, *recipients: str, sender: str = "sender@else.example", notify: Notify = Notify.UNSET, **more: Any
    ) -> Entry:
        """An entry that is in the spool, and not yet in the queue."""
        self.count += 1
        envelope = Envelope(
            parse_address(sender.encode()), [Recipient(parse_address(r.encode()), notify) for r in recipients], **more
        )
        meta = EntryMeta(f"{self.count:016}", envelope, self.now_s, dotted=True, size_bytes=len(CONTENT))
        return Entry(self.count, meta, [RecipientState() for _ in recipients])

    def add(self, *recipients: str, **more: Any) -> Entry:
        entry = self.entry(*recipients, **more)
        self.store.add(entry)
        return entry

    def read(self, entry_id: str) -> FakeReading:
        self.store.entry(entry_id)
        return FakeReading()

    async def send(
        self, connection: Connection, meta: EntryMeta, recipients: Sequence[Recipient], message: Reading
    ) -> list[Reply]:
        names = [recipient.address.raw for recipient in recipients]
        self.sent.append((meta.id, names))
        self.connections.append(connection)
        self.under_way += 1
        self.under_way_seen = max(self.under_way_seen, self.under_way)
        try:
            await (self.gate.wait() if self.gate is not None else asyncio.sleep(0))
        finally:
            self.under_way -= 1
        answers = [self.answers.get(name, OK) for name in names]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in answers if isinstance(answer, Reply)]

    async def submit(self, envelope: Envelope, octets: bytes) -> None:
        await asyncio.sleep(0)
        if self.full:
            raise GatewayError("full")
        self.reports.append((envelope, dsn.undotted(octets)))

    async def wait(self, event: asyncio.Event, longest_s: float) -> None:
        self.waits_for_s = longest_s
        await event.wait()
        self.waits_for_s = None

    async def settle(self) -> None:
        """Until nothing happens any more at this point of time."""
        quiet = 0
        for _ in range(100_000):
            await asyncio.sleep(0)
            is_quiet = self.waits_for_s is not None and not self.clerk.busy
            blocked_by_gate = self.gate is not None and not self.gate.is_set()
            quiet = quiet + 1 if is_quiet and (blocked_by_gate or not self.runner.deliveries) else 0
            if quiet > 20:
                return
        raise AssertionError("the runner never comes to rest")

    async def at(self, now_s: float) -> None:
        """Lets the clock go to `now_s`, with a stop wherever the runner wanted to be woken."""
        while True:
            await self.settle()
            assert self.waits_for_s is not None
            next_s = self.now_s + max(self.waits_for_s, 0.001)
            if next_s > now_s:
                break
            self.now_s = next_s
            self.wake()
        self.now_s = now_s
        self.wake()
        await self.settle()
