"""Why a message met the fate that it met, for `mailweir trace`: who decided, the facts, what would have had to differ.

A rule of policy is explained by `policy.explain` from the verdict as it was tracked. What a limit, the envelope, the
next hop or the disk decided is explained by the reply that was given. Reads a tracking row; asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.core.verdict import ACCEPTED, Action, Verdict
from appliance.intake.access import BAD_DOMAIN, LITERAL_REFUSED, NOT_OURS
from appliance.policy.explain import ENVELOPE, FORM, NEXT_HOP, STORAGE, explain, retold

_DECIDERS = {
    ENVELOPE: "sender, recipient or client",
    FORM: "the message's form or size",
    NEXT_HOP: "the next hop",
    STORAGE: "want of room or a fault of the disk",
}


def _said(answer: Reply) -> str:
    return f"{answer.code} {answer.enhanced} {answer.text}"


_OTHERWISE = {
    _said(answer): condition
    for answer, condition in (
        (reply.RELAY_DENIED, "had the recipient been in a [[domain]], or the client logged in or in relay.networks"),
        (NOT_OURS, "were there a [[domain]] of that name"),
        (BAD_DOMAIN, "had the recipient's domain been a name that can exist"),
        (LITERAL_REFUSED, "were dns.allow_address_literals true"),
        (reply.SENDER_MISMATCH, "had the sender been one of the login's addresses"),
        (reply.RATE_LIMITED, "had the client stayed below limits.messages_per_minute and recipients_per_minute"),
        (reply.TOO_MANY_RECIPIENTS, "were there no more recipients than limits.recipients_per_message"),
        (reply.ONE_DESTINATION, "had the recipient come in a transaction of its own"),
        (reply.NO_REQUIRETLS_WITHOUT_TLS, "had the client begun TLS"),
        (reply.NO_MEMORY, "had the worker held fewer bodies than limits.memory_per_worker"),
        (reply.TOO_BIG, "had it been no longer than limits.message_size"),
        (reply.BARE_NEWLINE, "had all its lines ended in CRLF, or were delivery.bare_newline `normalise`"),
        (reply.OVERLONG_LINE, "had it no line over limits.body_line"),
        (reply.BAD_HEADER, "had its header section kept to limits.header_section, header_fields and header_line"),
        (reply.MAIL_LOOP, "had it no more Received fields than limits.hops"),
    )
}


def why(message: Mapping[str, Any]) -> list[str]:
    """Lines for a person about a row of the tracking data base, who decided first; none where there is no row."""
    action, rule, said = message.get("action"), message.get("rule", ""), message.get("reply", "")
    if not action:
        return []
    verdict = _verdict(message)
    if rule not in _DECIDERS:
        return explain(verdict or Verdict(Action(action), rule))
    lines = [f"{action}: decided by {_DECIDERS[rule]}: {said}"]
    if verdict is not None:
        lines += explain(verdict)[1:-1] if verdict.counterfactual else explain(verdict)[1:]
    if rule in (NEXT_HOP, STORAGE):
        policy = verdict or ACCEPTED
        lines.append(f"  otherwise: had it been taken there: {policy.action.value}, decided by {policy.rule}")
    elif said in _OTHERWISE:
        lines.append(f"  otherwise: {_OTHERWISE[said]}, it had gone on")
    return lines


def _verdict(message: Mapping[str, Any]) -> Verdict | None:
    try:
        return retold(message["verdict"]) if message.get("verdict") else None
    except ValueError:  # written by another version
        return None
