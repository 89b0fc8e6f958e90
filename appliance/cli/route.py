"""`mailweir route ADDRESS`: where mail for an address goes, decided by the very code that delivers it."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from appliance.cli.output import config_option, json_option, print_json, print_lines
from appliance.config.load import load
from appliance.config.schema import Config
from appliance.core.address import BadAddress, parse_address
from appliance.core.errors import GatewayError
from appliance.delivery.route import Route, RouteKind, Router


@click.command()
@click.argument("address")
@config_option
@json_option
@click.pass_context
def route(context: click.Context, address: str, config_path: str, as_json: bool) -> None:
    """Explain where mail for ADDRESS goes; asks DNS where the way is by MX."""
    config = load(config_path)
    try:
        parsed = parse_address(address.encode("utf-8", "surrogatepass"), utf8=True)
    except BadAddress as error:
        raise click.UsageError(f"{address!r} is no mail address: {error}") from error
    if parsed.is_null:
        raise click.UsageError("the empty address is the null sender; nothing goes there")
    router = Router(config)
    found = router.route(parsed)
    lines = router.explain(parsed)
    answer = _facts(found)
    good = found.deliverable
    if found.kind is RouteKind.MX:
        answer["hosts"], trouble = _mail_hosts(found.domain, config)
        for host in answer["hosts"]:
            lines.append(f"  {host['name']} (preference {host['preference']}): {', '.join(host['addresses'])}")
        if trouble:
            answer["dns_trouble"] = trouble
            lines.append(f"DNS gives no way now: {trouble}")
            good = False
    if as_json:
        print_json({"address": str(parsed), **answer, "explanation": lines})
    else:
        print_lines(lines)
    if not good:
        context.exit(1)


def _facts(found: Route) -> dict[str, Any]:
    hop = found.hop
    return {
        "kind": found.kind.value,
        "domain": found.domain,
        "protected": found.protected,
        "policy": found.policy,
        "next_hop": hop.name if hop else "",
        "tls": hop.tls.value if hop else "",
        "servers": [{"url": s.url, "preference": s.preference, "weight": s.weight} for s in hop.servers] if hop else [],
    }


def _mail_hosts(domain: str, config: Config) -> tuple[list[dict[str, Any]], str]:
    """The domain's mail hosts in the order to try, and why there are none."""
    from appliance.dns.mx import hosts
    from appliance.dns.resolver import Resolver

    async def asked() -> list[dict[str, Any]]:
        resolver = Resolver(config.dns)
        found = await hosts(domain, resolver, own_names=(config.hostname.lower(),))
        return [{"name": h.name, "preference": h.preference, "addresses": list(h.addresses)} for h in found]

    try:
        return asyncio.run(asked()), ""
    except (GatewayError, OSError) as error:
        return [], f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
