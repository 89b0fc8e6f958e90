"""One step of a probe, as a person reads it."""

from __future__ import annotations

from typing import Any

Step = dict[str, Any]


def step(what: str, ok: bool, text: str) -> Step:
    """A `Step`: its keys are the names of the arguments."""
    return {"what": what, "ok": ok, "text": text}
