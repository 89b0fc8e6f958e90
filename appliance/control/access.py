"""Who may ask `sysd` for what: one table. The kernel says which user asks; `daemon` says which role a user has.

Called by `daemon`, which gives the result to the `ControlServer`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from appliance.control.protocol import RequestRefused
from appliance.control.server import Admit, Handler

ROOT, WEB, MTA = "root", "web", "mta"
_EVERYBODY = frozenset({ROOT, WEB, MTA})
_OPERATORS = frozenset({ROOT, WEB})
_ROOT_ALONE = frozenset({ROOT})

MAY: Mapping[str, frozenset[str]] = {
    "status": _EVERYBODY,
    "config.get": _OPERATORS,
    "config.check": _OPERATORS,
    "config.history": _OPERATORS,
    "config.diff": _OPERATORS,
    "config.propose": _OPERATORS,
    "config.commit": _OPERATORS,
    "config.confirm": _OPERATORS,
    "config.roll_back": _OPERATORS,
    "config.export": _OPERATORS,
    "config.import": _OPERATORS,
    "parcel.open": _OPERATORS,
    "parcel.append": _OPERATORS,
    "parcel.read": _OPERATORS,
    "network.ports": _OPERATORS,
    "network.probe": _OPERATORS,
    "password.verify": _OPERATORS,
    "password.set": _OPERATORS,  # the pages must tell the old one; root at the console need not
    "update.status": _OPERATORS,
    "update.sticks": _ROOT_ALONE,  # who stands at the box
    "update.install": _OPERATORS,  # what is installed must be signed, whoever brings it
    "update.upload": _OPERATORS,
    "update.append": _OPERATORS,
    "update.roll_back": _OPERATORS,
    "update.mark": _ROOT_ALONE,
    "power.reboot": _OPERATORS,
    "power.off": _OPERATORS,
    "stick.list": _ROOT_ALONE,  # who stands at the box
    "stick.files": _ROOT_ALONE,
    "stick.save": _ROOT_ALONE,
    "stick.load": _ROOT_ALONE,
    "shell.open": _ROOT_ALONE,
    "factory_reset": _ROOT_ALONE,  # by hand, at the console
}

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\ud7ff\ue000-\ufffd]")
_LONGEST_NAME = 80


class Asker(NamedTuple):
    """Who asks."""

    uid: int
    role: str

    def author(self, name: str) -> str:
        """For the history: the role's word for whom it speaks, and the role."""
        name = _UNPRINTABLE.sub("?", name)[:_LONGEST_NAME]
        return f"{name} ({self.role})" if name and name != self.role else self.role


AskedHandler = Callable[[Asker, dict[str, Any]], Awaitable[object]]


def admit(handlers: Mapping[str, AskedHandler], role_of: Mapping[int, str]) -> Admit:
    """What each uid may ask, by the table and by `role_of`; a user without a role may ask nothing.

    Raises:
        ValueError: a handler that the table does not know, which nobody could then use.
    """
    unknown = handlers.keys() - MAY.keys()
    if unknown:
        raise ValueError(f"not in the table: {', '.join(sorted(unknown))}")

    def admitted(uid: int) -> Mapping[str, Handler]:
        role = role_of.get(uid)
        if role is None:
            return {}
        asker = Asker(uid, role)
        return {name: _bound(name, handler, asker) for name, handler in handlers.items()}

    return admitted


def _bound(name: str, handler: AskedHandler, asker: Asker) -> Handler:
    async def ask(args: dict[str, Any]) -> object:
        if asker.role not in MAY[name]:
            raise RequestRefused(f"the role {asker.role} may not ask for {name}")
        return await handler(asker, args)

    return ask
