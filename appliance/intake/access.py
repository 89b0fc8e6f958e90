"""Who may send where: the access rules, decided from the configuration alone (RFC 5321 §7.9; rows of the relay table).

Protected domains take mail from everybody. Everything else is relaying, which networks, verified client certificates
and logins of the configuration may do, and nobody else. Local parts that ask the next hop to relay on (`%`, `!`, a
quoted `@`, source routes) are refused from everybody who may not relay.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from appliance.config.schema import Config
from appliance.core import reply
from appliance.core.address import Address
from appliance.core.envelope import Client
from appliance.core.reply import Reply
from appliance.delivery.route import Route, RouteKind

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_OURS: Final = Reply(550, "5.1.1", "No mailbox here by that name")
BAD_DOMAIN: Final = Reply(550, "5.1.2", "Recipient domain is no domain")
LITERAL_REFUSED: Final = Reply(550, "5.1.2", "Address literals are not accepted")

_RELAY_MARKS: Final = frozenset("%!@:")
_MAX_CACHED: Final = 10_000
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def parse_networks(texts: list[str]) -> tuple[Network, ...]:
    """Networks from CIDR texts, which `config.check` has found well-formed."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def contains(networks: tuple[Network, ...], ip: str) -> bool:
    """Whether `ip` lies in one of `networks`; an IPv4 address mapped into IPv6 counts as IPv4."""
    if not networks:
        return False
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def _is_this_machine(ip: str) -> bool:
    return contains(_LOOPBACK, ip)


class Access:
    """The rules of one configuration."""

    __slots__ = ("_certificates", "_literals", "_logins", "_networks", "_trusted", "_xclient", "proxy")

    def __init__(self, config: Config) -> None:
        relay = config.relay
        self._networks = parse_networks(relay.networks)
        self._certificates = frozenset(text.replace(":", "").lower() for text in relay.client_certificates)
        self._logins = relay.logins
        self._literals = config.dns.allow_address_literals
        self._xclient = parse_networks(config.trusted.xclient)
        self.proxy = parse_networks(config.trusted.proxy)
        self._trusted: dict[str, bool] = {}

    def may_relay(self, client: Client) -> bool:
        """Whether `client` may send to domains that are not ours."""
        if client.login:
            return self._logins
        if client.certificate and client.certificate in self._certificates:
            return True
        if not self._networks:
            return False
        known = self._trusted.get(client.ip)
        if known is None:
            if len(self._trusted) >= _MAX_CACHED:
                self._trusted.clear()
            known = self._trusted[client.ip] = contains(self._networks, client.ip)
        return known

    def may_xclient(self, ip: str) -> bool:
        return contains(self._xclient, ip)

    def may_proxy(self, ip: str) -> bool:
        return contains(self.proxy, ip)

    def refusal(self, client: Client, address: Address, route: Route) -> Reply | None:
        """Why `client` may not send to `address`, or None. `route` is where the router would take it."""
        if route.kind is RouteKind.HOP:
            if _RELAY_MARKS.isdisjoint(address.local) or self.may_relay(client):
                return None
            return reply.RELAY_DENIED
        if route.kind is RouteKind.OWN:
            return NOT_OURS
        if route.kind is RouteKind.CHECK:
            return None if _is_this_machine(client.ip) else NOT_OURS
        if not self.may_relay(client):
            return reply.RELAY_DENIED
        if route.kind is RouteKind.NONE:
            return BAD_DOMAIN
        if address.is_literal and not self._literals:
            return LITERAL_REFUSED
        return None
