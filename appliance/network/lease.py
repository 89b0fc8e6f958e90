"""Which resolvers DHCP and advertisements named for a link, from the note that systemd-networkd keeps of it. Pure.

networkd calls these notes private, but others have read them in this form for ten years, and its D-Bus interface says
no more. Should the form change, no resolver is found, and the box asks the root servers itself. Called by `bring_up`.
"""

from __future__ import annotations

import ipaddress

NOTES = "systemd/netif/links"
"""Directory under `/run`; a file for each link, named by its index."""


def resolvers(note: str) -> list[str]:
    """Addresses in the note, as unbound writes them; none if it holds none, or is of another form."""
    for line in note.splitlines():
        key, equals, value = line.partition("=")
        if key == "DNS" and equals:
            return [server for raw in value.split() if (server := _address(raw))]
    return []


def _address(raw: str) -> str:
    """Without port and name for TLS, which follow `:` or `#`; "" if it is none that could be asked."""
    try:
        ip = ipaddress.ip_address(raw.partition("#")[0])
    except ValueError:
        return ""
    # A link-local one needs the link's name, and one on this box itself would be a circle.
    return "" if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast else str(ip)
