"""The resolver's configuration as text: unbound, validating, on loopback alone; and resolv.conf that names it. Pure.

Why unbound and not systemd-resolved: its validation is what DANE can lean on, resolved's is off in Debian and called
experimental by its makers; it can ask the root servers itself, which a mail gateway wants (block lists refuse the
big public resolvers) and which resolved cannot. It costs one package and some 12 MiB of memory with these caches.
The root's key comes from the package dns-root-data and is renewed with the image: nothing is written to the card.
Called by `bring_up`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from appliance.config.network_tables import Network

UNBOUND = "mailweir/unbound.conf"
RESOLV = "mailweir/resolv.conf"
"""To be linked from /etc/resolv.conf."""
_USUAL_NTP = "pool.ntp.org"  # Debian's pool is in it, which systemd-timesyncd falls back to


def render(network: Network, forwarders: Sequence[str]) -> dict[str, str]:
    """Files by their path under `/run`; without `forwarders` the root servers are asked."""
    lines = [_SERVER]
    # A clock that was never set cannot verify signatures, and needs names to be set. NTP's answers are not signed
    # either, so that nothing is lost where their names are not verified.
    unverified = [name for name in network.ntp if not _is_address(name)] if network.ntp else [_USUAL_NTP]
    if forwarders:
        # Our own domains behind somebody's resolver: often unsigned inside and signed outside, or made up.
        unverified += network.search
        lines.append("    unblock-lan-zones: yes\n    insecure-lan-zones: yes\n")
    lines += [f'    domain-insecure: "{name}"\n' for name in dict.fromkeys(unverified)]
    if forwarders:
        lines.append('forward-zone:\n    name: "."\n')
        lines += [f"    forward-addr: {server}\n" for server in forwarders]
    search = f"search {' '.join(network.search)}\n" if network.search else ""
    return {UNBOUND: "".join(lines), RESOLV: f"nameserver 127.0.0.1\noptions edns0 trust-ad\n{search}"}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


_SERVER = """\
server:
    interface: 127.0.0.1
    interface: ::1
    access-control: 127.0.0.0/8 allow
    access-control: ::1 allow
    chroot: ""
    pidfile: ""
    use-syslog: yes
    num-threads: 1
    module-config: "validator iterator"
    trust-anchor-file: "/usr/share/dns/root.key"
    trust-anchor-signaling: no
    harden-dnssec-stripped: yes
    harden-glue: yes
    harden-below-nxdomain: yes
    harden-algo-downgrade: no
    qname-minimisation: yes
    aggressive-nsec: yes
    prefetch: yes
    hide-identity: yes
    hide-version: yes
    edns-buffer-size: 1232
    msg-cache-size: 4m
    rrset-cache-size: 8m
    key-cache-size: 1m
    neg-cache-size: 1m
"""
