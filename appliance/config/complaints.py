"""Everything that is wrong with a configuration's text, faults of form and of sense alike, with line and remedy.

Puts together what `config.load` and `config.check` find. Called by the command line and by `config.store`.
"""

from __future__ import annotations

import msgspec

from appliance.config.lines import dotted, locate
from appliance.config.load import BadConfig, parse


class Complaint(msgspec.Struct, frozen=True):
    """One thing wrong; an "error" forbids the text, a "warning" is advice."""

    severity: str
    line: int
    key: str
    text: str
    remedy: str


def complaints(text: str, name: str, *, files: bool = True) -> list[Complaint]:
    """What is wrong with `text`, read from the file `name`; errors first.

    Args:
        files: look at the files that it names, too.
    """
    try:
        config = parse(text, name)
    except BadConfig as error:
        return [Complaint("error", fault.line, dotted(fault.path), fault.text, fault.remedy) for fault in error.faults]
    from appliance.config.check import problems  # it knows TLS and much else, and is not wanted by who only reads these

    places = locate(text)
    return [
        Complaint(problem.severity, places.line(problem.path), problem.key, problem.text, problem.remedy)
        for problem in problems(config, files)
    ]
