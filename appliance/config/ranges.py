"""Between which bounds each number of the configuration must lie.

A table and one question; knows nothing of files or lines. What depends on two keys at once is `config.check`'s affair.
Called by `config.load`.
"""

from __future__ import annotations

from appliance.config import network_tables, schema
from appliance.config.schema import GIB, KIB, Duration, Size

Bounds = tuple[float, float]

_TEN_YEARS_S = 3650 * 86400.0
_COUNT: Bounds = (0, 10**9)
_SIZE: Bounds = (0, float(1024 * 1024 * GIB))
_DURATION: Bounds = (0, _TEN_YEARS_S)
_SOME: Bounds = (1, 10**9)
_POSITIVE_S: Bounds = (0.001, _TEN_YEARS_S)

_AT_LEAST_ONE = (
    "sessions",
    "sessions_per_address",
    "sessions_per_net64",
    "sessions_per_minute",
    "messages_per_session",
    "messages_per_minute",
    "recipients_per_message",
    "recipients_per_minute",
    "errors_per_session",
    "idle_commands",
    "header_fields",
)

_SPECIAL: dict[tuple[type, str], Bounds] = {
    (schema.Config, "version"): (1, 1),
    (schema.Workers, "count"): (0, 1024),
    (schema.HopServer, "preference"): (0, 65535),
    (schema.HopServer, "weight"): (1, 65535),
    (schema.NextHop, "connections"): (1, 65535),
    (schema.NextHop, "messages_per_connection"): _SOME,
    (schema.NextHop, "breaker_failures"): _SOME,
    (schema.NextHop, "breaker_reset"): _POSITIVE_S,
    (schema.Limits, "command_line"): (512, 64 * KIB),  # RFC 5321 §4.5.3.1.4
    (schema.Limits, "header_line"): (998, float(GIB)),  # RFC 5322 §2.1.1
    (schema.Limits, "header_section"): (998, float(GIB)),
    (schema.Limits, "message_size"): (1, float(1024 * GIB)),
    (schema.Limits, "memory_per_worker"): (64 * KIB, float(1024 * GIB)),
    (schema.Limits, "hops"): (1, 1000),
    (schema.Submission, "failures_before_lockout"): _SOME,
    (schema.Dns, "deadline"): _POSITIVE_S,
    (schema.Clamd, "budget"): _POSITIVE_S,
    (schema.Clamd, "connect"): _POSITIVE_S,
    (schema.Clamd, "buffer"): (1, float(GIB)),
    (schema.Clamd, "max_size"): _SOME,
    (schema.Queue, "retry"): _POSITIVE_S,
    (schema.Queue, "lifetime"): _POSITIVE_S,
    (schema.Queue, "bounce_lifetime"): _POSITIVE_S,
    (schema.Queue, "destinations"): _SOME,
    (schema.Queue, "deliveries"): _SOME,
    (schema.Spool, "segment"): (4 * KIB, float(16 * GIB)),
    (schema.Spool, "quota"): (4 * KIB, _SIZE[1]),
    (schema.Tracking, "batch"): _POSITIVE_S,
    (schema.Log, "keep_mib"): (0, 512),
    (network_tables.NetworkInterface, "mtu"): (0, 65535),
    (network_tables.NetworkInterface, "speed_mbit"): (0, 10_000),
    (network_tables.NetworkInterface, "metric"): (1, 2**31),
    (network_tables.StaticRoute, "metric"): (1, 2**31),
    (network_tables.Vlan, "id"): (1, 4094),
}

NEVER_EMPTY = {
    (schema.Queue, "retry"),
    (schema.NextHop, "servers"),
    (network_tables.Bond, "ports"),
    (network_tables.Bridge, "ports"),
}
"""Lists that need at least one element."""


def bounds(table: type, key: str, kind: object) -> Bounds:
    """The least and the greatest value of `key` in `table`, in the unit of `kind`: octets, seconds or a count."""
    if table is schema.Limits and key in _AT_LEAST_ONE:
        return _SOME
    if table is schema.Timeouts and key != "drain":
        return _POSITIVE_S
    usual = _SIZE if kind is Size else _DURATION if kind is Duration else _COUNT
    return _SPECIAL.get((table, key), usual)


def in_words(limit: float, kind: object) -> str:
    """`limit` as a person reads it, with its unit."""
    if kind is Size:
        for unit, octets in (("GiB", GIB), ("MiB", 1 << 20), ("KiB", KIB)):
            if limit >= octets and limit % octets == 0:
                return f"{limit / octets:.0f}{unit}"
        return f"{limit:.0f}B"
    if kind is Duration:
        if limit >= 86400:
            return f"{limit / 86400:.0f}d"
        return f"{limit * 1000:.0f}ms" if 0 < limit < 1 else f"{limit:.0f}s"
    return f"{limit:.0f}"
