"""Findings are facts that scanners report; a verdict is what policy makes of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Action(enum.Enum):
    """What happens with a message, mildest first."""

    ACCEPT = "accept"
    HOLD = "hold"
    DEFER = "defer"
    REFUSE = "refuse"


class FailPolicy(enum.Enum):
    """What a scanner's own failure means: let pass, 4xx, or 5xx."""

    OPEN = "open"
    TEMPFAIL = "tempfail"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Finding:
    """One fact about a message. `trouble`: the scanner could not do its work; then `fail` says what follows."""

    scanner: str
    rule: str
    """The pattern's id, the virus' name, `sha256`, ..."""
    value: str = ""
    offset: int = -1
    """Octets from the start of the message to the end of the match; -1 if it has no place."""
    tags: tuple[str, ...] = ()
    trouble: bool = False
    fail: FailPolicy = FailPolicy.TEMPFAIL


@dataclass(frozen=True)
class Verdict:
    """The decision: the rule that decided first, the facts under it, and what would have had to differ."""

    action: Action
    rule: str = "default"
    findings: tuple[Finding, ...] = ()
    counterfactual: str = ""


ACCEPTED: Final = Verdict(Action.ACCEPT)
