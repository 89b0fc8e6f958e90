"""The health gate, wired: its looks at the running machine, and what follows. One run a start, as a unit of its own.

The looks are those of a user: the configuration can be had, each worker answers and has its spool and queue open, a
message goes in at the port for mail and comes out at a next hop, the menu comes up on a terminal. `update.health` says
what the verdict means. Blocks.
"""

from __future__ import annotations

import os
import pty
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.config.host_port import host_port
from appliance.config.load import parse
from appliance.config.schema import Config, ListenKind
from appliance.control.child import command
from appliance.control.client import ask
from appliance.control.protocol import ControlError, worker_sockets
from appliance.control.sysd_client import DEFAULT_SOCKET, Sysd
from appliance.core.errors import ConfigError
from appliance.update import message
from appliance.update.health import Conclusion, Look, Seen, Unwell, Verdict, conclude, examine, settle
from appliance.update.keeper import Keeper, NotFromASlot
from appliance.update.message import LoopbackHop, NotDelivered, Refused
from appliance.update.slots import Slots

_MENU = b"Mailweir"
_CONSOLE_S = 60.0
_ANSWER_S = 10.0
_DELIVERY_S = 20.0


@dataclass(slots=True)
class Gate:
    """The looks, in order: each uses what the one before has found."""

    sysd: Sysd
    console: tuple[str, ...]
    """The command that shows the menu."""
    _found: Config | None = None

    @property
    def _config(self) -> Config:
        """In force. Raises Unwell: none was found."""
        if self._found is None:
            raise Unwell("no configuration is in force")
        return self._found

    def looks(self) -> list[Look]:
        return [
            Look("configuration", self._configuration),
            Look("spool", self._workers),
            Look("message", self._message),
            Look("console", self._menu),
        ]

    def _configuration(self, deadline_s: float) -> str:
        try:
            text = self.sysd.text()
            self._found = parse(text.text, "the configuration in force")
        except (ControlError, ConfigError) as error:
            raise Unwell(str(error)) from error
        if not text.revision:
            raise Unwell("no configuration is in force")
        return f"revision {text.revision}"

    def _workers(self, deadline_s: float) -> str:
        wanted = self._config.workers.count or os.cpu_count() or 1
        waiting = 0
        for number, path in enumerate(self._sockets()[:wanted], 1):
            try:
                ask(path, "stats", timeout_s=_ANSWER_S)
                waiting += int(ask(path, "queue.list", {"limit": 1}, timeout_s=_ANSWER_S)["total"])
            except ControlError as error:
                raise Unwell(f"worker {number} of {wanted}: {error}") from error
        return f"{wanted} workers, {waiting} messages in the queue"

    def _sockets(self) -> list[Path]:
        """Of all workers. Raises Unwell: some are missing."""
        wanted = self._config.workers.count or os.cpu_count() or 1
        try:
            found = worker_sockets(self._config.state)
        except ControlError as error:
            raise Unwell(str(error)) from error
        if len(found) < wanted:
            raise Unwell(f"{len(found)} of {wanted} workers are there: the gateway did not start")
        return found

    def _message(self, deadline_s: float) -> str:
        door = _door(self._config)
        if door is None:
            return "no port for mail is configured, nothing to send through"
        token = secrets.token_hex(8)
        began_s = time.monotonic()
        with LoopbackHop(token) as hop:
            try:
                domain = self._opened(token, hop.port)
                message.send(*door, f"health@{domain}", token, deadline_s)
                if not hop.wait(max(1.0, min(_DELIVERY_S, deadline_s - time.monotonic()))):
                    raise Unwell("the test message was taken, and did not come out at the next hop", clear=True)
            except NotDelivered as error:
                raise Unwell(str(error), clear=isinstance(error, Refused)) from error
            finally:
                self._closed(token)
        return f"in at {door[0]} port {door[1]} and out after {time.monotonic() - began_s:.1f} s"

    def _opened(self, token: str, port: int) -> str:
        domain = ""
        for path in self._sockets():
            try:
                domain = str(ask(path, "check.open", {"token": token, "port": port}, timeout_s=_ANSWER_S)["domain"])
            except ControlError as error:
                raise Unwell(str(error)) from error
        return domain

    def _closed(self, token: str) -> None:
        """A worker that does not answer forgets it by itself."""
        with suppress(Unwell, ControlError):
            for path in self._sockets():
                ask(path, "check.close", {"token": token}, timeout_s=_ANSWER_S)

    def _menu(self, deadline_s: float) -> str:
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                self.console, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                env={**os.environ, "TERM": "vt100"},
            )  # fmt: skip
        finally:
            os.close(theirs)
        try:
            said = _read_until(ours, _MENU, min(deadline_s, time.monotonic() + _CONSOLE_S))
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        if _MENU not in said:
            text = said[-200:].decode("utf-8", "replace")
            raise Unwell(f"the menu did not come up; it said {text!r}", clear=True)
        return "the menu came up"


def _read_until(terminal: int, wanted: bytes, deadline_s: float) -> bytes:
    said = b""
    while wanted not in said and (left_s := deadline_s - time.monotonic()) > 0:
        if not select.select([terminal], [], [], left_s)[0]:
            break
        try:
            octets = os.read(terminal, 4096)
        except OSError:  # EIO: the other end is gone
            break
        if not octets:
            break
        said += octets
    return said


def _door(config: Config) -> tuple[str, int] | None:
    """Where mail comes in, as seen from here; one that waits for a proxy's word only if there is no other."""
    listens = [listen for listen in config.listen if listen.kind is ListenKind.SMTP]
    for listen in sorted(listens, key=lambda listen: listen.proxy_protocol):
        where = host_port(listen.address)
        if where.ip is not None and where.ip.is_unspecified:
            return ("127.0.0.1" if where.ip.version == 4 else "::1"), where.port
        return where.host, where.port
    return None


def gate(socket: str = DEFAULT_SOCKET) -> Gate:
    """Of this machine; `socket` is `sysd`'s."""
    return Gate(Sysd(socket, author="health"), command("appliance.cli.main", "console", "--socket", socket))


def look(gate: Gate, within_s: float) -> Verdict:
    """The verdict, and nothing else."""
    return examine(gate.looks(), within_s, monotonic=time.monotonic, sleep=time.sleep)


def run(gate: Gate, keeper: Keeper, within_s: float, clock: Callable[[], float] = time.time) -> Conclusion:
    """Once a start: the verdict, kept. Raises NotFromASlot: there is nothing to call good."""
    booted = keeper.booted()
    slots, record = settle(_slots(keeper), keeper.remembered(), booted, clock())
    _try_all(lambda: keeper.tell_health(None), lambda: keeper.keep(slots), lambda: keeper.remember(record))
    return end(keeper, look(gate, within_s), clock)


def end(keeper: Keeper, verdict: Verdict, clock: Callable[[], float] = time.time) -> Conclusion:
    """Keeps what follows from `verdict`; as `run`."""
    done = conclude(_slots(keeper), keeper.remembered(), keeper.booted(), verdict, clock())
    _try_all(
        lambda: keeper.tell_health(verdict), lambda: keeper.remember(done.record), lambda: keeper.keep(done.slots)
    )
    return done


def unfinished(keeper: Keeper, result: str, *, stopping: bool) -> Verdict | None:
    """The verdict where the gate was ended before it had one, by a time-out or a signal; `result` is systemd's word.

    None: it has said what it saw, or the machine goes down, which is no fault of the slot's.
    """
    if stopping or result == "success" or keeper.told_health().get("state") in ("good", "bad"):
        return None
    return Verdict((Seen("gate", well=False, text=f"the check did not come to an end: {result}"),))


def _slots(keeper: Keeper) -> Slots:
    try:
        return keeper.slots()
    except OSError as error:
        print(f"the boot loader's memory cannot be read: {error}", file=sys.stderr, flush=True)
        return Slots.parse({})


def _try_all(*acts: Callable[[], None]) -> None:
    """What one cannot write must not keep another from being written, nor a bad slot from starting again."""
    for act in acts:
        try:
            act()
        except OSError as error:
            print(f"not kept: {error}", file=sys.stderr, flush=True)


__all__ = ["Gate", "NotFromASlot", "end", "gate", "look", "run"]
