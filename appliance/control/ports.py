"""What `sysd` cannot do without the machine under it: power, services, and looks at the network.

Interfaces only; `daemon` chooses who implements them, on the appliance systemd and `network`, in tests something plain.
"""

from __future__ import annotations

from typing import Any, Protocol


class Power(Protocol):
    """Both return once it is under way, so that the asker still gets an answer. OSError: it is not."""

    async def reboot(self) -> None: ...

    async def power_off(self) -> None: ...


class Shells(Protocol):
    """A root shell on a terminal, in the place of the menu that stands there."""

    async def open(self, line: str) -> None:
        """`line`: the terminal's name below /dev. Returns once it is under way. OSError: it is not."""


class Service(Protocol):
    """A role under systemd or the like. OSError: it could not be done; the text is the reason."""

    async def restart(self) -> None:
        """Ends when the role answers again."""

    async def stop(self) -> None: ...


class Probes(Protocol):
    """Looks at the network as it is. What they return is for JSON; OSError or GatewayError: could not look."""

    async def ports(self) -> list[dict[str, Any]]:
        """Each network port: `name`, `mac`, `link` (bool), `speed_mbit`, `duplex` ("full", "half"), `addresses`."""

    async def probe(self, kind: str, target: str) -> dict[str, Any]:
        """Tries `target`: `kind` is "ping", "dns" or "smtp". `ok` tells the end of it, `steps` how:
        a list of `what`, `ok` and `text`."""
