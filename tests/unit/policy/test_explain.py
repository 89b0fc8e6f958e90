from __future__ import annotations

from appliance.config.schema import Policy
from appliance.core.verdict import ACCEPTED, FailPolicy, Finding
from appliance.policy.engine import decide
from appliance.policy.explain import explain


def test_the_rule_comes_first_then_the_facts_then_what_would_have_had_to_differ():
    findings = (
        Finding("clamd", "timeout", "no answer", trouble=True, fail=FailPolicy.OPEN),
        Finding("patterns", "spam-1", offset=12, tags=("spam", "de")),
    )
    assert explain(decide(Policy(), findings)) == [
        "refuse: decided by patterns/spam-1",
        "  patterns found spam-1 before octet 12 [spam, de]",
        "  clamd could not scan: timeout (no answer) fail policy open: accept",
        "  otherwise: had patterns/spam-1 not been found, or did a rule accept it: accept",
    ]


def test_clean_mail_is_explained_too():
    assert explain(ACCEPTED) == ["accept: decided by default", "  nothing was found"]


def test_a_fact_cannot_forge_a_line():
    lines = explain(decide(Policy(), (Finding("clamd", "a\r\nb\x1b[2J"),)))
    assert all(line.isprintable() for line in lines)
