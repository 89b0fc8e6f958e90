"""Questions with a default, an explanation and a way back; asked again until the answer is one.

`?` explains in three lines, `<` goes back, Ctrl-C leaves the page; what is wrong with an answer is said, and the
question stands there again. Knows no appliance; called by the pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from appliance.console.terminal import Terminal

_T = TypeVar("_T")


class Back(Exception):
    """`<`: to the question before."""


class Wrong(Exception):
    """An answer that is none; `str()` says what is wrong and how to write it."""


@dataclass(frozen=True, slots=True)
class Question(Generic[_T]):
    """`parse` makes the value of what was typed, or raises Wrong."""

    prompt: str
    help: tuple[str, str, str]
    parse: Callable[[str], _T]
    default: str = ""
    """Stands for Enter alone, and goes through `parse` as well; empty: Enter is an empty answer."""


class Choice(Protocol):
    """A line of a menu."""

    @property
    def title(self) -> str: ...


_C = TypeVar("_C", bound=Choice)


@dataclass(frozen=True, slots=True)
class Offer(Generic[_T]):
    """A `Choice`, and what it stands for."""

    title: str
    value: _T


YES_NO_HELP = ("y: yes, n: no, and Enter alone: what stands in capitals.", "<  goes back to the question before.", "")
MENU_HELP = ("Type the number of a line and Enter.", "Enter alone goes back, and so do < and Ctrl-C.", "")
SECRET_HELP = (
    "What you type is not shown, and is asked for twice.",
    "At least 10 characters, and not easily guessed: several words are best.",
    "There is none by default, and nobody can look it up later.",
)


class Dialogue:
    """See the module."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.say = terminal.say
        self.page = terminal.page

    def title(self, text: str) -> None:
        self.say()
        self.say(text)
        self.say("-" * min(len(text), 79))

    def ask(self, question: Question[_T], news: Callable[[], list[str]] | None = None) -> _T:
        """The value of the first good answer; `news` as for `Terminal.read_line`. Raises Back."""
        default = f" [{question.default}]" if question.default else ""
        while True:
            raw_answer = self.terminal.read_line(f"{question.prompt}{default}: ", news=news).strip()
            if raw_answer == "?":
                self._explain(question.help)
                continue
            if raw_answer == "<":
                raise Back
            try:
                return question.parse(raw_answer or question.default)
            except Wrong as error:
                self.say(f"  {error}")

    def yes(self, prompt: str, *, default: bool = False, explain: tuple[str, str, str] = YES_NO_HELP) -> bool:
        def parse(raw_answer: str) -> bool:
            if raw_answer.lower() in ("y", "yes"):
                return True
            if raw_answer.lower() in ("n", "no"):
                return False
            raise Wrong("type y or n")

        shown = f"{prompt} [{'Y/n' if default else 'y/N'}]"
        return self.ask(Question(shown, explain, lambda raw: parse(raw or ("y" if default else "n"))))

    def choose(
        self,
        choices: Sequence[_C],
        prompt: str = "Number",
        default: int = 0,
        explain: tuple[str, str, str] = MENU_HELP,
    ) -> _C:
        """One of `choices`, shown with numbers from 1; `default` is such a number, 0 for none. Raises Back."""
        for number, choice in enumerate(choices, 1):
            self.say(f"{number:3}  {choice.title}")
        return self.pick(choices, prompt, default, explain)

    def choose_from(self, values: Sequence[_T], title: Callable[[_T], str], prompt: str) -> _T:
        """One of `values`; where there is one alone, it is the default. Raises Back."""
        return self.choose([Offer(title(it), it) for it in values], prompt, 1 if len(values) == 1 else 0).value

    def pick(self, choices: Sequence[_T], prompt: str, default: int, explain: tuple[str, str, str]) -> _T:
        """As `choose`, for what is shown already."""
        return self.ask(Question(prompt, explain, lambda raw: _numbered(choices, raw), str(default) if default else ""))

    def hidden(self, prompt: str, explain: tuple[str, str, str]) -> str:
        """Typed once and not shown; never empty. Raises Back."""
        while True:
            typed = self.terminal.read_line(f"{prompt}: ", echo=False)
            if typed == "<":
                raise Back
            if typed == "?":
                self._explain(explain)
            elif typed:
                return typed
            else:
                self.say("  it is empty; type it, or < to go back")

    def secret(self, prompt: str, explain: tuple[str, str, str] = SECRET_HELP) -> str:
        """Typed twice and not shown. Raises Back."""
        while True:
            first = self.hidden(prompt, explain)
            if self.terminal.read_line("The same again: ", echo=False) == first:
                return first
            self.say("  the two are not the same; begin again")

    def _explain(self, lines: Sequence[str]) -> None:
        for line in filter(None, lines):
            self.say(f"  {line}")


def _numbered(choices: Sequence[_T], raw_answer: str) -> _T:
    if not raw_answer:
        raise Back  # who comes to a line and sees nothing types Enter, and is shown where he is
    if raw_answer.isascii() and raw_answer.isdigit() and 0 < int(raw_answer[:6]) <= len(choices):
        return choices[int(raw_answer[:6]) - 1]
    raise Wrong(f"type a number from 1 to {len(choices)}" if len(choices) > 1 else "type 1")


def walk(steps: Sequence[Callable[[], bool]]) -> None:
    """Takes `steps` in order, and back by `<`; a step returns whether it asked anything. Back from the first: Back."""
    at, asked = 0, list[int]()
    while at < len(steps):
        try:
            if steps[at]():
                asked.append(at)
            at += 1
        except Back:
            if not asked:
                raise
            at = asked.pop()
