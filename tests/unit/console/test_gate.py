"""What may be done at the line without the administrator's password, and what it takes to be let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.console.pages import PAGES
from appliance.console.terminal import IDLE_S
from tests.support.console import ConsoleBench, Typed
from tests.support.first_boot_script import PASSWORD

NUMBER = {page.title: str(number) for number, page in enumerate(PAGES, 1)}
GUARDED = [page.title for page in PAGES if page.is_guarded]
STATUS, NETWORK, RESET = NUMBER["status"], NUMBER["network"], NUMBER["factory reset"]
SHELL = str(len([page for page in PAGES if page.title != "keyboard"]))
END = str(int(SHELL) + 1)


@pytest.fixture
def bench(tmp_path: Path) -> ConsoleBench:
    """With a password."""
    bench = ConsoleBench(tmp_path)
    bench.type(NUMBER["administrator's password"], PASSWORD, PASSWORD)
    return bench


@pytest.mark.parametrize("title", GUARDED)
def test_pages_that_change_something_or_show_whose_mail_it_is_ask_for_the_password(
    bench: ConsoleBench, title: str
) -> None:
    text = bench.type(NUMBER[title], screen=True)
    assert text.endswith("Password: ")


def test_what_needs_no_password(bench: ConsoleBench) -> None:
    assert sorted(page.title for page in PAGES if not page.is_guarded) == [
        "factory reset", "mail flow", "power off", "probes: ping, DNS, SMTP", "restart", "shell", "status",
    ]  # fmt: skip
    bench.type(RESET, "erase everything")
    assert bench.machine.notes == ["reboot"], "who has forgotten the password can begin anew"


def test_the_status_shows_senders_and_replies_only_to_who_gave_the_password(bench: ConsoleBench) -> None:
    refused = {"sender": "anna@example.test", "action": "refuse", "reply": "550 no"}
    bench.mail.messages = [{"id": "06H034KF9M8QM5A7", **refused}]
    text = bench.type(STATUS)
    assert "06H034KF9M8QM5A7" in text and "anna@" not in text and "550" not in text
    text = bench.type(NETWORK, PASSWORD, "<", STATUS)
    assert "anna@example.test: 550 no" in text


def test_the_password_is_asked_for_once_in_a_sitting(bench: ConsoleBench) -> None:
    text = bench.type(NETWORK, "", "wrong", PASSWORD, "<", NETWORK, "<", NUMBER["queue"])
    assert text.count("Password: ") == 3 and "This is not the password." in text
    assert "The queue is empty." in text
    assert PASSWORD not in text and "wrong" not in text


@pytest.mark.parametrize(
    "end", [(END,), (lambda bench: lambda: bench.line.now_s > IDLE_S + 5,)], ids=["by choice", "by nobody typing"]
)
def test_a_sitting_ends(bench: ConsoleBench, end: tuple[Typed]) -> None:
    pieces = [piece(bench) if callable(piece) else piece for piece in end]
    text = bench.type(NETWORK, PASSWORD, "<", *pieces, NETWORK)
    assert text.endswith("Password: ")


def test_whoever_guesses_is_locked_out_for_a_while_and_other_lines_are_not(bench: ConsoleBench) -> None:
    text = bench.type(NETWORK, *["guess"] * 5, PASSWORD, "", NETWORK, PASSWORD)
    assert text.count("That did not work: too many wrong passwords; wait 5 minutes") == 2
    assert "Configured:" not in text


def test_an_unconfirmed_change_is_kept_only_by_who_knows_the_password(bench: ConsoleBench) -> None:
    def changed() -> bool:
        client = bench.sysd.client
        client.commit(client.propose(bench.in_force().replace("mx.", "new.")).revision)
        return True

    text = bench.type(changed, "<", "<", STATUS)
    assert "nobody has confirmed yet.\nPassword: \n" in text
    assert "A change waits to be kept" in text
    assert "keep?" not in text
    text = bench.type(changed, "<", PASSWORD, "y")
    assert "Kept: revision" in text


def test_the_first_boot_lets_in_who_chose_the_password(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    answers = ("", "1", "", "1", "mx.example.com", "", "", PASSWORD, PASSWORD, "example.com", "mail.example.com")
    text = bench.type(*answers, "y", "y", "n", NETWORK)
    assert "Password: " not in text.partition("Mailweir on")[2]
    assert "Configured: eth0, by DHCP" in text


# --- shell


def test_a_shell_wants_the_password_each_time_and_is_logged(bench: ConsoleBench) -> None:
    text = bench.type(NETWORK, PASSWORD, "<", SHELL, "wrong", PASSWORD)
    assert bench.machine.notes[-1] == "shell on ttyS0"
    assert text.count("Password: ") == 3
    assert ("shell_opened", {"line": "ttyS0", "author": "anna (root)"}) in bench.sysd.events
    assert PASSWORD not in str(bench.sysd.events)


def test_there_is_no_shell_where_the_configuration_forbids_it_or_nobody_has_a_password(
    bench: ConsoleBench, tmp_path: Path
) -> None:
    assert "shell" in bench.type()
    bench.put(bench.in_force() + "[console]\nshell = false\n")
    assert "shell" not in bench.type()
    (tmp_path / "other").mkdir()
    assert "shell" not in ConsoleBench(tmp_path / "other").type()
