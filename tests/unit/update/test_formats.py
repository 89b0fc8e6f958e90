"""The promise of a way back: what a release writes, the one before it reads, and does not write over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.config.migrations import VERSION
from appliance.core.errors import ConfigError
from appliance.spool.record import MAGIC
from appliance.update import formats
from appliance.update.formats import MARKER, READS, WRITES, beyond, claim, parse, told


def test_this_release_reads_what_it_writes() -> None:
    assert beyond(WRITES) == [] and WRITES.keys() == READS.keys()


def test_the_forms_are_those_that_the_rooms_write() -> None:
    # Whoever changes one of these must think of the release before: see the module.
    assert WRITES["config"] == VERSION
    assert b"MWR%d" % WRITES["spool"] == MAGIC


def test_a_bundles_words_read_back() -> None:
    assert parse(told()) == dict(WRITES)
    assert parse("") == {} and parse("built on tuesday") == {}
    assert parse("formats spool=2 odd tracking=x") == {"spool": 2}


@pytest.mark.parametrize(
    ("writes", "told_of"),
    [({"spool": 2}, "spool in form 2, and up to 1"), ({"quarantine": 1}, "quarantine in form 1, and up to 0")],
)
def test_what_this_release_could_not_read_is_named(writes: dict[str, int], told_of: str) -> None:
    assert told_of in beyond({**WRITES, **writes})[0]


def test_a_state_directory_is_claimed_once_and_then_left_alone(tmp_path: Path) -> None:
    claim(tmp_path)
    before = (tmp_path / MARKER).stat()
    assert json.loads((tmp_path / MARKER).read_bytes()) == {"spool": 1, "tracking": 1}
    claim(tmp_path)
    assert (tmp_path / MARKER).stat().st_mtime_ns == before.st_mtime_ns


def test_the_next_release_reads_what_this_one_left_and_this_one_refuses_what_the_next_one_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path)
    this = (formats.WRITES, formats.READS)
    # The next release: it reads both forms of the spool, and writes the new one.
    monkeypatch.setattr(formats, "WRITES", {**WRITES, "spool": 2})
    monkeypatch.setattr(formats, "READS", {**READS, "spool": 2})
    claim(tmp_path)
    marked = (tmp_path / MARKER).read_bytes()
    assert json.loads(marked)["spool"] == 2
    # Back on this one.
    monkeypatch.setattr(formats, "WRITES", this[0])
    monkeypatch.setattr(formats, "READS", this[1])
    with pytest.raises(ConfigError, match="a later release wrote here .spool in form 2"):
        claim(tmp_path)
    assert (tmp_path / MARKER).read_bytes() == marked


def test_a_release_between_that_reads_both_keeps_the_mark_of_the_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MARKER).write_text('{"spool": 2, "tracking": 1, "odd": 0}')
    monkeypatch.setattr(formats, "READS", {**READS, "spool": 2})
    claim(tmp_path)
    assert json.loads((tmp_path / MARKER).read_bytes())["spool"] == 2


@pytest.mark.parametrize("octets", [b"", b"[]", b'{"spool": "2"}', b"\x00"])
def test_a_marker_that_cannot_be_read_stops_the_gateway(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / MARKER).write_bytes(octets)
    with pytest.raises(ConfigError, match="not to be read"):
        claim(tmp_path)
