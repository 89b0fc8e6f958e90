"""What the store needs from others: rooms that put a configuration into effect, and a clock that can ring.

`apply` and `undo` of one commit never overlap, and each is cut off after `APPLY_TIMEOUT_S`. Implemented by `network`
and by `daemon`; called by `config.store.commit`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from appliance.config.schema import Config

APPLY_TIMEOUT_S = 60.0


class Applier(Protocol):
    """Puts one part of a configuration into effect, and back."""

    @property
    def name(self) -> str:
        """For the reason of a roll-back: "network", "gateway"."""

    @property
    def at_start(self) -> bool:
        """Whether `apply(None, new)` is called when `sysd` starts; False for what reads the file by itself."""

    async def apply(self, old: Config | None, new: Config) -> None:
        """Makes `new` real where `old` is (None: nothing yet, or not known).

        Any exception means that it did not work; its text is kept as the reason, and `undo` is called.
        """

    async def undo(self, old: Config | None, new: Config) -> None:
        """Makes `old` real again after `apply(old, new)`, whether that ended well, failed, or was cut off."""


class Timer(Protocol):
    """Monotonic time."""

    def now_s(self) -> float: ...

    def later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """Calls `call` on the event loop after `delay_s`; returns what takes that back."""
