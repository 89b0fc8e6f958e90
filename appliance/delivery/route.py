"""Where an address leads: the one place that decides it, for intake, delivery and `mailweir route` alike.

Pure look-ups in the configuration: a protected domain goes to its next hop and never needs DNS, anything else to the
smart host or, without one, to the domain's MX hosts, which `delivery.remote` finds. Whether a client *may* send there
is not decided here. Domains are compared as A-labels, so that `bücher.example` and `xn--bcher-kva.example` are one
(RFC 5890 §2.3.2.1). `Router.route` runs at each RCPT: a repeated domain costs one dict look-up.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from appliance.config.schema import Config, Domain, NextHop
from appliance.core.address import Address
from appliance.core.errors import BadDomain, ConfigError
from appliance.dns.names import to_ascii

CHECK_SUFFIX: Final = ".check.mailweir.invalid"
"""Domains of the health gate: each leads somewhere only while it is open, nowhere else, and never to DNS (RFC 6761)."""
CHECK_POLICY: Final = " check"
"""No rules of the user's: a name that no configuration can have."""
MAX_CACHED_DOMAINS: Final = 10_000
"""The peer names the domains: the cache is emptied when it is full, so that it cannot be grown at will."""


class RouteKind(enum.Enum):
    HOP = "hop"  # a protected domain: to its configured next hop
    SMART_HOST = "smart_host"  # not ours: to relay.smart_host
    MX = "mx"  # not ours, no smart host: to the domain's MX hosts
    CHECK = "check"  # the health gate's own domain, while it looks; for clients on this machine alone
    OWN = "own"  # this host's own name, for which no next hop is configured
    NONE = "none"  # no domain, or one that cannot be a domain


@dataclass(frozen=True)
class Route:
    """Where the mail of one domain goes. Equal `key`, equal destination: they can share a transaction."""

    kind: RouteKind
    key: str
    """`hop:NAME`, `mx:DOMAIN`, `own` or `none`: what deliveries are grouped and counted by."""
    domain: str
    """The address's domain as A-labels, lower case; a literal keeps its brackets; empty for NONE."""
    hop: NextHop | None = None
    """For HOP and SMART_HOST."""
    policy: str = "default"
    protected: str = ""
    """Name, as configured, of the protected domain that matched; empty when none did."""

    @property
    def shown(self) -> str:
        """What log and trace call it: the next hop's name as configured, else `mx:DOMAIN`, or nothing."""
        if self.hop is not None:
            return self.hop.name
        return self.key if self.kind is RouteKind.MX else ""

    @property
    def deliverable(self) -> bool:
        return self.kind not in (RouteKind.OWN, RouteKind.NONE)


NO_ROUTE: Final = Route(RouteKind.NONE, "none", "")


class Router:
    """The routes of one configuration. Lives as long as that configuration."""

    __slots__ = ("_cache", "_checks", "_exact", "_hops", "_own", "_smart_host", "_with_subdomains")

    def __init__(self, config: Config) -> None:
        """Raises ConfigError for names that are none, and for next hops that do not exist."""
        self._hops = {hop.name: hop for hop in config.next_hop}
        self._own = _configured("hostname", config.hostname)
        smart_host = config.relay.smart_host
        self._smart_host = self._hop_of("relay.smart_host", smart_host) if smart_host else None
        self._exact: dict[str, Domain] = {}
        self._with_subdomains: dict[str, Domain] = {}
        self._cache: dict[str, Route] = {}
        self._checks: dict[str, NextHop] = {}
        for domain in config.domain:
            self._hop_of(f"domain {domain.name}", domain.next_hop)
            name = _configured("domain", domain.name)
            self._exact.setdefault(name, domain)
            if domain.subdomains:
                self._with_subdomains.setdefault(name, domain)

    def route(self, address: Address) -> Route:
        """Where mail for `address` goes; never raises."""
        route = self._cache.get(address.domain)
        if route is None:
            if len(self._cache) >= MAX_CACHED_DOMAINS:
                self._cache.clear()
            route = self._cache[address.domain] = self._find(address.domain)
        return route

    def open_check(self, domain: str, hop: NextHop) -> None:
        """From now on `domain`, which must end in `CHECK_SUFFIX`, leads to `hop`: for clients on this machine."""
        assert domain.endswith(CHECK_SUFFIX)
        self._checks[domain] = hop
        self._cache.pop(domain, None)

    def close_check(self, domain: str) -> None:
        """It leads nowhere again."""
        self._checks.pop(domain, None)
        self._cache.pop(domain, None)

    def explain(self, address: Address) -> list[str]:
        """The decision of `route` in sentences for a person, what decided first."""
        route = self.route(address)
        lines = [self._reason(route, address.domain)]
        if route.domain and route.domain != address.domain:
            lines.append(f"{address.domain} is looked up as {route.domain}")
        if route.hop is not None:
            lines.append(f"next hop {route.hop.name}, TLS {route.hop.tls.value}:")
            servers = sorted(route.hop.servers, key=lambda server: server.preference)
            lines += [f"  {s.url} (preference {s.preference}, weight {s.weight})" for s in servers]
        if route.kind is RouteKind.HOP:
            lines.append(f"policy {route.policy}")
        return lines

    def _find(self, raw_domain: str) -> Route:
        try:
            domain = raw_domain if raw_domain.startswith("[") else to_ascii(raw_domain)
        except BadDomain:
            return NO_ROUTE
        if domain.endswith(CHECK_SUFFIX):
            checked = self._checks.get(domain)
            if checked is None:
                return Route(RouteKind.OWN, "own", domain)
            return Route(RouteKind.CHECK, f"hop:{checked.name}", domain, checked, CHECK_POLICY)
        protected = self._protected(domain)
        if protected is not None:
            hop = self._hops[protected.next_hop]
            return Route(RouteKind.HOP, f"hop:{hop.name}", domain, hop, protected.policy, protected.name)
        if domain == self._own:
            return Route(RouteKind.OWN, "own", domain)
        if self._smart_host is not None:
            return Route(RouteKind.SMART_HOST, f"hop:{self._smart_host.name}", domain, self._smart_host)
        return Route(RouteKind.MX, f"mx:{domain}", domain)

    def _protected(self, domain: str) -> Domain | None:
        """The configured domain that covers `domain`: itself, else the nearest parent that takes subdomains."""
        exact = self._exact.get(domain)
        if exact is not None or domain.startswith("["):
            return exact
        parent = domain.partition(".")[2]
        while parent:
            found = self._with_subdomains.get(parent)
            if found is not None:
                return found
            parent = parent.partition(".")[2]
        return None

    def _hop_of(self, who: str, name: str) -> NextHop:
        if name not in self._hops:
            raise ConfigError(f"{who}: there is no [[next_hop]] named {name!r}")
        return self._hops[name]

    @staticmethod
    def _reason(route: Route, domain: str) -> str:
        match route.kind:
            case RouteKind.HOP if to_ascii(route.protected) == route.domain:
                return f"{domain} is the protected domain {route.protected}: no MX look-up"
            case RouteKind.HOP:
                return f"{domain} is a subdomain of the protected domain {route.protected}: no MX look-up"
            case RouteKind.SMART_HOST:
                return f"{domain} is not ours: relay.smart_host takes it, no MX look-up"
            case RouteKind.MX:
                return f"{domain} is not ours and there is no smart host: its MX hosts are asked for"
            case RouteKind.OWN:
                return f"{domain} is this host's own name and no protected domain: nothing is delivered there"
            case _:
                return f"{domain or 'an address without domain'} leads nowhere: no valid domain name"


def _configured(key: str, name: str) -> str:
    try:
        return to_ascii(name)
    except BadDomain as error:
        raise ConfigError(f"{key} {name!r}: {error}") from error
