"""The `patterns` scanner on google-re2, for machines where Hyperscan has no wheel.

RE2 keeps no state between calls, so the message is looked at in windows that overlap by `LOOK_BEHIND_OCTETS`: a match
of up to 4,094 octets is found wherever the message is cut into feeds, a longer one only if it lies in one window.
The price is one copy of each octet, twice Hyperscan's time on text and forty times on base64. A set tells which
patterns may match in a window; each of those is then searched on its own, so that a `^`, `$` or `\\b` at a window's
edge is not taken for one in the message. Offsets are of the first match that is sure; for open-ended expressions
(`a+`) they may lie behind Hyperscan's.

Knows nothing of verdicts. Made by `scan.patterns.pattern_scanner`, its only caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import re2

from appliance.core.errors import ConfigError
from appliance.core.verdict import FailPolicy, Finding
from appliance.scan.contract import Done, Scan
from appliance.scan.known_strings import KnownStrings
from appliance.scan.pattern_file import Pattern

NAME = "patterns"
LOOK_BEHIND_OCTETS = 4096
_WINDOW_OCTETS = 32768  # small feeds are gathered to this size, so that no octet is scanned more than about twice
_MEMORY_OCTETS = 256 << 20  # a bound for the automaton's cache, not an allocation; too little would miss matches


class Re2Scanner:
    """A compiled set, and each pattern by itself."""

    __slots__ = ("fail", "name", "patterns", "set", "singles")

    def __init__(self, patterns: Sequence[Pattern], fail: FailPolicy) -> None:
        self.name = NAME
        self.fail = fail
        self.patterns = tuple(patterns)
        self.singles: list[Any] = []
        self.set: Any = None
        options = _options()
        if patterns:
            self.set = re2.Set.SearchSet(options)
        for pattern in patterns:
            try:
                expression = _with_flags(pattern)
                self.singles.append(re2.compile(expression, options))
                self.set.Add(expression)
            except re2.error as error:
                reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
                raise ConfigError(f"{pattern.place}: {reason}; correct the expression, or remove it") from error
            if self.singles[-1].search(b"") is not None:
                raise ConfigError(f"{pattern.place}: matches the empty text; correct the expression, or remove it")
        if patterns:
            self.set.Compile()

    def begin(self, *, dotted: bool, on_drained: Callable[[], None]) -> Scan:
        """A scan; whether the octets are dot-stuffed makes no difference to it."""
        return _Re2Scan(self)

    async def close(self) -> None:
        """Nothing to give back."""


class _Re2Scan:
    """The window over one message; `_start` is its place in the message."""

    __slots__ = ("_found", "_known", "_scanner", "_start", "_window")

    def __init__(self, scanner: Re2Scanner) -> None:
        self._scanner = scanner
        self._known = KnownStrings()
        self._window = bytearray()
        self._start = 0
        self._found: dict[int, int] = {}

    def feed(self, view: memoryview) -> bool:
        """Copies `view` into the window and scans when there is enough."""
        self._known.feed(view)
        if self._scanner.set is not None:
            self._window += view
            if len(self._window) >= _WINDOW_OCTETS:
                self._search(at_end=False)
                cut = len(self._window) - LOOK_BEHIND_OCTETS
                del self._window[:cut]
                self._start += cut
        return True

    def finish(self, done: Done) -> None:
        """Calls `done` at once."""
        if self._scanner.set is not None and self._window:
            self._search(at_end=True)
        findings = self._known.found
        for number, end in self._found.items():
            pattern = self._scanner.patterns[number]
            findings.append(Finding(NAME, pattern.id, offset=end, tags=pattern.tags))
        findings.sort(key=lambda finding: finding.offset)
        done(tuple(findings))

    def abort(self) -> None:
        """Forgets the window."""
        self._window.clear()

    def _search(self, *, at_end: bool) -> None:
        # The first octet of a later window, and the last of an earlier one, have a neighbour that is not in sight:
        # what begins or ends there belongs to the other window.
        window = bytes(self._window)
        first = 1 if self._start else 0
        last = len(window) if at_end else len(window) - 1
        for number in self._scanner.set.Match(window) or ():
            if number in self._found:
                continue
            for match in self._scanner.singles[number].finditer(window, first):
                if match.end() <= last:
                    self._found[number] = self._start + match.end()
                    break


def _options() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # octets, not characters
    options.max_mem = _MEMORY_OCTETS
    options.log_errors = False
    return options


def _with_flags(pattern: Pattern) -> bytes:
    flags = b"i" * pattern.caseless + b"m" * pattern.multiline + b"s" * pattern.dotall
    return b"(?%s:%s)" % (flags, pattern.regex) if flags else pattern.regex
