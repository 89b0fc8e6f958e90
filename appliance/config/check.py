"""Is a well-formed configuration a good one? Everything that `mailweir check` complains about beyond form.

An error forbids to start with the configuration, above all one that would make an open relay; a warning is advice.
Gathers what the rooms beside it find: `relaying`, `references`, `hops`, `listeners`, `amounts`, `networking`,
`files`. Decides
nothing itself. Called by the command line, and by the roles before a configuration takes effect.
"""

from __future__ import annotations

import datetime

from appliance.config.amounts import check_amounts
from appliance.config.files import check_files
from appliance.config.hops import check_hops
from appliance.config.listeners import check_listeners, check_services
from appliance.config.networking import check_network
from appliance.config.problem import Problem, Report
from appliance.config.references import check_references
from appliance.config.relaying import check_relaying
from appliance.config.schema import Config
from appliance.core.errors import ConfigError

__all__ = ["Problem", "problems", "refuse_errors"]


def problems(config: Config, files: bool = True, *, now: datetime.datetime | None = None) -> list[Problem]:
    """What is wrong with `config`, errors first; empty if nothing is.

    Args:
        files: look at the files it names and at this host's addresses too; False: the configuration alone decides.
        now: aware time to judge certificates by; the clock's if not given.
    """
    report = Report()
    check_relaying(config, report)
    check_references(config, report)
    check_listeners(config, report)
    check_services(config, report)
    check_hops(config, report, files=files)
    check_amounts(config, report)
    check_network(config.network, report)
    if files:
        check_files(config, report, now or datetime.datetime.now(datetime.UTC))
    return sorted(report.problems, key=lambda problem: problem.severity)


def refuse_errors(config: Config, name: str, files: bool = True) -> list[Problem]:
    """The warnings about `config`, read from the file `name`: for a role that is about to use it.

    Raises:
        ConfigError: it has errors; `str()` tells them all, one a line.
    """
    found = problems(config, files)
    errors = [problem for problem in found if problem.severity == "error"]
    if errors:
        raise ConfigError("\n".join(f"{name}: {error.key}: {error.text}; {error.remedy}" for error in errors))
    return found
