"""How a configuration of an older release becomes one of this: a step for each version of the format.

A step takes a document over, changes it, and returns it. It uses only what a mapping can do, so that it works on the
plain dict of `tomllib` and on a tomlkit document, whose comments then stay. Does no I/O; called by `config.load`, for
files of a workstation, and by `config.store`, which keeps the result as a revision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from appliance.core.errors import ConfigError

VERSION = 1
"""Of the format that this release writes and reads."""

Document = MutableMapping[str, Any]
Step = Callable[[Document], Document]


class TooNew(ConfigError):
    """A later release wrote this; this one cannot read it."""


def version_of(document: Mapping[str, Any]) -> int:
    """The format of `document`; 0 when it does not say, as files did not have to before they were kept as revisions.

    Raises:
        ConfigError: what it says is no version.
    """
    version = document.get("version", 0)
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise ConfigError(f"version = {version!r} is no version of a configuration; write version = {VERSION}")
    return int(version)


def _say_the_version(document: Document) -> Document:
    # From here on no later release needs to guess.
    document["version"] = 1
    return document


STEPS: Mapping[int, Step] = {0: _say_the_version}
"""By the version that a step starts from; it ends one higher."""


def migrated(document: Document, steps: Mapping[int, Step] = STEPS, version: int = VERSION) -> Document:
    """`document` in the format `version`; itself when it is that already, else a changed copy.

    Raises:
        TooNew: it is of a later version.
        ConfigError: as `version_of`.
    """
    found = version_of(document)
    if found > version:
        raise TooNew(
            f"the configuration is of version {found}, this release reads up to {version}; "
            "update to the release that wrote it, or go back to an earlier revision"
        )
    if found < version:
        document = copy.deepcopy(document)
    for number in range(found, version):
        document = steps[number](document)
        document["version"] = number + 1
    return document


def for_this_release(document: Document) -> Document:
    """`document` as this release reads it, where it says that it is of an earlier version; else itself."""
    found = document.get("version")
    is_earlier = isinstance(found, int) and not isinstance(found, bool) and 0 < found < VERSION
    return migrated(document, STEPS, VERSION) if is_earlier else document
