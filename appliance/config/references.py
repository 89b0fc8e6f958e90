"""Do the names in the configuration fit together: next hops, policies, domains, rules, each there and there once.

No I/O. Called by `config.check`.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.config.lines import KeyPath
from appliance.config.load import did_you_mean
from appliance.config.problem import Report
from appliance.config.schema import Config, Policy, Rule
from appliance.core.address import BadAddress, parse_address, parse_domain
from appliance.core.errors import BadDomain
from appliance.core.verdict import Action
from appliance.dns.names import to_ascii

_SCANNERS = ("patterns", "digest", "clamd")


def check_references(config: Config, report: Report) -> None:
    """Reports names that are missing, dangling, doubled or unused, and addresses that are none."""
    _check_own_names(config, report)
    for table, names in (
        ("listen", [listen.name for listen in config.listen]),
        ("next_hop", [hop.name for hop in config.next_hop]),
        ("policy", [policy.name for policy in config.policy]),
    ):
        _check_unique(table, names, report)
    _check_domains(config, report)
    hops = [hop.name for hop in config.next_hop]
    if config.relay.smart_host and config.relay.smart_host not in hops:
        _dangling(("relay", "smart_host"), "next_hop", config.relay.smart_host, hops, report)
    used = {domain.next_hop for domain in config.domain} | {config.relay.smart_host}
    for index, name in enumerate(hops):
        if name not in used:
            report.warning(
                ("next_hop", index), f"nothing leads to next hop {name!r}", "remove it, or let a domain use it"
            )
    if config.relay.smart_host and config.relay.smart_host in {domain.next_hop for domain in config.domain}:
        report.warning(
            ("relay", "smart_host"),
            "the smart host is also a protected domain's next hop: what it sends to others through us comes back to it",
            "send outgoing mail by MX, or through a server that does not send through this gateway",
        )
    _check_policies(config, report)


def _check_own_names(config: Config, report: Report) -> None:
    try:
        name = parse_domain(config.hostname)
    except BadAddress:
        report.error(
            ("hostname",), f"{config.hostname!r} is no host name", "write this host's full name, as in gw.example.com"
        )
    else:
        if name.startswith("["):
            report.error(("hostname",), "an address is no name to greet with", "write this host's full name")
        elif "." not in name or name.endswith((".localdomain", ".local")):
            report.warning(
                ("hostname",), f"{name!r} is no name that other servers can look up", "write this host's full name"
            )
    for path, text, extra in (
        (("postmaster",), config.postmaster, ""),
        (("queue", "double_bounce"), config.queue.double_bounce, 'or "drop"'),
    ):
        if text and not (extra and text == "drop"):
            try:
                parse_address(text.encode("utf-8", "replace"), utf8=True)
            except BadAddress as error:
                report.error(path, f"{text!r} is no address: {error}", f"write user@domain {extra}".rstrip())


def _check_unique(table: str, names: Iterable[str], report: Report) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name:
            report.error((table, index, "name"), "the name is empty", "give it a name")
        elif name in seen:
            report.error((table, index, "name"), f"{name!r} is there twice", "give each its own name")
        seen.add(name)


def _dangling(path: KeyPath, table: str, name: str, known: list[str], report: Report) -> None:
    report.error(path, f"there is no [[{table}]] named {name!r}", did_you_mean(name, known))


def _check_domains(config: Config, report: Report) -> None:
    hops = [hop.name for hop in config.next_hop]
    policies = [policy.name for policy in config.policy]
    seen: set[str] = set()
    for index, domain in enumerate(config.domain):
        try:
            name = to_ascii(parse_domain(domain.name))
        except (BadAddress, BadDomain):
            report.error(
                ("domain", index, "name"),
                f"{domain.name!r} is no domain",
                "write it as in example.com; see also subdomains",
            )
        else:
            if name in seen:
                report.error(
                    ("domain", index, "name"), f"the domain {domain.name!r} is there twice", "remove one of them"
                )
            seen.add(name)
        if domain.next_hop not in hops:
            _dangling(("domain", index, "next_hop"), "next_hop", domain.next_hop, hops, report)
        if domain.policy not in policies and domain.policy != "default":
            _dangling(("domain", index, "policy"), "policy", domain.policy, [*policies, "default"], report)
    relay = config.relay
    if not config.domain and not (relay.networks or relay.client_certificates or config.submission.users_file):
        report.warning((), "no domain is protected and nobody may relay: all mail is refused", "add a [[domain]]")


def _check_policies(config: Config, report: Report) -> None:
    for index, policy in enumerate(config.policy):
        path: KeyPath = ("policy", index)
        if not policy.scan or any(_waves_everything_through(rule) for rule in policy.rule[:1]):
            _check_unscanned(policy, path, report)
        for place, rule in enumerate(policy.rule):
            if rule.scanner not in _SCANNERS and not set(rule.scanner) & set("*?["):
                remedy = did_you_mean(rule.scanner, [*_SCANNERS, "*"])
                report.error((*path, "rule", place, "scanner"), f"there is no scanner {rule.scanner!r}", remedy)
            if _matches_everything(rule) and place + 1 < len(policy.rule):
                report.warning(
                    (*path, "rule", place),
                    "this rule matches every finding, those below it never decide",
                    "move it to the end",
                )
                break


def _check_unscanned(policy: Policy, path: KeyPath, report: Report) -> None:
    """A policy that lets everything pass is for single domains; `default` is what any source and any target get."""
    if policy.name == "default":
        report.error(
            (*path, "scan") if not policy.scan else (*path, "rule", 0),
            "the policy 'default' holds from anywhere to anywhere: nothing would be scanned",
            "make a policy of another name for the domains that want none, and leave 'default' scanning",
        )
    else:
        report.warning(
            path, f"policy {policy.name!r} passes viruses on", "use it for the domains only that are scanned elsewhere"
        )


def _matches_everything(rule: Rule) -> bool:
    return rule.scanner == "*" and rule.match == "*" and not rule.tag


def _waves_everything_through(rule: Rule) -> bool:
    return _matches_everything(rule) and rule.action is Action.ACCEPT
