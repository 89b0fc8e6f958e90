"""Every version of the format below this release's has a step, and a later one is refused."""

from __future__ import annotations

import msgspec
import pytest

from appliance.config import ranges
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
