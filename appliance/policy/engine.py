"""Makes a verdict of what the scanners found. Order of precedence:

1. The configured rules, top to bottom. A rule that holds, defers or refuses decides as soon as a finding matches it.
   A rule that accepts waives the findings that match it, and only those: the others go on to the next rule, so that
   an exception for one phrase does not let a virus through.
2. A finding with the tag `virus`, and a scanner's trouble, are waived only by a rule that aims at them: its `match`
   is not `*`, or its `tag` is one that the finding carries. A finding with the tag `info` (a digest) is matched only
   by a rule that names its scanner.
3. What is left is judged by the built-in rules: trouble by the scanner's fail policy (open: nothing), `info`: nothing,
   anything else refuses. The severest wins; among equals a finding comes before trouble, and the first before others.
4. Nothing left: accepted, by the rule that waived something, or by default.

A fact is never changed or dropped: all findings stand in the verdict, the deciding one first. Called by the
transaction, once a message; reads no configuration but the policy it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from appliance.config.schema import Policy, Rule
from appliance.core.verdict import ACCEPTED, Action, FailPolicy, Finding, Verdict

_SEVERITY: Final = {action: rank for rank, action in enumerate(Action)}  # Action lists the mildest first
_BY_FAIL_POLICY: Final = {
    FailPolicy.OPEN: Action.ACCEPT,
    FailPolicy.TEMPFAIL: Action.DEFER,
    FailPolicy.REFUSE: Action.REFUSE,
}


def decide(policy: Policy, findings: Sequence[Finding]) -> Verdict:
    """The verdict of `policy` on a message of which `findings` are all that the scanners found."""
    if not findings:
        return ACCEPTED
    rules = [(rule.name or f"rule {number}", rule) for number, rule in enumerate(policy.rule, 1)]
    return _decide(rules, findings, explain=True)


def _decide(rules: list[tuple[str, Rule]], findings: Sequence[Finding], *, explain: bool) -> Verdict:
    left = list(findings)
    waived_by = ""
    for name, rule in rules:
        matched = [finding for finding in left if _matches(rule, finding)]
        if not matched:
            continue
        if rule.action is not Action.ACCEPT:
            without = _without(rules, name, findings) if explain else ""
            return Verdict(rule.action, name, _first(matched[0], findings), without)
        waived_by = waived_by or name
        left = [finding for finding in left if not _matches(rule, finding)]
    decider = _severest(left)
    if decider is not None:
        return Verdict(
            built_in_action(decider),
            f"{decider.scanner}/{decider.rule}",
            _first(decider, findings),
            _built_in_counterfactual(decider, left) if explain else "",
        )
    if waived_by:
        without = _without(rules, waived_by, findings) if explain else ""
        return Verdict(Action.ACCEPT, waived_by, tuple(findings), without)
    return Verdict(Action.ACCEPT, ACCEPTED.rule, tuple(findings), "")


def built_in_action(finding: Finding) -> Action:
    """What follows from one finding when no rule speaks of it."""
    if finding.trouble:
        return _BY_FAIL_POLICY[finding.fail]
    return Action.ACCEPT if "info" in finding.tags else Action.REFUSE


def _matches(rule: Rule, finding: Finding) -> bool:
    if rule.scanner not in ("*", finding.scanner) or not fnmatchcase(finding.rule, rule.match):
        return False
    if rule.tag and rule.tag not in finding.tags:
        return False
    if "info" in finding.tags and rule.scanner == "*":
        return False
    aimed = bool(rule.tag) or bool(rule.match.strip("*"))
    return aimed or rule.action is not Action.ACCEPT or not (finding.trouble or "virus" in finding.tags)


def _severest(findings: Sequence[Finding]) -> Finding | None:
    decider = None
    worst = (_SEVERITY[Action.ACCEPT], True)
    for finding in findings:
        rank = (_SEVERITY[built_in_action(finding)], not finding.trouble)
        if rank > worst:
            decider, worst = finding, rank
    return decider


def _first(decider: Finding, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return (decider, *(finding for finding in findings if finding is not decider))


def _without(rules: list[tuple[str, Rule]], name: str, findings: Sequence[Finding]) -> str:
    other = _decide([item for item in rules if item[0] != name], findings, explain=False)
    return f"without {name!r}: {other.action.value}, by {other.rule!r}"


def _built_in_counterfactual(decider: Finding, left: Sequence[Finding]) -> str:
    others = [
        f"{finding.scanner}/{finding.rule}"
        for finding in left
        if finding is not decider and built_in_action(finding) is not Action.ACCEPT
    ]
    if decider.trouble:
        condition = f"had {decider.scanner} done its work, or were its fail policy `open`"
    else:
        condition = f"had {decider.scanner}/{decider.rule} not been found, or did a rule accept it"
    if not others:
        return f"{condition}: accept"
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"{condition}, and likewise for {', '.join(others[:3])}{more}: accept"
