"""Makes the scanners that a configuration asks for. Called once a configuration, before workers are forked."""

from __future__ import annotations

from collections.abc import Callable

from appliance.config import schema
from appliance.scan.clamd import ClamdScanner
from appliance.scan.contract import Scanner
from appliance.scan.digest import DigestScanner
from appliance.scan.pattern_file import load_patterns
from appliance.scan.patterns import pattern_scanner


def build_scanners(
    config: schema.Config, clamd_waited: Callable[[float], None] = lambda seconds: None
) -> list[Scanner]:
    """The scanners in the order of their findings: patterns, digest, clamd; for `clamd_waited` see `ClamdScanner`.

    Raises:
        ConfigError: a pattern file, an expression, the engine or clamd's address is wrong.
    """
    scanners: list[Scanner] = []
    patterns = config.scan.patterns
    if patterns.enabled:
        scanners.append(pattern_scanner(load_patterns(patterns.files), engine=patterns.engine, fail=patterns.fail))
    if config.scan.digest.enabled:
        scanners.append(DigestScanner(config.scan.digest.fail))
    if config.scan.clamd.enabled:
        scanners.append(ClamdScanner(config.scan.clamd, clamd_waited))
    return scanners
