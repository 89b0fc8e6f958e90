"""Features row 15: switching the mode keeps policies; a dry run lists what changes."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.box_tables import Mode
from appliance.console.mode_switch import dry_run, switched
from tests.support.commit_bench import GOOD

RULES = """\
[[policy]]
name = "strict"
[[policy.rule]]
action = "hold"
tag = "fraud"
[relay]
networks = ["192.0.2.0/24"]
[limits]
sessions = 77
"""
MAY_CHANGE = {"mode", "listen"}


@pytest.mark.parametrize("mode", Mode)
def test_a_switch_keeps_policies_domains_and_everything_but_ports(mode: Mode) -> None:
    before, after = tomllib.loads(GOOD + RULES), tomllib.loads(switched(GOOD + RULES, mode))
    kept = [{key: value for key, value in text.items() if key not in MAY_CHANGE} for text in (before, after)]
    assert kept[0] == kept[1]
    assert after["listen"][: len(before["listen"])] == before["listen"], "ports that are there stay"


@pytest.mark.parametrize("mode", Mode)
def test_switching_twice_changes_nothing(mode: Mode) -> None:
    once = switched(GOOD + RULES, mode)
    assert switched(once, mode) == once
    assert dry_run(once, once).changes == []


def test_the_dry_run_names_ports_policies_and_what_is_kept() -> None:
    found = dry_run(GOOD + RULES, switched(GOOD + RULES, Mode.GATEWAY))
    assert found.changes == [
        'the file says mode = "gateway", which it did not say',
        "port 0.0.0.0:25 (smtp) is opened",
        "port [::]:25 (smtp) is opened",
    ]
    for sentence in (
        "port 127.0.0.1:2525 (smtp) is open", "1 domain: example.test", "1 next hop: inside",
        "1 policy: strict (1 rules)",        "[relay]", "[limits]", "messages in the queue and in the records",
    ):  # fmt: skip
        assert sentence in found.stays


def test_a_gateway_has_no_port_for_mailboxes() -> None:
    ports = {listen["address"].rpartition(":")[2] for listen in tomllib.loads(switched(GOOD, Mode.GATEWAY))["listen"]}
    assert not ports & {"110", "143", "993", "995"}


def test_a_box_that_takes_mail_already_gets_no_more_ports() -> None:
    text = GOOD.replace("127.0.0.1:2525", "192.0.2.9:25")
    assert tomllib.loads(switched(text, Mode.GATEWAY))["listen"] == tomllib.loads(text)["listen"]


@given(st.sampled_from(["limits", "relay", "queue", "spool", "console"]), st.booleans())
def test_whatever_table_differs_is_told(name: str, other_way: bool) -> None:
    values = {
        "limits": "sessions = 7", "relay": 'networks = ["192.0.2.0/24"]', "queue": "deliveries = 7",
        "spool": 'quota = "1GiB"', "console": "shell = false",
    }  # fmt: skip
    texts = [GOOD, f"{GOOD}[{name}]\n{values[name]}\n"]
    before, after = reversed(texts) if other_way else texts
    assert dry_run(before, after).changes[-1] == f"[{name}] changes"
    assert f"[{name}]" not in dry_run(before, after).stays
