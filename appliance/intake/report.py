"""What is told of a transaction once it is decided: one event, one tracking row, the counters.

On the hot path, so each fact is taken once and no text is made that nobody reads. Called by `intake.settlement`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appliance.core import reply
from appliance.core.address import Address
from appliance.core.reply import Reply
from appliance.core.verdict import ACCEPTED, Action
from appliance.policy.explain import ENVELOPE, FORM, NEXT_HOP, STORAGE

if TYPE_CHECKING:
    from appliance.intake.settlement import Settlement

_NO_ROOM: Final = ("4.3.0", "4.3.1")
_OK_SAID: Final = f"{reply.OK.code} {reply.OK.enhanced} {reply.OK.text}"
_HOLD: Final = Action.HOLD


def report(transaction: Settlement, answer: Reply) -> None:
    """`answer` is the final reply, before the transaction's id is put into it."""
    site, client, envelope, verdict = transaction.site, transaction.client, transaction.envelope, transaction.verdict
    now_s = site.clock()
    duration_ms = int((now_s - transaction.began_s) * 1e6) / 1000  # round() would cost more than all the rest
    action = _action(transaction, answer)
    rule = _rule(transaction, answer)
    recipients = [recipient.address.raw for recipient in envelope.recipients]
    route = transaction.route
    hop = route.shown if route is not None else ""
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
        "duration_ms": duration_ms,
    }
    if client.tls:
        fields["tls"] = client.tls
    if client.login:
        fields["login"] = client.login
    if facts or rule != ACCEPTED.rule:
        fields["rule"] = rule
    if facts:
        fields["facts"] = facts
        fields["would_differ"] = verdict.counterfactual
    site.events.event("message", fields)
    if site.tracking is not None:
        site.tracking.record((
            transaction.id, now_s, client.ip, client.helo, client.tls, client.login, envelope.sender.raw, recipients,
            transaction.size_bytes, transaction.path_name, action, rule, said, hop, duration_ms,
            verdict if facts else None,
        ))  # fmt: skip


def report_refusal(transaction: Settlement, refusal: Reply, address: Address | None, rule: str) -> None:
    """A refusal before the body, which carries the transaction's id: the row that makes it known to `trace`.

    One a transaction is enough, for 20,000 recipients may be refused in one; its final row takes the place of this.
    """
    site, client = transaction.site, transaction.client
    if site.tracking is None or transaction.told:
        return
    transaction.told = True
    if rule == ENVELOPE and refusal.enhanced in _NO_ROOM:
        rule = STORAGE
    now_s = site.clock()
    site.tracking.record((
        transaction.id, now_s, client.ip, client.helo, client.tls, client.login, transaction.envelope.sender.raw,
        [address.raw] if address is not None else [], 0, "", _word(refusal), rule,
        f"{refusal.code} {refusal.enhanced} {refusal.text}", "", round((now_s - transaction.began_s) * 1000, 3), None,
    ))  # fmt: skip


def _rule(transaction: Settlement, answer: Reply) -> str:
    """Who decided: a rule of policy, or what `policy.explain` calls a decider."""
    if answer.code < 300 or answer in (reply.REFUSED, reply.DEFERRED, reply.SCANNER_DOWN):
        return transaction.verdict.rule
    if transaction.refusal is None:
        return STORAGE if transaction.path_name == "spool" else NEXT_HOP
    return STORAGE if answer.enhanced in _NO_ROOM else FORM


def _action(transaction: Settlement, answer: Reply) -> str:
    """What became of the message, whoever decided it: policy, a limit, or the next hop."""
    if answer.code < 300:
        return "hold" if transaction.verdict.action is _HOLD else "accept"
    return _word(answer)


def _word(refusal: Reply) -> str:
    return "defer" if refusal.code < 500 else "refuse"
