"""Every version of the format below this release's has a step, and a later one is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliance.config import migrations, ranges
from appliance.config.load import parse
from appliance.config.migrations import STEPS, VERSION, TooNew, migrated, version_of
from appliance.config.schema import Config
from appliance.core.errors import ConfigError


def test_each_version_leads_to_the_next() -> None:
    assert sorted(STEPS) == list(range(VERSION))


def test_the_schema_is_of_the_version_that_migrations_lead_to() -> None:
    assert ranges.bounds(Config, "version", int) == (VERSION, VERSION)
    assert msgspec.convert({"hostname": "gw"}, Config).version == VERSION


def test_a_document_is_copied_before_it_is_changed() -> None:
    old = {"hostname": "gw", "tls": {"key": "a"}}
    new = migrated(old)
    assert (old.get("version"), new) == (None, {**old, "version": VERSION})
    assert migrated(new) is new


def test_a_later_version_is_refused_with_a_remedy() -> None:
    with pytest.raises(TooNew, match="update to the release that wrote it"):
        migrated({"version": VERSION + 1})


@pytest.mark.parametrize("version", ["1", -1, True, 1.0, [1]])
def test_what_is_no_version_is_refused(version: object) -> None:
    with pytest.raises(ConfigError, match="no version"):
        version_of({"version": version})


def test_a_file_of_an_earlier_version_is_read_as_this_release_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(document: Any) -> Any:
        document["hostname"] = document.pop("host")
        return document

    monkeypatch.setattr(migrations, "VERSION", 2)
    monkeypatch.setattr(migrations, "STEPS", {**STEPS, 1: rename})
    monkeypatch.setitem(ranges._SPECIAL, (Config, "version"), (2, 2))
    assert parse('version = 1\nhost = "gw.example.test"\n', "x.toml").hostname == "gw.example.test"
    assert parse('version = 2\nhostname = "gw.example.test"\n', "x.toml").version == 2
    with pytest.raises(ConfigError, match=r"x\.toml:1: version: 3 is out of range"):
        parse('version = 3\nhostname = "gw"\n', "x.toml")
