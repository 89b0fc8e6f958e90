"""Everything a session needs that outlives it: one `Site` per configuration and worker, replaced as a whole on reload.

A session keeps the site it began with, so a reload changes nothing under its feet. The rooms that live longer than a
configuration (spool, queue, log, counters, buffers, shared counts) are the same objects in every site of a worker.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from appliance.config.schema import Config, Policy
from appliance.core.ids import IdSource
from appliance.delivery.pool import HopPool
from appliance.delivery.route import Router
from appliance.intake.access import Access
from appliance.intake.bounds import Bounds
from appliance.intake.buffers import BufferPool
from appliance.intake.shared_counts import SharedCounts
from appliance.intake.users import Users
from appliance.observe.events import EventLog
from appliance.observe.metrics import Counters
from appliance.observe.tracking import Tracking
from appliance.queue.store import QueueStore
from appliance.scan.tee import Tee
from appliance.spool.spool import Spool
from appliance.wire.header_section import HeaderLimits


@dataclass(frozen=True)
class Site:
    """See the module. `clock` gives seconds since the epoch."""

    config: Config
    bounds: Bounds
    router: Router
    access: Access
    policies: Mapping[str, Policy]
    pools: Mapping[str, HopPool]
    tee: Tee
    unscanned: Tee
    """For policies with `scan = false`."""
    header_limits: HeaderLimits
    tls: ssl.SSLContext | None
    users: Users | None
    ids: IdSource
    spool: Spool
    queue: QueueStore
    events: EventLog
    tracking: Tracking | None
    counters: Counters
    buffers: BufferPool
    counts: SharedCounts
    clock: Callable[[], float]
    date: Callable[[float], str]
    """RFC 5322 date of a time, cached per second."""
