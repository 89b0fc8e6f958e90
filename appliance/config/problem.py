"""What `config.check` and its rooms report: problems with their key, and how each is put right."""

from __future__ import annotations

from typing import Literal, NamedTuple

from appliance.config.lines import KeyPath, dotted

Severity = Literal["error", "warning"]


class Problem(NamedTuple):
    """One thing wrong with a well-formed configuration. An error forbids to start with it; a warning is advice."""

    severity: Severity
    path: KeyPath
    text: str
    remedy: str

    @property
    def key(self) -> str:
        """The key as a person writes it: `next_hop[0].servers[1].url`."""
        return dotted(self.path)


class Report:
    """Collects problems while the rooms look at the configuration."""

    __slots__ = ("problems",)

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def error(self, path: KeyPath, text: str, remedy: str) -> None:
        self.problems.append(Problem("error", path, text, remedy))

    def warning(self, path: KeyPath, text: str, remedy: str) -> None:
        self.problems.append(Problem("warning", path, text, remedy))
