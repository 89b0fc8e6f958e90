"""How a box can stand in the flow of mail: one line of the table for each way that is built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mode:
    """A line of the table."""

    name: str
    title: str
    help: tuple[str, str, str]


MODES = (
    Mode(
        "gateway",
        "gateway: mail for your domains comes here first, and goes on to your mail server",
        (
            "The MX records of your domains name this box. It takes the mail on port 25,",
            "looks at it while it arrives, and hands it to your mail server at once.",
            "One network port is enough.",
        ),
    ),
)
