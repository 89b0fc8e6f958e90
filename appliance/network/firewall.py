"""The firewall as text for `nft -f -`: gateway mode, where nothing comes in but mail and what the network needs. Pure.

One transaction replaces our table as a whole: at no moment are there no rules, or half of them. Other tables are left
alone. No ssh; what goes out is free, what would be routed through is dropped. Called by `bring_up`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from appliance.config.host_port import host_port
from appliance.config.schema import Config

TABLE = "inet mailweir"


def render(config: Config, leased: Iterable[tuple[str, int]]) -> str:
    """The whole transaction; `leased` are the links that DHCP may answer on, by the kernel's names, and IP versions."""
    leases = sorted(leased)
    rules = [*_ALWAYS, *_client_rules(leases)]
    addresses = [listen.address for listen in config.listen]
    if config.metrics.address:
        addresses.append(config.metrics.address)
    rules += sorted({rule for address in addresses if (rule := _port_rule(address))})
    body = "".join(f"\t\t{rule}\n" for rule in rules)
    return (
        f"table {TABLE} {{}}\ndelete table {TABLE}\n"
        f"table {TABLE} {{\n"
        f"\tchain input {{\n\t\ttype filter hook input priority filter; policy drop;\n{body}\t}}\n"
        f"\tchain forward {{\n\t\ttype filter hook forward priority filter; policy drop;\n\t}}\n"
        f"}}\n"
    )


def _client_rules(leases: list[tuple[str, int]]) -> list[str]:
    v4 = ", ".join(f'"{name}"' for name, version in leases if version == 4)
    v6 = ", ".join(f'"{name}"' for name, version in leases if version == 6)
    rules = []
    if v4:
        rules.append(f"iifname {{ {v4} }} udp sport 67 udp dport 68 accept")
    if v6:
        rules.append(f"iifname {{ {v6} }} icmpv6 type nd-router-advert ip6 hoplimit 255 accept")
        rules.append(f"iifname {{ {v6} }} ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept")
    return rules


def _port_rule(address: str) -> str:
    """Opens the port where it is listened on; "" for the loopback, which is open anyway."""
    host, port = host_port(address)
    ip = ipaddress.ip_address(host)
    family = "ip" if ip.version == 4 else "ip6"
    if ip.is_loopback:
        return ""
    if ip.is_unspecified:
        return f"meta nfproto ipv{ip.version} tcp dport {port} accept"
    return f"{family} daddr {ip} tcp dport {port} accept"


# Neighbours' messages must come from the link itself: RFC 4861 §7.1, hence the hop limit.
# Errors are let in although most are `related`: path MTU discovery must not break (RFC 4890 §4.3.1).
_ALWAYS = (
    'iif "lo" accept',
    "ct state vmap { established : accept, related : accept, invalid : drop }",
    "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
    "icmp type echo-request limit rate 20/second burst 50 packets accept",
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept",
    "icmpv6 type echo-request limit rate 20/second burst 50 packets accept",
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
    "icmpv6 type mld-listener-query ip6 saddr fe80::/10 accept",
)
