"""The DHCP client's configuration as text: systemd-networkd's, for the links that want leases. Pure.

Why networkd: it comes with the systemd that the image has anyway; it speaks DHCPv4, DHCPv6 and routers' advertisements
(dhclient is at its end, udhcpc does IPv4 only and runs a script per event, dhcpcd is as able but one more package,
user and supervisor); it runs as its own user in a sandbox; and what it learns of resolvers and clocks lies ready for
`lease` and systemd-timesyncd. It gets those links alone that have leases, and is told to keep what is ours there:
static addresses, routes, and whether the link is up. Called by `bring_up`.
"""

from __future__ import annotations

from appliance.network.values import Wanted

LEASE_METRIC = 1024
GENERAL = "systemd/networkd.conf.d/mailweir.conf"
PREFIX = "systemd/network/10-mailweir-"
_REST = f"{PREFIX}~rest.network"  # `~` sorts behind every name


def render(wanted: Wanted) -> dict[str, str]:
    """Files by their path under `/run`."""
    files = {GENERAL: _GENERAL}
    if wanted.links:
        files[_REST] = _UNMANAGED
    for name in sorted({link for link, _ in wanted.leased}):
        files[f"{PREFIX}{name}.network"] = _LINK.format(
            name=name,
            dhcp="ipv4" if (name, 4) in wanted.leased else "no",
            advertisements="yes" if (name, 6) in wanted.leased else "no",
            metric=LEASE_METRIC,
        )
    return files


_GENERAL = """\
[Network]
ManageForeignRoutes=no
ManageForeignRoutingPolicyRules=no
"""

# Else networkd would take the links without leases for those of a box that nobody has configured yet, give them
# leases, and take their static addresses away.
_UNMANAGED = """\
[Match]
Name=*

[Link]
Unmanaged=yes
"""

# DHCPv6 is started by an advertisement that says so (RFC 4861 §4.2), hence it is never in DHCP=.
# The client's identity is its MAC: a box that is reset to factory settings keeps its lease.
_LINK = """\
[Match]
Name={name}

[Link]
ActivationPolicy=manual
RequiredForOnline=no

[Network]
DHCP={dhcp}
IPv6AcceptRA={advertisements}
LinkLocalAddressing=ipv6
KeepConfiguration=static
LLMNR=no
MulticastDNS=no

[DHCPv4]
ClientIdentifier=mac
RouteMetric={metric}
UseDomains=no
UseHostname=no
UseMTU=no

[DHCPv6]
UseDomains=no
UseHostname=no

[IPv6AcceptRA]
RouteMetric={metric}
UseDomains=no
UseMTU=no
"""
