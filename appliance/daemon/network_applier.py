"""The appliance's network as a part of the configuration that `sysd` applies and takes back.

`network` blocks, so it runs in a thread, one call at a time. Between commits the resolvers that DHCP names are taken
over now and then, and configured ports that were not there are looked for: one on USB may come late.
Only an appliance has this applier: `mailweir sysd --network`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from appliance.config.schema import Config
from appliance.network.bring_up import BringUpFailed, BroughtUp, bring_up, recover_and_bring_up, refresh_names
from appliance.network.udev import settle

REFRESH_S = 30.0
SETTLE_S = 60.0
"""At the start; systemd gives `sysd` five minutes."""

Tell = Callable[[str, dict[str, object]], None]


class NetworkApplier:
    """An `Applier`; see `config.store.applier`."""

    name = "network"
    at_start = True

    def __init__(
        self,
        tell: Tell,
        *,
        at_first: Callable[[Config], BroughtUp] = recover_and_bring_up,
        change: Callable[[Config], BroughtUp] = bring_up,
        refresh: Callable[[Config], list[str]] = refresh_names,
        refresh_s: float = REFRESH_S,
        settle: Callable[[float], Awaitable[object]] = settle,
    ) -> None:
        """`tell` logs an event. The functions are those of `network.bring_up` and `network.udev`."""
        self._tell = tell
        self._at_first = at_first
        self._change = change
        self._refresh = refresh
        self._refresh_s = refresh_s
        self._settle = settle
        self._turn = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    async def apply(self, old: Config | None, new: Config) -> None:
        """Raises BringUpFailed: firewall and links are as they were."""
        if old is None:
            await self._settle(SETTLE_S)  # on a busy machine this is quicker than the drivers
        await self._set(self._at_first if old is None else self._change, new)

    async def undo(self, old: Config | None, new: Config) -> None:
        if old is not None:
            await self._set(self._change, old)

    async def _set(self, set_up: Callable[[Config], BroughtUp], config: Config) -> None:
        async with self._turn:
            done = await asyncio.to_thread(set_up, config)
        self._tell_set(done)
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.create_task(self._refreshing(config, done.missing))

    def _tell_set(self, done: BroughtUp) -> None:
        fields: dict[str, object] = {"steps": len(done.steps), "missing": done.missing, "told": done.told}
        self._tell("network_set", {**fields, "troubles": done.troubles})

    async def _refreshing(self, config: Config, missing: list[str]) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            async with self._turn:
                missing = await self._looked_for(config, missing)
                try:
                    told = await asyncio.to_thread(self._refresh, config)
                except OSError as error:
                    self._tell("names_not_refreshed", {"reason": str(error)})
                    continue
            if told:
                self._tell("names_refreshed", {"told": told})

    async def _looked_for(self, config: Config, missing: list[str]) -> list[str]:
        """What is missing still; a port that is there now is set up, for which the whole is applied again."""
        if not missing:
            return missing
        try:
            done = await asyncio.to_thread(self._change, config)
        except BringUpFailed as error:
            self._tell("network_not_set", {"missing": missing, "reason": str(error)})
            return missing
        if done.missing != missing:
            self._tell_set(done)
        return done.missing

    async def close(self) -> None:
        """Leaves the network as it is."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
