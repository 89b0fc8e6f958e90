"""What the pages work with: the questions, and the appliance behind them as interfaces that tests replace.

Interfaces and one value; `cli` chooses who implements them. All methods block; they raise ControlError, ConfigError or
OSError with a sentence for a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from appliance.config.box_tables import Keyboard
from appliance.config.load import parse
from appliance.config.schema import Config
from appliance.console.dialogue import Dialogue
from appliance.console.keyboard import is_screen
from appliance.control import sysd_messages as messages
from appliance.control.update_messages import StickBundle, UpdateStatus


class Sysd(Protocol):
    """As `control.sysd_client.Sysd`, which says more."""

    def status(self) -> messages.Status: ...
    def text(self, revision: int = 0) -> messages.Text: ...
    def diff(self, old: int | None = None, new: int | None = None) -> str: ...
    def history(self, limit: int = 50) -> messages.History: ...
    def propose(self, text: str, reason: str = "") -> messages.Proposal: ...
    def commit(self, revision: int, within_s: float = 120.0) -> float: ...
    def confirm(self) -> int: ...
    def roll_back(self) -> int: ...
    def return_to(self, revision: int) -> messages.Proposal: ...
    def sticks(self) -> list[messages.Stick]: ...
    def stick_files(self, device: str) -> list[messages.StickFile]: ...
    def save_to_stick(self, device: str) -> messages.Saved: ...
    def load_from_stick(self, device: str, name: str) -> messages.Proposal: ...
    def ports(self) -> list[dict[str, Any]]: ...
    def probe(self, kind: str, target: str, timeout_s: float = 30.0) -> dict[str, Any]: ...
    def reboot(self) -> None: ...
    def power_off(self) -> None: ...
    def verify_password(self, password: str, source: str) -> bool: ...
    def set_password(self, password: str) -> None: ...
    def open_shell(self, line: str, password: str) -> None: ...
    def factory_reset(self, typed: str) -> None: ...


class Mail(Protocol):
    """The running gateway."""

    def stats(self) -> list[dict[str, Any]]:
        """The counters of each worker that answers."""

    def queue(self, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The first entries of the queue, and how many there are."""

    def entry(self, entry_id: str) -> dict[str, Any] | None: ...

    def act(self, what: str, entry_id: str) -> bool:
        """`what`: "retry", "hold", "release" or "delete". Whether the entry was there."""

    def trace(self, *, message_id: str = "", address: str = "", limit: int = 20) -> list[dict[str, Any]]:
        """Newest first; without arguments the last ones."""

    def counts(self, last_s: float) -> dict[str, int]:
        """Messages of the last seconds, by what was done with them; empty where nothing is recorded."""

    def why(self, message: dict[str, Any]) -> list[str]:
        """The verdict, in words."""

    def send_trial(self, config: Config, recipient: str) -> list[str]:
        """What our own port 25 answered to a small message, line by line."""


class Machine(Protocol):
    """The board. None: there is no such thing to be seen."""

    def memory_mib(self) -> tuple[int, int] | None:
        """Used, and all."""

    def temperature_c(self) -> float | None: ...

    def load_keyboard(self, keyboard: Keyboard) -> None:
        """Where there is one. Raises OSError."""


class Updates(Protocol):
    """As `control.update_client.Updates`, which says more."""

    def status(self) -> UpdateStatus: ...
    def stick_bundles(self) -> list[StickBundle]: ...
    def install_from_stick(self, device: str, name: str) -> None: ...
    def followed(self) -> Iterator[UpdateStatus]: ...
    def roll_back(self) -> str: ...


@dataclass(slots=True)
class Desk:
    """Everything that a page gets."""

    dialogue: Dialogue
    sysd: Sysd
    mail: Mail
    machine: Machine
    confirm_within_s: float = 120.0
    line: str = ""
    """The terminal's name below /dev, as "ttyS0"."""
    updates: Updates | None = None
    """None: there are none to be had."""

    @property
    def has_keyboard(self) -> bool:
        """Whether this line is a screen with a keyboard of its own."""
        return is_screen(self.line)

    def config(self) -> Config:
        """What is in force. Raises ConfigError: nothing, or nothing that this release understands."""
        return parse(self.sysd.text().text, "the configuration in force")
