"""Would this configuration make an open relay? The answer that no other key may soften but `relay.allow_open_relay`.

Looks at who may relay: the networks, also those whose word we take for who a client is (`trusted`), certificates,
domains so wide that they are no domain. Arithmetic on addresses, no I/O. Called by `config.check`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from appliance.config.hops import FINGERPRINT, FINGERPRINT_REMEDY
from appliance.config.lines import KeyPath
from appliance.config.problem import Report
from appliance.config.schema import Config

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Public addresses that may be covered in all before it counts as everybody.
_V4_LIMIT = 1 << (32 - 8)
_V6_LIMIT = 1 << (128 - 19)
_V4_WIDE = 1 << (32 - 16)
_V6_WIDE = 1 << (128 - 32)

_PRIVATE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918 §3
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",  # RFC 1122 §3.2.1.3
        "169.254.0.0/16",  # RFC 3927 §2.1
        "100.64.0.0/10",  # RFC 6598 §7
        "fc00::/7",  # RFC 4193 §3.1
        "fe80::/10",  # RFC 4291 §2.5.6
        "::1/128",
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_V4_ALL = ipaddress.IPv4Network("0.0.0.0/0")


def check_relaying(config: Config, report: Report) -> None:
    """Reports networks that cannot be read, and everything that would let strangers relay."""
    relay, trusted = config.relay, config.trusted
    keys: tuple[tuple[KeyPath, Sequence[str], str], ...] = (
        (("relay", "networks"), relay.networks, "may relay to everywhere: an open relay"),
        (("trusted", "xclient"), trusted.xclient, "may claim to be any client by XCLIENT: an open relay"),
        (("trusted", "proxy"), trusted.proxy, "may claim to be any client by PROXY: an open relay"),
    )
    for key, texts, consequence in keys:
        _check_breadth(key, _networks(key, texts, report), consequence, relay.allow_open_relay, report)
    for index, domain in enumerate(config.domain):
        if domain.subdomains and "." not in domain.name.strip("."):
            report.error(
                ("domain", index, "subdomains"),
                f"all domains under {domain.name!r} would be protected ones: mail for strangers is taken",
                "name the domains that are yours",
            )
    for index, fingerprint in enumerate(relay.client_certificates):
        if not FINGERPRINT.fullmatch(fingerprint):
            path: KeyPath = ("relay", "client_certificates", index)
            report.error(path, f"{fingerprint!r} is no fingerprint", FINGERPRINT_REMEDY)
    if relay.client_certificates and not config.tls.client_ca:
        report.error(
            ("relay", "client_certificates"),
            "no client certificate is ever asked for",
            "set tls.client_ca to the PEM file of the authority that signed them",
        )
    if relay.allow_open_relay:
        report.warning(
            ("relay", "allow_open_relay"),
            "THE GUARD AGAINST OPEN RELAYS IS OFF: spammers find an open relay within hours",
            "remove it, unless the host cannot be reached from outside",
        )


def _networks(path: KeyPath, texts: Sequence[str], report: Report) -> list[Network]:
    networks: list[Network] = []
    for index, text in enumerate(texts):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            report.error((*path, index), str(error), _network_remedy(text))
    return networks


def _network_remedy(text: str) -> str:
    try:
        return f"write {ipaddress.ip_network(text, strict=False)}"
    except ValueError:
        return "write an address or a network as in 192.0.2.0/24 or 2001:db8::/32"


def _check_breadth(path: KeyPath, networks: Iterable[Network], consequence: str, allowed: bool, report: Report) -> None:
    four, six = public_counts(networks)
    if four > _V4_LIMIT or six > _V6_LIMIT:
        if not allowed:
            covered = "IPv4" if four > _V4_LIMIT else "IPv6"
            report.error(
                path,
                f"together these cover more public {covered} addresses than anybody owns; all of them {consequence}",
                "list your own networks only",
            )
    elif four > _V4_WIDE or six > _V6_WIDE:
        report.warning(path, "very wide for public addresses; each host in there may relay", "narrow it where you can")


def public_counts(networks: Iterable[Network]) -> tuple[int, int]:
    """How many public IPv4 and IPv6 addresses the union of `networks` covers.

    An IPv4 client seen through an IPv6 socket has a mapped address (RFC 4291 §2.5.5.2), so an IPv6 network counts
    for the IPv4 addresses mapped into it too.
    """
    four: list[ipaddress.IPv4Network] = []
    six: list[ipaddress.IPv6Network] = []
    for network in networks:
        if isinstance(network, ipaddress.IPv4Network):
            four.append(network)
            continue
        six.append(network)
        if network.supernet_of(_MAPPED):
            four.append(_V4_ALL)
        elif network.subnet_of(_MAPPED):
            first = int(network.network_address) & 0xFFFFFFFF
            four.append(ipaddress.IPv4Network((first, network.prefixlen - 96)))
    return (
        sum(map(_public, ipaddress.collapse_addresses(four))),
        sum(map(_public, ipaddress.collapse_addresses(six))),
    )


def _public(network: Network) -> int:
    count = network.num_addresses
    for private in _PRIVATE:
        if private.version != network.version:
            continue
        if network.subnet_of(private):  # type: ignore[arg-type]
            return 0
        if network.supernet_of(private):  # type: ignore[arg-type]
            count -= private.num_addresses
    return count
