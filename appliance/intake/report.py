"""What is told of a transaction once it is decided: one event, one tracking row, the counters.

On the hot path, so each fact is taken once and no text is made that nobody reads. Called by `intake.settlement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.core.verdict import Action

if TYPE_CHECKING:
    from appliance.intake.settlement import Settlement


_OK_SAID: Final = f"{reply.OK.code} {reply.OK.enhanced} {reply.OK.text}"
_HOLD: Final = Action.HOLD


def report(transaction: Settlement, answer: Reply) -> None:
    """`answer` is the final reply, before the transaction's id is put into it."""
    site, client, envelope, verdict = transaction.site, transaction.client, transaction.envelope, transaction.verdict
    now_s = site.clock()
    duration_ms = int((now_s - transaction.began_s) * 1e6) / 1000  # round() would cost more than all the rest
    action = _action(transaction, answer)
    rule = verdict.rule
    recipients = [recipient.address.raw for recipient in envelope.recipients]
    route = transaction.route
    hop = route.key if route is not None else ""
    said = _OK_SAID if answer is reply.OK else f"{answer.code} {answer.enhanced} {answer.text}"
    findings = verdict.findings
    facts = [(finding.scanner, finding.rule, finding.value) for finding in findings] if findings else []
    counters = site.counters
    counters.messages[transaction.path_name, action] += 1
    counters.bytes_in += transaction.size_bytes
    counters.recipients += len(recipients)
    fields: dict[str, object] = {
        "id": transaction.id,
        "action": action,
        "path": transaction.path_name,
        "client": client.ip,
        "helo": client.helo,
        "kind": client.kind,
        "sender": envelope.sender.raw,
        "recipients": recipients,
        "size_bytes": transaction.size_bytes,
        "hop": hop,
        "reply": said,
        "ms": duration_ms,
    }
    if client.tls:
        fields["tls"] = client.tls
    if client.login:
        fields["login"] = client.login
    if facts:
        fields["rule"] = rule
        fields["facts"] = facts
        fields["would_differ"] = verdict.counterfactual
    site.events.event("message", fields)
    if site.tracking is not None:
        site.tracking.record((
            transaction.id, now_s, client.ip, client.helo, client.tls, client.login, envelope.sender.raw, recipients,
            transaction.size_bytes, transaction.path_name, action, rule, said, hop, duration_ms, facts,
        ))  # fmt: skip


def _action(transaction: Settlement, answer: Reply) -> str:
    """What became of the message, whoever decided it: policy, a limit, or the next hop."""
    if answer.code < 300:
        return "hold" if transaction.verdict.action is _HOLD else "accept"
    return "defer" if answer.code < 500 else "refuse"
