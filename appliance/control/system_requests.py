"""`sysd`'s requests beside the configuration: status, network probes, power, the administrator's password, reset.

Made by `daemon.sysd`, which gives the handlers to `access.admit`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from appliance import __version__
from appliance.config.migrations import VERSION
from appliance.config.store.commit import Commits
from appliance.control import sysd_messages as messages
from appliance.control.access import ROOT, AskedHandler, Asker
from appliance.control.administrator import Administrator
from appliance.control.arguments import AuthorArgs, Nothing, typed
from appliance.control.config_requests import open_proposals
from appliance.control.ports import Power, Probes, Shells
from appliance.control.protocol import RequestRefused
from appliance.core.errors import GatewayError

_T = TypeVar("_T")
_PROBES = ("ping", "dns", "smtp")
_LONGEST_TARGET = 260
_LINE = re.compile(r"tty[A-Za-z]{0,4}[0-9]{1,3}")


class SystemRequests:
    """See the module."""

    def __init__(
        self,
        commits: Commits,
        administrator: Administrator,
        power: Power,
        probes: Probes | None,
        shells: Shells | None,
        reset: Callable[[], None],
        *,
        has_sticks: bool,
        is_resetting: Callable[[], bool],
        monotonic: Callable[[], float],
        tell: Callable[[str, dict[str, object]], None],
    ) -> None:
        """`reset` promises, durably, that the next start erases everything; it raises OSError."""
        self._commits = commits
        self._administrator = administrator
        self._power = power
        self._probes = probes
        self._shells = shells
        self._reset = reset
        self._has_sticks = has_sticks
        self._is_resetting = is_resetting
        self._monotonic = monotonic
        self._started_s = monotonic()
        self._tell = tell

    def handlers(self) -> dict[str, AskedHandler]:
        """Arguments and results are the structs of `sysd_messages`."""
        return {
            "status": self._status,
            "network.ports": self._ports,
            "network.probe": self._probe,
            "password.verify": self._verify,
            "password.set": self._set_password,
            "power.reboot": self._reboot,
            "power.off": self._power_off,
            "shell.open": self._open_shell,
            "factory_reset": self._factory_reset,
        }

    async def _status(self, asker: Asker, args: dict[str, Any]) -> object:
        typed(args, Nothing)
        store = self._commits.store
        return messages.Status(
            release=__version__,
            config_version=VERSION,
            revision=store.current,
            unconfirmed=bool(store.unconfirmed),
            confirm_left_s=round(self._commits.confirm_left_s, 1),
            proposals=open_proposals(self._commits),
            password_set=self._administrator.is_set,
            resetting=self._is_resetting(),
            up_s=round(self._monotonic() - self._started_s, 1),
            trouble=self._commits.trouble,
            sticks=self._has_sticks,
            shell=await self._may_have_shell(),
        )

    # -- network

    async def _ports(self, asker: Asker, args: dict[str, Any]) -> object:
        typed(args, Nothing)
        return {"ports": await _looked(self._looker().ports())}

    async def _probe(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.ProbeArgs)
        if asked.kind not in _PROBES:
            raise RequestRefused(f"there is no probe {asked.kind[:40]!r}; use {', '.join(_PROBES)}")
        if not 0 < len(asked.target) <= _LONGEST_TARGET or not asked.target.isprintable():
            raise RequestRefused("the target is empty, too long, or has control characters")
        return await _looked(self._looker().probe(asked.kind, asked.target))

    def _looker(self) -> Probes:
        if self._probes is None:
            raise RequestRefused("this machine has no network probes")
        return self._probes

    # -- password

    async def _verify(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.VerifyArgs)
        good = await self._administrator.verify(asked.password, asked.source)
        self._tell("administrator_login", {"source": asked.source[:_LONGEST_TARGET], "good": good, "by": asker.role})
        return {"good": good}

    async def _set_password(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.SetPasswordArgs)
        if asker.role != ROOT and not await self._administrator.verify(asked.old, asked.source or asker.role):
            raise RequestRefused("the old password is wrong")
        await self._administrator.set(asked.password, [os.uname().nodename])
        self._tell("administrator_changed", {"by": asker.role})
        return {"set": True}

    async def _open_shell(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.ShellArgs)
        if not _LINE.fullmatch(asked.line):
            raise RequestRefused(f"{asked.line[:40]!r} is no terminal of this box")
        if self._shells is None or not await self._may_have_shell():
            raise RequestRefused("there is no shell here")
        by = {"line": asked.line, "author": asker.author(asked.author)}
        if not await self._administrator.verify(asked.password, asked.line):
            self._tell("shell_refused", dict(by))
            raise RequestRefused("the password is wrong")
        self._tell("shell_opened", dict(by))
        try:
            await self._shells.open(asked.line)
        except OSError as error:
            raise RequestRefused(f"the shell: {error.strerror or error}") from error
        return {"under_way": "shell"}

    async def _may_have_shell(self) -> bool:
        return self._shells is not None and await self._commits.may_have_shell()

    # -- power

    async def _reboot(self, asker: Asker, args: dict[str, Any]) -> object:
        return await self._switch("reboot", self._power.reboot, asker, typed(args, AuthorArgs).author)

    async def _power_off(self, asker: Asker, args: dict[str, Any]) -> object:
        return await self._switch("power_off", self._power.power_off, asker, typed(args, AuthorArgs).author)

    async def _switch(self, what: str, act: Callable[[], Awaitable[None]], asker: Asker, author: str) -> object:
        self._tell(what, {"author": asker.author(author)})
        try:
            await act()
        except OSError as error:
            raise RequestRefused(f"{what} failed: {error.strerror or error}") from error
        return {"under_way": what}

    async def _factory_reset(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, messages.ResetArgs)
        if asked.typed != messages.RESET_WORDS:
            raise RequestRefused(f"to erase everything, type: {messages.RESET_WORDS}")
        self._tell("factory_reset", {"author": asker.author(asked.author)})
        try:
            self._reset()
        except OSError as error:
            raise RequestRefused(f"the disk: {error.strerror or error}; nothing will be erased") from error
        return await self._switch("reboot", self._power.reboot, asker, asked.author)


async def _looked(look: Awaitable[_T]) -> _T:
    try:
        return await look
    except (OSError, GatewayError) as error:
        raise RequestRefused(f"could not look: {error}") from error
