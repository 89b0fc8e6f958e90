"""How a box can stand in the flow of mail: a line of the table for each way that is built, and which one fits. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.config import box_tables
from appliance.console.mode_texts import TEXTS

Ports = Sequence[dict[str, Any]]
"""As `control.ports.Probes` gives them."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A line of the table."""

    mode: box_tables.Mode
    title: str
    help: tuple[str, str, str]
    fits: Callable[[Ports], str]
    """Why it fits a box with these ports; empty: it does not."""


def _gateway_fits(ports: Ports) -> str:
    linked = [str(port["name"]) for port in ports if port.get("link")]
    if not ports:
        return "it needs one network port; none is to be seen yet"
    if not linked:
        return "it needs one network port; plug a cable into one"
    if len(linked) == 1:
        return f"it needs one network port, and {linked[0]} has a cable in it"
    return f"it needs one network port; {', '.join(linked)} have cables, and you will choose one"


MODES = (Mode(box_tables.Mode.GATEWAY, *TEXTS["gateway"], _gateway_fits),)


def mode_of(mode: box_tables.Mode) -> Mode:
    """Its line of the table."""
    return next(line for line in MODES if line.mode is mode)


def recommended(ports: Ports) -> tuple[Mode, str]:
    """The line that fits these ports, the first one of several, and why; the gateway fits all."""
    return next((line, reason) for line in MODES if (reason := line.fits(ports)))
