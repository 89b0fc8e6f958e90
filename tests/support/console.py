"""The console's menu on a scripted terminal, over a `sysd` as it is wired and a gateway that only takes notes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.config.box_tables import Keyboard
from appliance.config.schema import Config
from appliance.console.desk import Desk
from appliance.console.dialogue import Dialogue
from appliance.console.menu import Menu
from appliance.console.terminal import IDLE_S, HungUp, Terminal
from appliance.control.update_client import Updates
from appliance.removable.devices import Devices, Stick
from appliance.removable.sticks import Sticks
from tests.support.commit_bench import GOOD
from tests.support.conditions import until
from tests.support.sysd_bench import NotingMachine, SysdBench

_LONGEST_WAIT_READS = 20_000

Typed = str | bytes | Callable[[], bool]


class ScriptedLine:
    """Types the next piece whenever the menu waits; hangs up after the last one.

    A text is typed with Enter behind it, octets as they are; a function is called again and again, with nothing typed,
    until it says True. An empty read is a second gone by.
    """

    def __init__(self, *script: Typed) -> None:
        self._script = list(script)
        self.written = bytearray()
        self._waited = 0
        self.now_s = 0.0

    @property
    def text(self) -> str:
        return self.written.decode("ascii").replace("\r\n", "\n")

    def read(self, timeout_s: float) -> bytes:
        if not timeout_s:
            return b""
        if not self._script:
            raise HungUp("the script is over")
        piece = self._script[0]
        if callable(piece):
            self.now_s += timeout_s
            self._waited += 1
            if piece():
                self._script.pop(0)
                self._waited = 0
            elif self._waited > _LONGEST_WAIT_READS:
                raise HungUp("what the script waits for does not come")
            return b""
        self._script.pop(0)
        return piece if isinstance(piece, bytes) else piece.encode() + b"\r"

    def write(self, octets: bytes) -> None:
        self.written += octets


def dialogue(*script: Typed, idle_s: float = IDLE_S) -> tuple[Dialogue, ScriptedLine]:
    line = ScriptedLine(*script)
    return Dialogue(Terminal(line, idle_s=idle_s, monotonic=lambda: line.now_s)), line


class NotingMail:
    """A `desk.Mail`."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.entries: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.recent: dict[str, int] = {}
        self.accepted = 4
        self.error: Exception | None = None

    def stats(self) -> list[dict[str, Any]]:
        if self.error is not None:
            raise self.error
        counts = [["ram", "accept", self.accepted]]
        worker = {"sessions_open": 1, "sessions_total": 2, "bytes_in": 300, "messages": counts}
        return [worker, worker]

    def queue(self, limit: int) -> tuple[list[dict[str, Any]], int]:
        return self.entries[:limit], len(self.entries)

    def entry(self, entry_id: str) -> dict[str, Any] | None:
        return next((entry for entry in self.entries if entry["id"] == entry_id), None)

    def act(self, what: str, entry_id: str) -> bool:
        self.notes.append(f"{what} {entry_id}")
        return self.entry(entry_id) is not None

    def trace(self, *, message_id: str = "", address: str = "", limit: int = 20) -> list[dict[str, Any]]:
        self.notes.append(f"trace {message_id or address}".rstrip())
        return [message for message in self.messages if not message_id or message["id"] == message_id][:limit]

    def counts(self, last_s: float) -> dict[str, int]:
        if self.error is not None:
            raise self.error
        return self.recent

    def why(self, message: dict[str, Any]) -> list[str]:
        return ["accept: decided by default"]

    def send_trial(self, config: Config, recipient: str) -> list[str]:
        self.notes.append(f"trial to {recipient}")
        return ["250 2.0.0 Ok"]


class PlainBoard:
    """A `desk.Machine`."""

    def __init__(self) -> None:
        self.temperature: float | None = 48.0
        self.keyboards: list[str] = []

    def memory_mib(self) -> tuple[int, int] | None:
        return 120, 512

    def temperature_c(self) -> float | None:
        return self.temperature

    def load_keyboard(self, keyboard: Keyboard) -> None:
        self.keyboards.append(keyboard.value)


class PlainSticks(Devices):
    """Folders for sticks, and a `removable.sticks.Mounts` over them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: list[str] = []
        self.mounted = ""

    def plug(self, name: str = "sda1") -> Path:
        self.names.append(name)
        place = self._folder / f"stick-{name}"
        place.mkdir(exist_ok=True)
        return place

    def sticks(self) -> list[Stick]:
        return [Stick(name, "vfat", "KEYS", 8 << 30, "Plain Stick") for name in self.names]

    async def mount(self, device: str, *, writable: bool) -> Path:
        assert not self.mounted, "one at a time"
        self.mounted = device
        return self._folder / f"stick-{device}"

    async def unmount(self) -> None:
        assert self.mounted
        self.mounted = ""


class PortsAndProbes(NotingMachine):
    """Two ports, and a mail server that may answer."""

    def __init__(self) -> None:
        super().__init__()
        self.links = {"eth0": True, "eth1": False}
        self.server_works = True

    async def ports(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "mac": f"02:00:00:00:00:0{number}",
                "link": link,
                "speed_mbit": 1000 * link,
                "duplex": "full" if link else "",
                "addresses": [],
            }
            for number, (name, link) in enumerate(self.links.items())
        ]

    async def open(self, line: str) -> None:
        self._note(f"shell on {line}")

    async def probe(self, kind: str, target: str) -> dict[str, Any]:
        self._note(f"{kind} {target}")
        ok = self.server_works
        return {"ok": ok, "steps": [{"what": "banner", "ok": ok, "text": "220 mail.example.test"}]}


class ConsoleBench:
    """Runs the menu; each run is a life of `sysd` on the same store."""

    def __init__(self, folder: Path, *, configured: bool = True) -> None:
        self.sysd = SysdBench(folder)
        self.machine = self.sysd.options.probes = self.sysd.options.power = PortsAndProbes()
        self.plugged = PlainSticks(folder)
        self.sysd.options.sticks = Sticks(self.plugged, self.plugged)
        self.sysd.options.shells = self.machine
        self.mail, self.board = NotingMail(), PlainBoard()
        self.updates: Any = Updates(self.sysd.options.socket)
        self.loop: asyncio.AbstractEventLoop
        if configured:
            self.put(GOOD.replace("gw.", "mx."))

    def put(self, text: str) -> None:
        """In force, by a person."""

        async def scenario(bench: SysdBench) -> None:
            proposed = await bench.ask(bench.client.propose, text)
            await bench.ask(bench.client.commit, proposed.revision)
            await bench.ask(bench.client.confirm)

        self.sysd.run(scenario)

    def type(self, *script: Typed, may_leave: bool = False, screen: bool = False) -> str:
        """What the menu wrote until the script was over."""
        asked, line = dialogue(*script)
        self.line = line

        async def scenario(bench: SysdBench) -> None:
            self.loop = asyncio.get_running_loop()
            line = "tty1" if screen else "ttyS0"
            desk = Desk(asked, bench.client, self.mail, self.board, line=line, updates=self.updates)

            def work() -> None:
                with suppress(HungUp):
                    Menu(desk, may_leave=may_leave).run()

            await bench.ask(work)

        self.sysd.run(scenario)
        return line.text

    def pass_s(self, seconds: float) -> Callable[[], bool]:
        """A piece of a script: the clock of `sysd` goes on, and what it sets off is done."""

        def settled() -> bool:
            status = self.sysd.client.status()
            return not status.unconfirmed or status.confirm_left_s > 0

        def passed() -> bool:
            self.loop.call_soon_threadsafe(self.sysd.timer.pass_s, seconds)
            until(settled, "the timer to take the change back")
            return True

        return passed

    def said(self, text: str, times: int = 1) -> Callable[[], bool]:
        """A piece of a script: nothing is typed until this was written so often."""
        return lambda: self.line.text.count(text) >= times

    def in_force(self) -> str:
        """The text in force."""
        return (self.sysd.options.store / "current" / "mailweir.toml").read_text()
