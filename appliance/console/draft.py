"""From answers to the text of a configuration: single tables are set, everything else stays as it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from appliance.config.box_tables import Keyboard, Mode
from appliance.config.lines import KeyPath
from appliance.config.schema import Config

EMPTY = """\
version = 1
hostname = ""

[tls]
self_signed = true

[[listen]]
name = "smtp"
address = "0.0.0.0:25"

[[listen]]
name = "smtp6"
address = "[::]:25"
"""
"""Where nothing was delivered."""


_OF_THE_LINK = ("match_mac", "mtu", "mac", "speed_mbit", "duplex")
"""Keys of an interface that nobody is asked about here."""


@dataclass(slots=True)
class Port:
    """One port's answers."""

    name: str = ""
    vlan: int = 0
    dhcp: bool = True
    address4: str = ""
    gateway4: str = ""
    address6: str = ""
    gateway6: str = ""

    def in_words(self) -> str:
        where = self.name + (f", VLAN {self.vlan}" if self.vlan else "")
        if self.dhcp:
            return f"{where}, by DHCP"
        found = [
            f"{address}{f' by {gateway}' if gateway else ''}"
            for address, gateway in ((self.address4, self.gateway4), (self.address6, self.gateway6))
            if address
        ]
        return f"{where}, {' and '.join(found)}"


@dataclass(slots=True)
class Answers:
    """Of the first boot, and what the pages begin with."""

    port: Port = field(default_factory=Port)
    dns: list[str] = field(default_factory=list)
    ntp: list[str] = field(default_factory=list)
    hostname: str = ""
    domain: str = ""
    server: str = ""
    mode: Mode = Mode.GATEWAY
    keyboard: Keyboard = Keyboard.US


def is_simple(config: Config) -> bool:
    """Whether the network is one port, with or without a VLAN, as these questions make it."""
    network = config.network
    return not network.bond and not network.bridge and len(network.interface) <= 1 and len(network.vlan) <= 1


def port_of(config: Config) -> Port:
    """The answers that would have made the network of `config`, which is simple."""
    if not config.network.interface:
        return Port()
    it = config.network.interface[0]
    port = Port(name=it.name, dhcp=it.dhcp4 or it.dhcp6)
    for vlan in config.network.vlan:
        port.name, port.vlan = vlan.on, vlan.id
    for address in it.addresses:
        setattr(port, "address6" if ":" in address else "address4", address)
    for gateway in it.gateways:
        setattr(port, "gateway6" if ":" in gateway else "gateway4", gateway)
    return port


def with_port(text: str, port: Port) -> str:
    """For a simple network; what is set of the same port's link stays.

    Raises StoreError where the text cannot be changed by key; all of these do.
    """
    name = f"vlan{port.vlan}" if port.vlan else port.name
    before: dict[str, Any] = next(iter(document_of(text).get("network", {}).get("interface", [])), {})
    kept = _OF_THE_LINK if before.get("name") == name else ()
    interface: dict[str, Any] = {"name": name, **{key: before[key] for key in kept if key in before}}
    if port.dhcp:
        interface |= {"dhcp4": True, "dhcp6": True}
    else:
        interface["addresses"] = [address for address in (port.address4, port.address6) if address]
        interface["gateways"] = [gateway for gateway in (port.gateway4, port.gateway6) if gateway]
    text = set_value(text, ("network", "interface", 0), interface)
    if port.vlan:
        return set_value(text, ("network", "vlan", 0), {"name": name, "on": port.name, "id": port.vlan})
    return _without(text, "network.vlan")


def with_dns(text: str, servers: list[str], *, dhcp: bool) -> str:
    """Without `servers` those that DHCP names are asked; without DHCP the box finds its own way from the root."""
    text = _without(_without(text, "network.dns"), "network.dns_from_dhcp")
    if servers:
        return set_value(text, ("network", "dns"), servers)
    return set_value(text, ("network", "dns_from_dhcp"), True) if dhcp else text


def with_ntp(text: str, servers: list[str]) -> str:
    text = _without(text, "network.ntp")
    return set_value(text, ("network", "ntp"), servers) if servers else text


def with_hostname(text: str, name: str) -> str:
    return set_value(text, ("hostname",), name)


def with_keyboard(text: str, keyboard: Keyboard) -> str:
    if keyboard is Keyboard.US:
        return _without(text, "console.keyboard")
    return set_value(text, ("console", "keyboard"), keyboard.value)


def with_domain(text: str, name: str, url: str) -> str:
    """Mail for `name` goes to the server at `url`: its own next hop is changed, or one is made for it."""
    document = document_of(text)
    domains, hops = document.get("domain", []), document.get("next_hop", [])
    places = [place for place, domain in enumerate(domains) if domain.get("name", "").lower() == name]
    hop = domains[places[0]].get("next_hop", "") if places else ""
    if places and sum(domain.get("next_hop") == hop for domain in domains) == 1:
        for place, next_hop in enumerate(hops):
            if next_hop.get("name") == hop:
                return set_value(text, ("next_hop", place, "servers"), [{"url": url}])
    hop = _free_name(name, {next_hop.get("name", "") for next_hop in hops})
    text = set_value(text, ("next_hop", len(hops)), {"name": hop, "servers": [{"url": url}]})
    if places:
        return set_value(text, ("domain", places[0], "next_hop"), hop)
    return set_value(text, ("domain", len(domains)), {"name": name, "next_hop": hop})


def without_domain(text: str, name: str) -> str:
    """The domain goes, and its next hop with it where nothing else refers to that."""
    domains = document_of(text).get("domain", [])
    gone = [domain for domain in domains if domain.get("name", "").lower() == name]
    text = removed(text, f"domain[{gone[0]['name']}]" if gone else f"domain[{name}]")
    document = document_of(text)
    hop = gone[0].get("next_hop", "")
    used = {domain.get("next_hop") for domain in document.get("domain", [])}
    used.add(document.get("relay", {}).get("smart_host"))
    known = any(next_hop.get("name") == hop for next_hop in document.get("next_hop", []))
    return removed(text, f"next_hop[{hop}]") if known and hop not in used else text


def first(text: str, answers: Answers) -> str:
    """The whole first configuration, on what was delivered."""
    text = with_hostname(text or EMPTY, answers.hostname)
    text = with_keyboard(set_value(text, ("mode",), answers.mode.value), answers.keyboard)
    for key in ("domain", "next_hop", "network"):
        text = _without(text, key)
    if answers.port.name:
        text = with_port(text, answers.port)
        text = with_dns(text, answers.dns, dhcp=answers.port.dhcp)
    elif answers.dns:
        text = with_dns(text, answers.dns, dhcp=False)
    return with_domain(with_ntp(text, answers.ntp), answers.domain, answers.server)


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _without(text: str, key: str) -> str:
    value: Any = document_of(text)
    for part in key.split("."):
        if part not in value:
            return text
        value = value[part]
    return removed(text, key)


# What edits brings tomlkit along, some 4 MiB; a menu that nobody changes anything in does without.


def document_of(text: str) -> dict[str, Any]:
    """As `config.store.edit`'s, and the same for the two below."""
    from appliance.config.store import edit

    return edit.document_of(text)


def set_value(text: str, path: KeyPath, value: Any) -> str:
    from appliance.config.store import edit

    return edit.set_value(text, path, value)


def removed(text: str, key: str) -> str:
    from appliance.config.store import edit

    return edit.removed(text, key)
