"""What is known of a revision: who made it when and why, and what became of it. Values only."""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec

from appliance.core.errors import ConfigError

STORE = "sysd"
"""The author of what nobody asked for: delivery, migration, the timer's roll-back."""


class StoreError(ConfigError):
    """The store will not do what was asked, or cannot; `str()` says why and what to do, for a person."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Written once, with the revision. Unknown fields are ignored, so that an earlier release reads a later one's."""

    number: int
    base: int
    """The revision it was made from; 0: none."""
    author: str
    at_s: float
    """Wall clock; a board without one may be wrong by years."""
    reason: str
    version: int
    """Of the format of the text."""
    sha256: str
    """Of the text."""
    secrets: list[str] = []
    """Files beside it that the store wrote for it, or for an earlier revision, and that it refers to."""


class Result(Enum):
    CONFIRMED = "confirmed"
    ROLLED_BACK = "rolled back"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a commit, written once it is known."""

    result: Result
    author: str
    at_s: float
    reason: str = ""


class State(Enum):
    """Of a revision, now."""

    PROPOSED = "proposed"  # made from the one in force; can be committed
    OUTDATED = "outdated"  # the one it was made from is no longer in force; propose it again
    UNCONFIRMED = "unconfirmed"  # in force until the timer ends
    CURRENT = "current"  # in force, confirmed
    CONFIRMED = "confirmed"  # was in force
    ROLLED_BACK = "rolled back"  # was in force for a while, and was not confirmed or could not be applied


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
