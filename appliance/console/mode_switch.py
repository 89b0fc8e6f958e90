"""What a box becomes in another mode, and what of it stays: the text to be proposed, and a dry run in words. Pure.

The dry run compares the two configurations table by table, so that it can leave nothing out.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from appliance.config.box_tables import Mode
from appliance.config.host_port import host_port
from appliance.config.load import parse
from appliance.config.schema import Config, Listen, ListenKind
from appliance.console.draft import document_of, set_value

_EVERYWHERE = (("smtp", "0.0.0.0:25"), ("smtp-v6", "[::]:25"))
_NAMED = {"domain": "domain", "next_hop": "next hop", "policy": "policy"}


@dataclass(frozen=True, slots=True)
class DryRun:
    """Sentences."""

    changes: list[str]
    stays: list[str]


def switched(text: str, mode: Mode) -> str:
    """The configuration `text` in `mode`: what the mode needs is added, and nothing else touched.

    Raises:
        StoreError: it cannot be changed by key.
    """
    text = set_value(text, ("mode",), mode.value)
    config = parse(text, "the configuration")
    if mode is Mode.GATEWAY and not any(_takes_mail(listen) for listen in config.listen):
        text = _with_ports(text, config)
    return text


def dry_run(before: str, after: str) -> DryRun:
    """What would change from one text to the other, and what would stay.

    Raises:
        ConfigError: one of them is no configuration.
    """
    old, new = parse(before, "the configuration"), parse(after, "the configuration")
    changes, stays = [], []
    said = document_of(before).get("mode")
    if said != new.mode.value:
        changes.append(f"the file says mode = \"{new.mode.value}\"{'' if said else ', which it did not say'}")
    changes += [f"port {port} is opened" for port in _ports(new) if port not in _ports(old)]
    changes += [f"port {port} is closed" for port in _ports(old) if port not in _ports(new)]
    stays += [f"port {port} is open" for port in _ports(new) if port in _ports(old)]
    for field in msgspec.structs.fields(Config):
        name = field.encode_name
        if name in ("mode", "listen"):
            continue
        if getattr(old, name) != getattr(new, name):
            changes.append(f"[{name}] changes")
        elif name in document_of(after):
            stays.append(_stays(name, new))
    return DryRun(changes, [*stays, "messages in the queue and in the records"])


def _stays(name: str, config: Config) -> str:
    value = getattr(config, name)
    if name in _NAMED:
        names = ", ".join(element.name for element in value)
        rules = sum(len(policy.rule) for policy in config.policy)
        what = _NAMED[name] if len(value) == 1 else f"{_NAMED[name]}s".replace("policys", "policies")
        return f"{len(value)} {what}: {names}" + (f" ({rules} rules)" if name == "policy" else "")
    return f"{name} = {value!r}" if isinstance(value, str | int) else f"[{name}]"


def _ports(config: Config) -> list[str]:
    return [f"{listen.address} ({listen.kind.value})" for listen in config.listen]


def _takes_mail(listen: Listen) -> bool:
    """From others than this box itself."""
    ip = host_port(listen.address).ip
    return listen.kind is ListenKind.SMTP and (ip is None or not ip.is_loopback)


def _with_ports(text: str, config: Config) -> str:
    taken = {listen.name for listen in config.listen}
    for place, (name, address) in enumerate(_EVERYWHERE, len(config.listen)):
        free = name if name not in taken else f"{name}-{place}"
        text = set_value(text, ("listen", place), {"name": free, "address": address})
    return text
