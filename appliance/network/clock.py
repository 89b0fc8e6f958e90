"""systemd-timesyncd's configuration as text. Pure; called by `bring_up`."""

from __future__ import annotations

from appliance.config.network_tables import Network

TIMESYNCD = "systemd/timesyncd.conf.d/mailweir.conf"


def render(network: Network) -> dict[str, str]:
    """Files by their path under `/run`. Without servers of its own timesyncd takes networkd's, then Debian's pool."""
    if not network.ntp:
        return {TIMESYNCD: "[Time]\n"}
    # FallbackNTP= empty: who names servers wants no others.
    return {TIMESYNCD: f"[Time]\nNTP={' '.join(network.ntp)}\nFallbackNTP=\n"}
