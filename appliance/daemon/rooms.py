"""Builds a worker's rooms from a configuration, once at start and again at each reload.

What outlives a configuration (`Lasting`) is built once; what is made from it (`Site`, pools, scanners, runner) is
built whole and swapped in whole, so that no session sees half of a new configuration.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from appliance.config.schema import Config, HopServer, NextHop, Policy
from appliance.config.state import tracking_file
from appliance.core.envelope import Envelope
from appliance.core.errors import GatewayError
from appliance.core.ids import IdSource
from appliance.delivery.handshake import Handshake
from appliance.delivery.hop_outlet import HopOutlet
from appliance.delivery.pool import HopPool
from appliance.delivery.remote import Remote
from appliance.delivery.report import Clerk
from appliance.delivery.route import CHECK_POLICY, Router
from appliance.delivery.runner import Runner
from appliance.delivery.send import send_stored
from appliance.dns import mx
from appliance.dns.resolver import Resolver
from appliance.intake.access import Access
from appliance.intake.bounds import Bounds
from appliance.intake.buffers import BufferPool
from appliance.intake.shared_counts import SharedCounts
from appliance.intake.site import Site
from appliance.intake.users import Users
from appliance.observe.events import EventLog
from appliance.observe.metrics import Counters
from appliance.observe.tracking import DeliveryRow, Tracking
from appliance.queue.store import QueueStore
from appliance.scan.build import build_scanners
from appliance.scan.contract import Scanner
from appliance.scan.tee import Tee
from appliance.spool.meta import EntryMeta
from appliance.spool.spool import Spool
from appliance.tls.certificates import ServerCertificate
from appliance.tls.contexts import ClientContexts
from appliance.wire.header_section import HeaderLimits
from appliance.wire.received import rfc5322_date


class DateCache:
    """RFC 5322 dates, made once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, now_s: float) -> str:
        second = int(now_s)
        if second != self._second:
            self._second, self._text = second, rfc5322_date(now_s)
        return self._text


@dataclass(slots=True)
class Lasting:
    """What a worker keeps over reloads."""

    spool: Spool
    queue: QueueStore
    events: EventLog
    tracking: Tracking | None
    counters: Counters
    buffers: BufferPool
    counts: SharedCounts
    ids: IdSource
    date: DateCache
    wake: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Rooms:
    """What is made of one configuration."""

    site: Site
    pools: dict[str, HopPool]
    scanners: list[Scanner]
    runner: Runner
    resolver: Resolver
    certificate: ServerCertificate | None

    async def close(self, drain_s: float) -> None:
        """Ends deliveries (those under way within `drain_s` seconds), connections and scanners."""
        await self.runner.close(drain_s)
        for pool in self.pools.values():
            await pool.close()
        for scanner in self.scanners:
            await scanner.close()
        await self.resolver.close()


def build_lasting(config: Config, number: int, workers: int, counts: SharedCounts, events: EventLog) -> Lasting:
    """Opens what the worker keeps; recovers the spool. Blocks on the disk; call it on the loop's thread."""
    loop = asyncio.get_running_loop()
    share = max(1, workers)
    spool_config = msgspec.structs.replace(config.spool, quota=config.spool.quota // share)
    spool = Spool(
        Path(config.state, "spool", str(number)),
        spool_config,
        loop_call_soon=loop.call_soon_threadsafe,
        later=loop.call_later,
    )
    recovered = spool.open()
    tracking = None
    if config.tracking.enabled:
        wished = config.tracking
        path = tracking_file(config.state, wished.folder)
        tracking = Tracking(path, wished.batch, wished.keep, wished.size)
    counters = Counters()
    lasting: Lasting
    queue = QueueStore(spool, config.queue, clock=time.time, chance=random.random, wake=lambda: lasting.wake())
    lasting = Lasting(
        spool=spool,
        queue=queue,
        events=events,
        tracking=tracking,
        counters=counters,
        buffers=BufferPool(config.limits.memory_per_worker),
        counts=counts,
        ids=IdSource(),
        date=DateCache(),
    )
    queue.adopt(recovered)
    if recovered:
        events.event("recovered", {"messages": len(recovered)})
    return lasting


def build_rooms(config: Config, lasting: Lasting) -> Rooms:
    """Raises ConfigError where files that the configuration names cannot be used."""
    router = Router(config)
    contexts = ClientContexts()
    certificate = ServerCertificate.open(config.tls, config.state, config.hostname)
    scanners = build_scanners(config, lasting.counters.scanner_wait["clamd"].observe)
    resolver = Resolver(config.dns)
    shake_hands = partial(
        Handshake, hostname=config.hostname, timeouts=config.timeouts, contexts=contexts, now_s=time.monotonic
    )
    pools = {hop.name: HopPool(hop, shake_hands(hop).open, now_s=time.monotonic) for hop in config.next_hop}
    everybody = NextHop(name="mx", servers=[HopServer(url="smtp://mx.invalid")])
    remote = Remote(
        partial(mx.hosts, resolver=resolver, own_names={config.hostname.lower()}, own_addresses=_own_addresses(config)),
        shake_hands(everybody).open_on,
        connect_timeout_s=config.timeouts.connect,
        port=config.relay.mx_port,
    )
    site = _build_site(config, lasting, router, pools, scanners, certificate)
    runner = _build_runner(config, lasting, router, pools, remote)
    return Rooms(site, pools, scanners, runner, resolver, certificate)


def _build_site(
    config: Config,
    lasting: Lasting,
    router: Router,
    pools: dict[str, HopPool],
    scanners: list[Scanner],
    certificate: ServerCertificate | None,
) -> Site:
    policies = {policy.name: policy for policy in config.policy}
    policies.setdefault("default", Policy())
    policies[CHECK_POLICY] = Policy()
    limits = config.limits
    return Site(
        config=config,
        bounds=Bounds(config),
        router=router,
        access=Access(config),
        policies=policies,
        pools=pools,
        tee=Tee(scanners),
        unscanned=Tee([]),
        header_limits=HeaderLimits(limits.header_section, limits.header_fields, limits.header_line, limits.hops),
        tls=certificate.context if certificate is not None else None,
        users=Users.load(config.submission.users_file) if config.submission.users_file else None,
        ids=lasting.ids,
        spool=lasting.spool,
        queue=lasting.queue,
        events=lasting.events,
        tracking=lasting.tracking,
        counters=lasting.counters,
        buffers=lasting.buffers,
        counts=lasting.counts,
        clock=time.time,
        date=lasting.date,
    )


def _build_runner(
    config: Config, lasting: Lasting, router: Router, pools: dict[str, HopPool], remote: Remote
) -> Runner:
    clerk = Clerk(
        lasting.queue,
        lasting.spool.read,
        partial(_submit_report, lasting, config),
        config,
        clock=time.time,
        record=partial(_record_attempt, lasting),
    )
    runner = Runner(
        lasting.queue,
        clerk,
        router,
        config,
        read=lasting.spool.read,
        send=send_stored,
        hops=HopOutlet(pools),
        remote=remote,
        clock=time.time,
    )
    lasting.wake = runner.wake
    return runner


def _own_addresses(config: Config) -> tuple[str, ...]:
    """Addresses at which an MX host would be ourselves: those we listen on by name."""
    hosts = {"127.0.0.0/8", "::1"} if config.relay.mx_port == 25 else set()
    for listen in config.listen:
        host, _, port = listen.address.rpartition(":")
        if port == str(config.relay.mx_port) and host.strip("[]") not in ("0.0.0.0", "::"):
            hosts.add(host.strip("[]"))
    return tuple(sorted(hosts))


async def _submit_report(lasting: Lasting, config: Config, envelope: Envelope, octets: bytes) -> None:
    """Spools a delivery report, already dot-stuffed; returns when it is durable.

    Raises:
        GatewayError: it is not; the reporter tries again.
    """
    now_s = time.time()
    durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    draft = lasting.spool.begin(len(octets))
    draft.write(octets)
    meta = EntryMeta(
        id=lasting.ids.next(int(now_s * 1000)),
        envelope=envelope,
        received_at_s=now_s,
        dotted=True,
        client={"origin": "report"},
        header_bytes=octets.find(b"\r\n\r\n") + 4,
    )

    def committed(error: GatewayError | None) -> None:
        if error is None:
            lasting.queue.add(entry)
        if durable.done():
            return
        if error is None:
            durable.set_result(None)
        else:
            durable.set_exception(error)

    entry = draft.commit(meta, committed)
    recipients = [recipient.address.raw for recipient in envelope.recipients]
    lasting.events.event("report", {"id": meta.id, "recipients": recipients, "by": config.hostname})
    await durable


def _record_attempt(lasting: Lasting, row: DeliveryRow) -> None:
    """One attempt of the queue, for the log and for tracking."""
    row = row._replace(at_s=round(row.at_s, 6), duration_ms=round(row.duration_ms, 3))
    lasting.events.event("delivery", row._asdict())
    if lasting.tracking is not None:
        lasting.tracking.record_attempt(row)
