"""The `patterns` scanner: thousands of patterns in one pass of Hyperscan over a message as it arrives.

Matches are found wherever the message is cut into feeds, for the automaton's state is kept between them. Patterns
see the octets as SMTP carries them: after DATA a line that begins with a dot has one dot more (RFC 5321 §4.5.2), and
offsets count it; a pattern that crosses a line start should allow for it by `\\.?`. Base64 and quoted-printable stay
encoded. A pattern reports once a message. GTUBE and EICAR are always looked for (`scan.known_strings`).

Where Hyperscan has no wheel, `scan.patterns_re2` stands in. A block-mode database for messages of one feed was
measured and left out: it saves 1 µs of 3 for 4 KiB, costs another 0.9 MiB and is slower on long text.

Knows nothing of verdicts. Built by `scan.build`, before workers are forked, which then share the database's pages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

try:
    import hyperscan
except ImportError:
    hyperscan = None  # type: ignore[assignment]

from appliance.core.errors import ConfigError
from appliance.core.verdict import FailPolicy, Finding
from appliance.scan.contract import Done, Scan, Scanner
from appliance.scan.known_strings import KnownStrings
from appliance.scan.pattern_file import Pattern

NAME: Final = "patterns"
_log = logging.getLogger(__name__)


def pattern_scanner(patterns: Sequence[Pattern], *, engine: str = "auto", fail: FailPolicy) -> Scanner:
    """The scanner for `patterns`, compiled; takes about half a second for 1,000.

    Args:
        engine: `hyperscan`, `re2`, or `auto`: Hyperscan where it is installed.

    Raises:
        ConfigError: an expression does not compile, or the engine is unknown or not installed.
    """
    if engine not in ("auto", "hyperscan", "re2"):
        raise ConfigError(f"scan.patterns.engine: unknown engine {engine!r}; use auto, hyperscan or re2")
    if engine == "hyperscan" and hyperscan is None:
        raise ConfigError("scan.patterns.engine: hyperscan is not installed; install it, or use re2")
    if engine != "re2" and hyperscan is not None:
        return HyperscanScanner(patterns, fail)
    from appliance.scan.patterns_re2 import Re2Scanner

    return Re2Scanner(patterns, fail)


class HyperscanScanner:
    """A compiled database. Its scans share one scratch space, so all of them run in one thread."""

    __slots__ = ("_database", "fail", "name", "open_stream", "patterns")

    def __init__(self, patterns: Sequence[Pattern], fail: FailPolicy) -> None:
        self.name = NAME
        self.fail = fail
        self.patterns = tuple(patterns)
        self._database = _compile(self.patterns) if patterns else None
        self.open_stream: Callable[..., Any] | None = self._database.stream if self._database is not None else None

    def begin(self, *, dotted: bool, on_drained: Callable[[], None]) -> Scan:
        """A scan; whether the octets are dot-stuffed makes no difference to it."""
        return _HyperscanScan(self)

    async def close(self) -> None:
        """Nothing to give back: the database goes with its last scan."""


class _HyperscanScan:
    """One stream. It borrows `_hits` without counting the reference, which this object keeps."""

    __slots__ = ("_hits", "_known", "_scanner", "_stream", "_trouble")

    def __init__(self, scanner: HyperscanScanner) -> None:
        self._scanner = scanner
        self._known = KnownStrings()
        self._hits: list[tuple[int, int]] = []
        self._trouble = ""
        self._stream: Any = None
        if scanner.open_stream is not None:
            # stream() returns one reference too many and __enter__() drops one: only the two together are balanced,
            # and only when both are called once. A test counts them.
            self._stream = scanner.open_stream(_hit, 0, self._hits)
            self._stream.__enter__()

    def feed(self, view: memoryview) -> bool:
        """Scans `view` at once and keeps nothing of it but its last 67 octets."""
        try:
            if self._stream is not None:
                self._stream.scan(view)
            self._known.feed(view)
        except hyperscan.error as error:
            self._fail(error)
        return True

    def finish(self, done: Done) -> None:
        """Calls `done` at once."""
        self._close()
        if not self._hits and not self._known.found and not self._trouble:
            done(())
            return
        patterns = self._scanner.patterns
        findings = self._known.found
        for number, end in self._hits:
            findings.append(Finding(NAME, patterns[number].id, offset=end, tags=patterns[number].tags))
        findings.sort(key=_offset)
        if self._trouble:
            findings.append(Finding(NAME, "engine-failed", self._trouble, trouble=True, fail=self._scanner.fail))
        done(tuple(findings))

    def abort(self) -> None:
        """Gives the stream back."""
        self._close()

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except hyperscan.error as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._trouble:
            self._trouble = f"{type(error).__name__}: {error}"
            _log.error("scanner=%s event=engine-failed reason=%r", NAME, self._trouble)


def _hit(number: int, start: int, end: int, flags: int, hits: list[tuple[int, int]]) -> None:
    hits.append((number, end))


def _offset(finding: Finding) -> int:
    return finding.offset


def _compile(patterns: Sequence[Pattern]) -> Any:
    flags = [_flags(pattern) for pattern in patterns]
    expressions = [pattern.regex for pattern in patterns]
    database = hyperscan.Database(mode=hyperscan.HS_MODE_STREAM)
    try:
        database.compile(expressions=expressions, ids=range(len(patterns)), elements=len(patterns), flags=flags)
    except hyperscan.error as error:
        raise _compile_error(patterns, flags, error) from error
    return database


def _flags(pattern: Pattern) -> int:
    flags: int = hyperscan.HS_FLAG_SINGLEMATCH
    if pattern.caseless:
        flags |= hyperscan.HS_FLAG_CASELESS
    if pattern.multiline:
        flags |= hyperscan.HS_FLAG_MULTILINE
    if pattern.dotall:
        flags |= hyperscan.HS_FLAG_DOTALL
    return flags


def _compile_error(patterns: Sequence[Pattern], flags: Sequence[int], error: Exception) -> ConfigError:
    """Finds the pattern at fault, which the engine's own error does not name."""
    for pattern, flag in zip(patterns, flags, strict=True):
        try:
            alone = hyperscan.Database(mode=hyperscan.HS_MODE_STREAM)
            alone.compile(expressions=[pattern.regex], ids=[0], elements=1, flags=[flag])
        except hyperscan.error as own_error:
            return ConfigError(f"{pattern.place}: {str(own_error).rstrip('. ')}; correct the expression, or remove it")
    return ConfigError(f"scan.patterns: {error}; use fewer or simpler patterns")
