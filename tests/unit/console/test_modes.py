from __future__ import annotations

import pytest

from appliance.config.box_tables import Mode
from appliance.console.modes import MODES, mode_of, recommended


def ports(*links: bool) -> list[dict[str, object]]:
    return [{"name": f"eth{number}", "link": link} for number, link in enumerate(links)]


def test_every_mode_that_is_built_has_its_line_with_three_sentences_that_fit_the_screen() -> None:
    assert [line.mode for line in MODES] == list(Mode)
    for line in MODES:
        assert len(line.help) == 3 and all(line.help)
        assert all(len(sentence) <= 74 for sentence in (line.title, *line.help))
        assert mode_of(line.mode) is line


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (ports(), "none is to be seen"),
        (ports(False, False), "plug a cable into one"),
        (ports(False, True), "eth1 has a cable in it"),
        (ports(True, True), "eth0, eth1 have cables"),
    ],
)
def test_the_recommendation_says_what_it_saw_at_the_ports(seen: list[dict[str, object]], reason: str) -> None:
    line, why = recommended(seen)
    assert line.mode is Mode.GATEWAY
    assert reason in why
