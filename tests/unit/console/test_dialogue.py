from __future__ import annotations

from dataclasses import dataclass

import pytest

from appliance.console.dialogue import Back, Question, Wrong, walk
from tests.support.console import dialogue

HELP = ("first line", "second line", "third line")


def number(raw_answer: str) -> int:
    if not raw_answer.isdigit():
        raise Wrong("write digits")
    return int(raw_answer)


@dataclass(frozen=True)
class Item:
    title: str


def test_enter_takes_the_default_in_brackets() -> None:
    asked, line = dialogue("")
    assert asked.ask(Question("How many", HELP, number, "7")) == 7
    assert line.text.startswith("How many [7]: ")


def test_a_question_mark_explains_in_three_lines_and_asks_again() -> None:
    asked, line = dialogue("?", "3")
    assert asked.ask(Question("How many", HELP, number)) == 3
    assert "  first line\n  second line\n  third line\nHow many: " in line.text


def test_a_bad_answer_is_told_and_asked_again() -> None:
    asked, line = dialogue("x", "3")
    assert asked.ask(Question("How many", HELP, number)) == 3
    assert "  write digits\nHow many: " in line.text


def test_less_than_goes_back() -> None:
    with pytest.raises(Back):
        dialogue("<")[0].ask(Question("How many", HELP, number))


def test_yes_and_no_have_a_default_and_nothing_else_is_either() -> None:
    asked, line = dialogue("maybe", "Y", "", "")
    assert [asked.yes("Sure"), asked.yes("Sure"), asked.yes("Sure", default=True)] == [True, False, True]
    assert "type y or n" in line.text and "Sure [y/N]: " in line.text and "Sure [Y/n]: " in line.text


def test_a_choice_is_a_number_of_the_list() -> None:
    asked, line = dialogue("0", "3", "-1", "two", "²", "99999999999", "2")
    assert asked.choose([Item("a"), Item("b")]).title == "b"
    assert line.text.count("type a number from 1 to 2") == 6


def test_a_secret_is_typed_twice_and_never_shown() -> None:
    asked, line = dialogue("?", "", "one", "two", "three", "three")
    assert asked.secret("Password") == "three"
    assert "not the same" in line.text and "it is empty" in line.text
    assert not any(word in line.text for word in ("one\n", "two\n", "three\n"))


def test_steps_go_back_over_those_that_asked_nothing() -> None:
    asked, taken = iter(["a", "<", "a", "c"]), list[str]()

    def asks() -> bool:
        answer = next(asked)
        if answer == "<":
            raise Back
        taken.append(answer)
        return True

    walk([asks, lambda: False, asks])
    assert taken == ["a", "a", "c"]


def test_back_from_the_first_step_leaves_them_all() -> None:
    def back() -> bool:
        raise Back

    with pytest.raises(Back):
        walk([lambda: False, back])
