"""The tee: feeds one message to several scanners and gathers what they find, in the order of the configuration.

With one scanner its own scan is handed out, so the tee costs nothing. A scanner that breaks the contract and raises
becomes a finding with `trouble`, is logged once, and the others go on. Knows neither what they look for nor what
follows from it. Called by the transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from appliance.core.verdict import Finding
from appliance.scan.contract import Done, Findings, Scan, Scanner

_log = logging.getLogger(__name__)


class Tee:
    """The scanners of one configuration."""

    __slots__ = ("_only", "scanners")

    def __init__(self, scanners: Sequence[Scanner]) -> None:
        self.scanners = tuple(scanners)
        self._only = self.scanners[0] if len(self.scanners) == 1 else None

    def begin(self, *, dotted: bool, on_drained: Callable[[], None]) -> Scan:
        """A scan by all scanners; arguments and result are those of `Scanner.begin`."""
        if self._only is not None:
            try:
                return self._only.begin(dotted=dotted, on_drained=on_drained)
            except Exception as error:  # noqa: BLE001 - whatever a scanner raises is a finding
                return _Broken(_trouble(self._only, error))
        if not self.scanners:
            return _NOTHING
        return TeeScan(self.scanners, dotted, on_drained)

    async def close(self) -> None:
        """Closes every scanner; one that raises is logged, and the others are closed all the same."""
        for scanner in self.scanners:
            try:
                await scanner.close()
            except Exception as error:  # noqa: BLE001 - whatever a scanner raises is a finding
                _trouble(scanner, error)


class _Branch:
    """One scanner's part in a message."""

    __slots__ = ("findings", "full", "scan", "scanner", "tee")

    def __init__(self, tee: TeeScan, scanner: Scanner, dotted: bool) -> None:
        self.tee = tee
        self.scanner = scanner
        self.full = False
        self.findings: Findings | None = None
        self.scan: Scan
        try:
            self.scan = scanner.begin(dotted=dotted, on_drained=self.drained)
        except Exception as error:  # noqa: BLE001 - whatever a scanner raises is a finding
            self.scan = _Broken(_trouble(scanner, error))

    def drained(self) -> None:
        """The scanner can take more."""
        if self.full:
            self.full = False
            self.tee.drained()

    def done(self, findings: Findings) -> None:
        """The scanner has finished."""
        if self.findings is None:
            self.findings = findings
            self.tee.gather()

    def fail(self, error: Exception) -> None:
        """The scanner raised: it is left alone from now on."""
        try:
            self.scan.abort()
        except Exception as second_error:  # noqa: BLE001 - whatever a scanner raises is a finding
            _log.debug("scanner=%s event=abort-failed reason=%r", self.scanner.name, str(second_error))
        self.scan = _Broken(_trouble(self.scanner, error))


class TeeScan:
    """One message before several scanners; the contract is that of `Scan`."""

    __slots__ = ("_branches", "_done", "_on_drained")

    def __init__(self, scanners: Sequence[Scanner], dotted: bool, on_drained: Callable[[], None]) -> None:
        self._on_drained: Callable[[], None] = on_drained
        self._done: Done | None = None
        self._branches = [_Branch(self, scanner, dotted) for scanner in scanners]

    def feed(self, view: memoryview) -> bool:
        """Shows `view` to every scanner; False if one of them is full."""
        more = True
        for branch in self._branches:
            try:
                branch.full = not branch.scan.feed(view)
            except Exception as error:  # noqa: BLE001 - whatever a scanner raises is a finding
                branch.fail(error)
                branch.drained()  # if it was full, nobody else will say so
            if branch.full:
                more = False
        return more

    def finish(self, done: Done) -> None:
        """Finishes every scan; `done` is called when the last one has answered."""
        self._done = done
        for branch in self._branches:
            try:
                branch.scan.finish(branch.done)
            except Exception as error:
                if branch.findings is not None:
                    raise  # it is `done` that raised, from within the last scanner's answer
                branch.fail(error)
                branch.scan.finish(branch.done)

    def abort(self) -> None:
        """Aborts every scan."""
        self._done = None
        for branch in self._branches:
            try:
                branch.scan.abort()
            except Exception as error:  # noqa: BLE001 - whatever a scanner raises is a finding
                branch.fail(error)

    def drained(self) -> None:
        """Called by a branch that was full: passes it on when none is."""
        if not any(branch.full for branch in self._branches):
            self._on_drained()

    def gather(self) -> None:
        """Called by a branch that has finished: answers when all have."""
        gathered: list[Finding] = []
        for branch in self._branches:
            if branch.findings is None:
                return
            gathered += branch.findings
        done, self._done = self._done, None
        if done is not None:
            done(tuple(gathered))


class _Broken:
    """The scan of a scanner that has failed, or of none at all: takes everything, finds `findings`."""

    __slots__ = ("_findings",)

    def __init__(self, *findings: Finding) -> None:
        self._findings = findings

    def feed(self, view: memoryview) -> bool:
        return True

    def finish(self, done: Done) -> None:
        done(self._findings)

    def abort(self) -> None:
        pass


_NOTHING: Final = _Broken()


def _trouble(scanner: Scanner, error: Exception) -> Finding:
    _log.error("scanner=%s event=scanner-failed reason=%r", scanner.name, repr(error), exc_info=error)
    return Finding(scanner.name, "scanner-failed", type(error).__name__, trouble=True, fail=scanner.fail)
