from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Policy, Rule
from appliance.core.verdict import ACCEPTED, Action, FailPolicy, Finding
from appliance.policy.engine import decide

DEFAULT = Policy()
SPAM = Finding("patterns", "spam-1", offset=10, tags=("spam",))
PHISH = Finding("patterns", "phish-1", offset=20, tags=("phish",))
VIRUS = Finding("clamd", "Win.Bad-1", tags=("virus",))
DIGEST = Finding("digest", "sha256", "00" * 32, tags=("info",))


def trouble(fail, scanner="clamd"):
    return Finding(scanner, "timeout", trouble=True, fail=fail)


def policy(*rules):
    return Policy(rule=list(rules))


def accept(**fields):
    return Rule(action=Action.ACCEPT, **fields)


def test_nothing_found_is_accepted_by_the_constant():
    assert decide(policy(Rule(action=Action.REFUSE)), ()) is ACCEPTED


def test_what_a_scanner_found_is_refused_and_named():
    verdict = decide(DEFAULT, (SPAM, VIRUS))
    assert verdict.action is Action.REFUSE
    assert verdict.rule == "patterns/spam-1"
    assert verdict.findings == (SPAM, VIRUS)


def test_a_digest_is_a_fact_and_decides_nothing():
    verdict = decide(DEFAULT, (DIGEST,))
    assert (verdict.action, verdict.rule, verdict.findings) == (Action.ACCEPT, "default", (DIGEST,))


def test_trouble_follows_the_scanner_s_fail_policy_and_stays_a_fact():
    for fail, action in (
        (FailPolicy.OPEN, Action.ACCEPT),
        (FailPolicy.TEMPFAIL, Action.DEFER),
        (FailPolicy.REFUSE, Action.REFUSE),
    ):
        verdict = decide(DEFAULT, (trouble(fail),))
        assert verdict.action is action
        assert verdict.findings == (trouble(fail),)


def test_the_severest_of_the_built_in_rules_wins_and_comes_first():
    verdict = decide(DEFAULT, (DIGEST, trouble(FailPolicy.TEMPFAIL), SPAM))
    assert (verdict.action, verdict.rule) == (Action.REFUSE, "patterns/spam-1")
    assert verdict.findings == (SPAM, DIGEST, trouble(FailPolicy.TEMPFAIL))


def test_a_finding_comes_before_trouble_of_equal_weight():
    assert decide(DEFAULT, (trouble(FailPolicy.REFUSE), SPAM)).rule == "patterns/spam-1"


def test_the_first_configured_rule_that_matches_decides():
    rules = policy(
        Rule(action=Action.DEFER, match="other*"),
        Rule(action=Action.HOLD, match="spam-*", name="look at it"),
        Rule(action=Action.REFUSE),
    )
    verdict = decide(rules, (SPAM,))
    assert (verdict.action, verdict.rule) == (Action.HOLD, "look at it")


def test_a_configured_rule_goes_before_a_severer_built_in_one():
    assert decide(policy(Rule(action=Action.HOLD, tag="virus")), (SPAM, VIRUS)).action is Action.HOLD


def test_a_rule_without_a_name_is_named_by_its_place():
    assert decide(policy(accept(match="x"), Rule(action=Action.HOLD)), (SPAM,)).rule == "rule 2"


def test_scanner_match_and_tag_must_all_fit():
    rule = Rule(action=Action.HOLD, scanner="patterns", match="spam-*", tag="spam")
    assert decide(policy(rule), (SPAM,)).action is Action.HOLD
    for other in (PHISH, Finding("clamd", "spam-1", tags=("spam",)), Finding("patterns", "spam-1")):
        assert decide(policy(rule), (other,)).action is Action.REFUSE


def test_an_accepting_rule_waives_what_it_matches():
    verdict = decide(policy(accept(match="spam-*", name="our newsletter")), (SPAM,))
    assert (verdict.action, verdict.rule, verdict.findings) == (Action.ACCEPT, "our newsletter", (SPAM,))
    assert verdict.counterfactual == "without 'our newsletter': refuse, by 'patterns/spam-1'"


def test_an_accepting_rule_waives_nothing_else():
    verdict = decide(policy(accept(match="spam-*")), (SPAM, VIRUS))
    assert (verdict.action, verdict.rule) == (Action.REFUSE, "clamd/Win.Bad-1")
    verdict = decide(policy(accept(match="spam-*"), Rule(action=Action.HOLD, scanner="patterns")), (SPAM, PHISH))
    assert verdict.action is Action.HOLD


def test_an_accepting_rule_for_everything_waives_neither_viruses_nor_trouble():
    for match in ("*", "**"):
        for scanner in ("*", "clamd"):
            rules = policy(accept(match=match, scanner=scanner))
            assert decide(rules, (VIRUS,)).action is Action.REFUSE
            assert decide(rules, (trouble(FailPolicy.TEMPFAIL),)).action is Action.DEFER
    assert decide(policy(accept()), (SPAM,)).action is Action.ACCEPT


def test_a_virus_is_waived_by_a_rule_that_aims_at_it():
    assert decide(policy(accept(match="Win.Bad-*")), (VIRUS,)).action is Action.ACCEPT
    assert decide(policy(accept(tag="virus")), (VIRUS,)).action is Action.ACCEPT
    assert decide(policy(accept(match="timeout")), (trouble(FailPolicy.REFUSE),)).action is Action.ACCEPT


def test_a_digest_is_matched_only_by_a_rule_that_names_its_scanner():
    assert decide(policy(Rule(action=Action.REFUSE)), (DIGEST,)).action is Action.ACCEPT
    assert decide(policy(Rule(action=Action.HOLD, scanner="digest")), (DIGEST,)).action is Action.HOLD


def test_the_counterfactual_of_a_finding_names_what_else_was_found():
    assert decide(DEFAULT, (SPAM,)).counterfactual == (
        "had patterns/spam-1 not been found, or did a rule accept it: accept"
    )
    assert "likewise for clamd/Win.Bad-1, patterns/phish-1: accept" in (
        decide(DEFAULT, (SPAM, VIRUS, PHISH)).counterfactual
    )


def test_the_counterfactual_of_trouble_names_the_fail_policy():
    assert decide(DEFAULT, (trouble(FailPolicy.TEMPFAIL),)).counterfactual == (
        "had clamd done its work, or were its fail policy `open`: accept"
    )


def test_the_counterfactual_of_a_rule_is_the_verdict_without_it():
    verdict = decide(policy(Rule(action=Action.HOLD, name="hold spam")), (SPAM,))
    assert verdict.counterfactual == "without 'hold spam': refuse, by 'patterns/spam-1'"


FINDINGS = st.lists(
    st.builds(
        Finding,
        scanner=st.sampled_from(["patterns", "clamd", "digest"]),
        rule=st.sampled_from(["a", "b", "timeout"]),
        tags=st.sets(st.sampled_from(["spam", "virus", "info"]), max_size=2).map(tuple),
        trouble=st.booleans(),
        fail=st.sampled_from(FailPolicy),
    ),
    max_size=6,
)
RULES = st.lists(
    st.builds(
        Rule,
        action=st.sampled_from(Action),
        scanner=st.sampled_from(["*", "patterns", "clamd"]),
        match=st.sampled_from(["*", "a", "t*"]),
        tag=st.sampled_from(["", "spam", "virus"]),
        name=st.sampled_from(["", "x"]),
    ),
    max_size=5,
)


@given(RULES, FINDINGS)
def test_no_fact_is_lost_and_what_is_not_accepted_says_why(rules, findings):
    verdict = decide(policy(*rules), findings)
    assert sorted(map(repr, verdict.findings)) == sorted(map(repr, findings))
    if verdict.action is not Action.ACCEPT:
        assert verdict.counterfactual
        assert verdict.rule != "default"


@given(RULES, FINDINGS)
def test_a_virus_never_passes_unless_a_rule_aims_at_it(rules, findings):
    verdict = decide(policy(*rules), [*findings, VIRUS])
    aimed = any(rule.action is Action.ACCEPT and rule.tag == "virus" for rule in rules)
    assert aimed or verdict.action is not Action.ACCEPT
