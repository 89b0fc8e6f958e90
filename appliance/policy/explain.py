"""A verdict in words: the rule that decided first, the facts under it, and what would have had to differ.

Knows nothing but verdicts. Called by `mailweir trace`, and by whoever shows a verdict to a person.
"""

from __future__ import annotations

import msgspec

from appliance.core.verdict import Finding, Verdict
from appliance.policy.engine import built_in_action

ENVELOPE, FORM, NEXT_HOP, STORAGE = "gateway/envelope", "gateway/form", "gateway/next-hop", "gateway/storage"
"""Who decides beside the rules of policy; they stand where a rule's name would."""


def explain(verdict: Verdict) -> list[str]:
    """Lines for a person, without line ends; octets that are not printable are replaced, for they come from mail."""
    lines = [f"{verdict.action.value}: decided by {_clean(verdict.rule)}"]
    lines += [f"  {_fact(finding)}" for finding in verdict.findings]
    if not verdict.findings:
        lines.append("  nothing was found")
    if verdict.counterfactual:
        lines.append(f"  otherwise: {_clean(verdict.counterfactual)}")
    return lines


def retold(value: object) -> Verdict:
    """The verdict that was written down as JSON.

    Raises:
        ValueError: it is none.
    """
    return msgspec.convert(value, Verdict)


def _fact(finding: Finding) -> str:
    words = [f"{finding.scanner} could not scan:" if finding.trouble else f"{finding.scanner} found", finding.rule]
    if finding.offset >= 0:
        words.append(f"before octet {finding.offset}")
    if finding.value:
        words.append(f"({finding.value})")
    if finding.tags:
        words.append(f"[{', '.join(finding.tags)}]")
    if finding.trouble:
        words.append(f"fail policy {finding.fail.value}: {built_in_action(finding).value}")
    return _clean(" ".join(words))


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
