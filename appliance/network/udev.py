"""Is udev done with the hardware that there is? Until then ports are missing, or bear names that they will lose.

udevd keeps a file for as long as it has work, as `udevadm settle` knows, too; without udevd there is none to wait for.
Hardware that shows itself late, as an adapter on USB does, is not waited for. Called by `look`, and before the network
is first set up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

QUEUE = Path("/run/udev/queue")
_LOOK_EVERY_S = 0.2


async def settle(
    within_s: float, queue: Path = QUEUE, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> bool:
    """Returns once udev is done, or after `within_s`; whether it is."""
    for _ in range(round(within_s / _LOOK_EVERY_S)):
        if not queue.exists():
            return True
        await sleep(_LOOK_EVERY_S)
    return not queue.exists()
