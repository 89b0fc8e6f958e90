from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Policy
from appliance.core.verdict import ACCEPTED, FailPolicy, Finding
from appliance.policy.engine import decide
from appliance.policy.explain import explain, retold

FINDINGS = st.builds(
    Finding,
    scanner=st.sampled_from(["patterns", "clamd", "digest"]),
    rule=st.text(max_size=9),
    value=st.text(max_size=9),
    offset=st.integers(-1, 10**12),
    tags=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    trouble=st.booleans(),
    fail=st.sampled_from(FailPolicy),
)


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


@given(st.lists(FINDINGS, max_size=4))
def test_a_verdict_that_was_written_down_is_explained_as_before(findings):
    verdict = decide(Policy(), tuple(findings))
    assert retold(orjson.loads(orjson.dumps(verdict))) == verdict


@pytest.mark.parametrize("value", [None, [], {}, {"action": "explode"}, {"action": "accept", "findings": [1]}])
def test_what_is_no_verdict_is_not_taken_for_one(value):
    with pytest.raises(ValueError):
        retold(value)


def test_clean_mail_is_explained_too():
    assert explain(ACCEPTED) == ["accept: decided by default", "  nothing was found"]


def test_a_fact_cannot_forge_a_line():
    lines = explain(decide(Policy(), (Finding("clamd", "a\r\nb\x1b[2J"),)))
    assert all(line.isprintable() for line in lines)
