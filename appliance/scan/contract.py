"""What a scanner is: `begin`, `feed` views while the message arrives, `finish` with findings.

A scanner sees octets and reports facts; it decides nothing. One `Scanner` lives as long as the configuration it was
built from, one `Scan` as long as a message. Who calls: the tee, for the transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from appliance.core.verdict import FailPolicy, Finding

Findings = tuple[Finding, ...]
Done = Callable[[Findings], None]


class Scan(Protocol):
    """The scan of one message. Calls come in the order `feed`*, then `finish` or `abort`, once."""

    def feed(self, view: memoryview) -> bool:
        """Looks at the next octets of the message as SMTP carries it: dot-stuffed if `begin` was told so.

        `view` belongs to the scan until it returns; what it wants to keep it copies. Never raises for content.
        Returns False when the scanner has more than it can digest: the caller then stops reading from the client
        until the `on_drained` callback given to `begin` is called.
        """

    def finish(self, done: Done) -> None:
        """The message is complete. `done` gets the findings, at once (synchronously) or later, exactly once.

        A scanner that fails or runs over its budget reports a finding with `trouble=True`, it never raises.
        """

    def abort(self) -> None:
        """The message will not be completed; `done` is not called after this, even if `finish` was."""


class Scanner(Protocol):
    """One configured scanner."""

    name: str
    fail: FailPolicy

    def begin(self, *, dotted: bool, on_drained: Callable[[], None]) -> Scan:
        """A scan for a new message.

        Args:
            dotted: the octets that follow are dot-stuffed (they came by DATA); False for BDAT.
            on_drained: called after a `feed` that returned False, when the scan can take more.
        """

    async def close(self) -> None:
        """Gives back what the scanner holds; no scan begins after this."""
