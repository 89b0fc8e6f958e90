"""Looks at an update before it is installed: whose it is, for which board, which release, which forms of data.

RAUC checks the signature and reads the manifest (`rauc info`); nothing of a bundle is believed before. Called by
`update.install`.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from appliance.update import formats, places

_INFO_TIMEOUT_S = 120.0
_LOG_LINE = re.compile(r"^(?:\(?rauc(?::\d+)?\)?[- ]\w+ ?\*?\*?:? |rauc-\w+: )[\d:.]* ?")


class BadBundle(Exception):
    """It must not, or cannot, be installed; `str()` is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the manifest says, once its signature was found good."""

    compatible: str
    version: str
    writes: dict[str, int] = field(default_factory=dict)
    """The forms in which its release leaves data behind."""


def look(path: Path, rauc: Path = places.RAUC) -> Bundle:
    """Raises BadBundle: not signed by whom this machine trusts, damaged, or no bundle."""
    words = [str(rauc), "info", "--output-format=json", str(path)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=_INFO_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadBundle(f"{path.name} cannot be looked at: {error}") from error
    if done.returncode:
        raise BadBundle(f"{path.name} is refused: {reason(done.stderr.decode('utf-8', 'replace'))}")
    try:
        return parse(done.stdout)
    except (ValueError, KeyError, TypeError) as error:
        raise BadBundle(f"{path.name}: what it says of itself is not understood: {error}") from error


def parse(octets: bytes) -> Bundle:
    """From `rauc info`'s JSON. Raises ValueError, KeyError, TypeError."""
    found = json.loads(octets)
    writes = formats.parse(str(found.get("build") or ""))
    return Bundle(str(found["compatible"]), str(found["version"]), writes)


def reason(said: str) -> str:
    """The one line of what RAUC said that tells why, as a person would put it where we know how."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "rauc-Message" not in line and "INFO" not in line] or lines
    last = _LOG_LINE.sub("", errors[-1]) if errors else "no reason was given"
    if "signature verification failed" in last or "signature" in last.lower():
        return f"its signature is not one that this machine trusts, or it was changed since ({last})"
    if "Input/output error" in last:
        return f"the file is damaged, or what it lies on ({last[:200]})"
    return last[:300]


def check(bundle: Bundle, compatible: str, *, way_back: bool) -> None:
    """Whether it may be installed here. `way_back`: only if this release could read what it leaves behind.

    Raises:
        BadBundle: no.
    """
    if bundle.compatible != compatible:
        raise BadBundle(f"it is for {bundle.compatible}, and this is {compatible}")
    problems = formats.beyond(bundle.writes)
    if problems and way_back:
        raise BadBundle(
            f"there would be no way back from it: it leaves {'; '.join(problems)} by this release; "
            "install the releases between them first, or say that no way back is wanted"
        )
