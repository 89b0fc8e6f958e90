"""The first boot: from an empty box to a gateway that has passed its first message on. No answer is final."""

from __future__ import annotations

from collections.abc import Callable

from appliance.config.schema import Config
from appliance.config.store.revision import STORE
from appliance.console import draft
from appliance.console.change import commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Back, walk
from appliance.console.domain_questions import DomainQuestions, try_server
from appliance.console.keyboard import TITLES
from appliance.console.network_questions import NetworkQuestions
from appliance.console.pages.backup import restore
from appliance.console.pages.keyboard import ask_keyboard
from appliance.console.pages.mode import ask_mode
from appliance.console.pages.password import ask_password
from appliance.control.protocol import ControlError
from appliance.control.sysd_messages import Stick
from appliance.core.errors import ConfigError

AS_DELIVERED = "as delivered"


def is_new(desk: Desk) -> bool:
    """Whether nobody has configured this box yet: nothing is in force, or what it was delivered with."""
    in_force = desk.sysd.status().revision
    for revision in desk.sysd.history().revisions:
        if revision.number == in_force:
            return revision.author == STORE and revision.reason == AS_DELIVERED
    return not in_force


class Overtaken(Exception):
    """Somebody at another line was quicker: the box has its configuration, and its password."""


class FirstBoot:
    """One walk through the questions; what was answered stays when it is begun anew."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._dialogue = desk.dialogue
        self._answers = draft.Answers()

    def run(self) -> bool:
        """Whether the box is configured now. Raises Cancelled for Ctrl-C."""
        dialogue = self._dialogue
        dialogue.title("Mailweir: first configuration")
        dialogue.say("A default stands in brackets and is taken by Enter. ? explains, < goes back.")
        try:
            if self._restored():
                return True
            walk([self._guarded(step) for step in self._questions()])
            return self._commit()
        except Back:
            return False
        except Overtaken:
            dialogue.say("The box was configured at another line meanwhile; nothing of this is used.")
            return False

    def _questions(self) -> list[Callable[[], bool]]:
        network, domain = NetworkQuestions(self._desk, self._answers), DomainQuestions(self._desk, self._answers)
        return [
            self._keyboard,
            *(self._titled("Mode"), self._mode),
            *(self._titled("Network"), *network.address_steps(), network.hostname, network.dns, network.ntp),
            *(self._titled("Administrator"), self._password),
            *(self._titled("Mail"), domain.domain, domain.server),
            *(self._titled("Summary"), self._summary),
        ]

    def _restored(self) -> bool:
        """Whether a backup from a stick that is plugged in took the place of all questions but the password's."""
        stick = self._stick_with_backups()
        if stick is None or not self._dialogue.yes(f"The stick {stick.device} has backups. Restore one", default=False):
            return False
        self._dialogue.title("Administrator")
        self._password()
        self._dialogue.title("Restore")
        if not is_new(self._desk):
            raise Overtaken
        return restore(self._desk, stick)

    def _stick_with_backups(self) -> Stick | None:
        sysd = self._desk.sysd
        try:
            if not sysd.status().sticks:
                return None
            return next((stick for stick in sysd.sticks() if sysd.stick_files(stick.device)), None)
        except ControlError as error:
            self._dialogue.say(f"Sticks cannot be looked at: {error}")
            return None

    def _guarded(self, step: Callable[[], bool]) -> Callable[[], bool]:
        """The step, if the box still waits for its first configuration: two lines may be asking."""

        def guarded() -> bool:
            if not is_new(self._desk):
                raise Overtaken
            return step()

        return guarded

    def _titled(self, title: str) -> Callable[[], bool]:
        """A step that asks nothing."""

        def step() -> bool:
            self._dialogue.title(title)
            return False

        return step

    def _keyboard(self) -> bool:
        if not self._desk.has_keyboard:
            return False
        self._dialogue.title("Keyboard")
        self._answers.keyboard = ask_keyboard(self._desk, self._answers.keyboard)
        return True

    def _mode(self) -> bool:
        self._answers.mode = ask_mode(self._desk)
        return True

    def _password(self) -> bool:
        is_set = self._desk.sysd.status().password_set
        if is_set and self._dialogue.yes("A password is set. Keep it", default=True):
            return True
        ask_password(self._desk)
        return True

    def _summary(self) -> bool:
        given = self._answers
        rows = (
            *([("Keyboard", TITLES[given.keyboard])] if self._desk.has_keyboard else []),
            ("Mode", given.mode.value),
            ("Network", given.port.in_words() if given.port.name else "as it is"),
            ("Name", given.hostname),
            ("DNS servers", " ".join(given.dns) or "none named"),
            ("Time servers", " ".join(given.ntp) or "none named"),
            ("Password", "set"),
            ("Domain", given.domain),
            ("Mail server", given.server),
        )
        for name, value in rows:
            self._dialogue.say(f"  {name:13} {value}")
        if not self._dialogue.yes("Put this in force", default=True):
            raise Back
        return True

    def _commit(self) -> bool:
        if not is_new(self._desk):
            raise Overtaken
        text = draft.first(self._desk.sysd.text().text, self._answers)
        proposed = self._desk.sysd.propose(text, "first configuration")
        if not commit(self._desk, proposed, ask=False, meanwhile=self._try_again):
            return False
        send_trial(self._desk)
        self._dialogue.say()
        self._dialogue.say("Done. Let the MX records of your domain name this box when you are ready.")
        return True

    def _try_again(self) -> None:
        """The network is as it will be only now."""
        if self._answers.port.name:
            try_server(self._desk, self._answers.server)


def send_trial(desk: Desk) -> None:
    """A small message by the box's own port 25 to the postmaster of the first domain; says what became of it."""
    dialogue = desk.dialogue
    try:
        config: Config = desk.config()
        if not config.domain:
            return
        recipient = f"postmaster@{config.domain[0].name}"
        dialogue.title("Test message")
        if not dialogue.yes(f"Send a test message to {recipient}", default=True):
            return
        for line in desk.mail.send_trial(config, recipient):
            dialogue.say(f"  {line}")
    except (ControlError, ConfigError, OSError) as error:
        dialogue.say(f"  The test message was not sent: {error}")
    except Back:
        return
