"""Where the mail of a domain goes: MX records to hosts with their addresses (RFC 5321 §5.1).

Decides the order and drops what would come back to ourselves; connects to nobody and keeps nothing. Called by
delivery for outgoing mail; a protected domain never gets here, its next hop is configured.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

from appliance.core.errors import AddressLiteralRefused, BadDomain, DnsTrouble, MxLoop, NoMailHost, NoSuchDomain, NullMx
from appliance.dns.names import is_host_name, literal_address, to_ascii

HOSTS_MAX = 20
ADDRESSES_MAX = 20  # per host

_NULL = "."
_NOBODY = 65_536  # a preference worse than all that fit into an MX record
_shuffle = random.SystemRandom()


class Lookup(Protocol):
    """What is needed of `resolver.Resolver`, errors included."""

    deadline_s: float
    allow_address_literals: bool

    async def mx(self, domain: str) -> list[tuple[int, str]]: ...
    async def a(self, host: str) -> list[str]: ...
    async def aaaa(self, host: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class MxHost:
    """A host to try. `name` is an A-label name in lower case, or the address literal in its brackets."""

    name: str
    preference: int
    addresses: tuple[str, ...]
    """In the order to try, as `addresses` gives them; never empty."""


async def hosts(
    domain: str,
    resolver: Lookup,
    *,
    own_names: Collection[str] = (),
    own_addresses: Collection[str] = (),
    shuffle: random.Random = _shuffle,
) -> list[MxHost]:
    """Hosts to try for `domain`, best first, equal ones in random order; at least one, at most `HOSTS_MAX`.

    Without MX records the domain itself is the host. Hosts without an address are left out, as is every host that is
    no better than ourselves. The whole takes no longer than `resolver.deadline_s`.

    Args:
        own_names: our host names, lower case.
        own_addresses: our addresses, single or as networks (`127.0.0.0/8`).

    Raises:
        NullMx: the domain takes no mail; permanent.
        NoSuchDomain: it does not exist; permanent.
        NoMailHost: it names no host that has an address; permanent.
        MxLoop: all hosts are ours, or no better than ours; permanent.
        BadDomain, AddressLiteralRefused: we do not look up such a domain; permanent.
        DnsTrouble: not enough answers in time; temporary.
    """
    if domain.startswith("["):
        literal = MxHost(domain, 0, (_literal(domain, resolver),))
        return _better_than_ours([literal], own_addresses, domain, _NOBODY)
    end_s = asyncio.get_running_loop().time() + resolver.deadline_s
    ranked = await _ranked(to_ascii(domain), resolver, shuffle)
    own = min((preference for preference, name in ranked if name in own_names), default=_NOBODY)
    ranked = [(preference, name) for preference, name in ranked if preference < own][:HOSTS_MAX]
    if not ranked:
        raise MxLoop(f"{domain}: best MX is ours")
    found, troubled = await _with_addresses(ranked, resolver, end_s)
    if found:
        return _better_than_ours(found, own_addresses, domain, min(troubled, default=_NOBODY))
    if troubled:
        raise DnsTrouble(f"{domain}: addresses of {len(troubled)} MX hosts unknown")
    raise NoMailHost(f"{domain}: no MX host has an address: {', '.join(name for _, name in ranked)}")


async def addresses(host: str, resolver: Lookup) -> list[str]:
    """Addresses of `host` in the order to try: IPv6 and IPv4 by turns (RFC 8305 §4); empty if it has none.

    An address literal is its own address. One family's trouble is passed over if the other has addresses.

    Raises:
        DnsTrouble: none known, and not for certain; temporary.
        BadDomain, AddressLiteralRefused: we do not look up such a host; permanent.
    """
    if host.startswith("["):
        return [_literal(host, resolver)]
    name = to_ascii(host)
    sixes, fours = await asyncio.gather(_settled(resolver.aaaa(name)), _settled(resolver.a(name)))
    if isinstance(sixes, DnsTrouble) and not (isinstance(fours, list) and fours):
        raise sixes
    if isinstance(fours, DnsTrouble) and not sixes:
        raise fours
    by_turns = zip_longest(*(family if isinstance(family, list) else () for family in (sixes, fours)))
    return list(dict.fromkeys(address for pair in by_turns for address in pair if address))[:ADDRESSES_MAX]


async def _settled(question: Awaitable[list[str]]) -> list[str] | DnsTrouble:
    """The usable ones of the addresses, in the form in which they are compared; trouble as a value."""
    try:
        return [address for text in await question if (address := _usable(text))]
    except NoSuchDomain:
        return []
    except DnsTrouble as trouble:
        return trouble


def _usable(text: str) -> str:
    """`text` in canonical form, or empty if no host can have such an address: a connection would end with ourselves."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast or text == "255.255.255.255":
        return ""
    return str(address)


def _literal(domain: str, resolver: Lookup) -> str:
    if not resolver.allow_address_literals:
        raise AddressLiteralRefused(f"{domain}: dns.allow_address_literals is off")
    address = _usable(literal_address(domain))
    if not address:
        raise BadDomain(f"{domain} is no address of a host")
    return address


async def _ranked(name: str, resolver: Lookup, shuffle: random.Random) -> list[tuple[int, str]]:
    """(preference, host) of `name`, best first, each host once; the domain itself without MX records."""
    records = await resolver.mx(name)
    if not records:
        return [(0, name)]
    if all(host == _NULL for _, host in records):
        raise NullMx(f"{name}: null MX")  # RFC 7505 §3
    best: dict[str, int] = {}
    for preference, host in records:
        # Whatever else stands in the zone (an octet that means something to a log or a shell) is no host name.
        if is_host_name(host):
            best[host] = min(preference, best.get(host, _NOBODY))
    if not best:
        raise NoMailHost(f"{name}: no MX record names a host")
    ranked = [(preference, host) for host, preference in best.items()]
    shuffle.shuffle(ranked)
    ranked.sort(key=lambda entry: entry[0])  # stable: equal ones keep the order of the shuffle
    return ranked


async def _with_addresses(
    ranked: Sequence[tuple[int, str]], resolver: Lookup, end_s: float
) -> tuple[list[MxHost], list[int]]:
    """Hosts that have addresses, in the order of `ranked`, and the preferences of those whose look-up failed."""
    tasks = [asyncio.create_task(_settled(addresses(name, resolver))) for _, name in ranked]
    try:
        await asyncio.wait(tasks, timeout=max(0.0, end_s - asyncio.get_running_loop().time()))
    finally:
        for task in tasks:
            task.cancel()
    found, troubled = [], []
    for (preference, name), task in zip(ranked, tasks, strict=True):
        result = task.result() if task.done() and not task.cancelled() else DnsTrouble(f"{name}: too slow")
        if isinstance(result, DnsTrouble):
            troubled.append(preference)
        elif result:
            found.append(MxHost(name, preference, tuple(result)))
    return found, troubled


def _better_than_ours(
    found: list[MxHost], own_addresses: Collection[str], domain: str, best_troubled: int
) -> list[MxHost]:
    """Those of `found` with a preference better than that of the best host at one of our addresses."""
    networks = [ipaddress.ip_network(text, strict=False) for text in own_addresses]
    own = _NOBODY
    for host in found:
        ips = [ipaddress.ip_address(address) for address in host.addresses]
        if any(ip in network for ip in ips for network in networks):
            own = min(own, host.preference)
    kept = [host for host in found if host.preference < own]
    if kept:
        return kept
    if best_troubled < own:
        raise DnsTrouble(f"{domain}: a better MX than ours exists, its address is unknown")
    raise MxLoop(f"{domain}: the best MX has our address")
