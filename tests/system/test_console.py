"""`mailweir console` on a terminal, over a `sysd` and a gateway that run: what a person at the serial line sees."""

from __future__ import annotations

import os
import random
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect

from tests.support.conditions import until
from tests.support.first_boot_script import PASSWORD, first_boot, keep
from tests.support.gateway import Gateway, toml
from tests.support.package import ROOT
from tests.support.sink import Sink
from tests.support.sysd_of_console import SysdOfConsole

NOISE = [octet for octet in range(256) if octet not in b"\r\n\x03"]


class GatewayOfSysd(Gateway):
    """Runs with the file that `sysd` has in force."""

    def write_config(self) -> None:
        return


# As `python -m appliance.cli.main`, with the announcement that the gateway is ready where the test can make it.
MENU = """
import pathlib, sys
from appliance.console import announced
announced.LINE_FILE = pathlib.Path(sys.argv.pop(1))
from appliance.cli.main import main
main()
"""


def menu_of(sysd: SysdOfConsole, folder: Path) -> pexpect.spawn:
    """The menu on a terminal of 80x24."""
    command = ["-c", MENU, str(folder / "announced"), "console", "--socket", str(sysd.socket)]
    menu = pexpect.spawn(sys.executable, command, cwd=str(ROOT), dimensions=(24, 80), timeout=30, encoding="ascii")
    menu.delaybeforesend = None
    menu.logfile_read = (folder / "transcript").open("a")
    return menu


@contextmanager
def box(folder: Path, speed: float = 1.0) -> Iterator[tuple[SysdOfConsole, pexpect.spawn]]:
    """`sysd` with what was delivered, its gateway, and the menu."""
    gateway = GatewayOfSysd()
    sysd = SysdOfConsole(folder, toml(gateway.config), speed)
    gateway.config_file = sysd.link
    sysd.start()
    with gateway:
        menu = menu_of(sysd, folder)
        try:
            yield sysd, menu
        finally:
            menu.close(force=True)
            sysd.kill()


def answer(menu: pexpect.spawn, *pairs: tuple[str, str]) -> None:
    """Waits for each question, as it stands there, and types the answer."""
    for question, typed in pairs:
        menu.expect_exact(question)
        menu.send(f"{typed}\r")


def walk_to_the_commit(menu: pexpect.spawn, server: str) -> None:
    pairs = first_boot(server=server)
    answer(menu, ("Mode [1]: ", "?"), *pairs[:4])
    answer(menu, ("Name of this box: ", "mx"), pairs[4])
    answer(menu, ("DNS servers [none]: ", "192.0.2.53"), ("Time servers [none]: ", "<"))
    answer(menu, ("DNS servers [192.0.2.53]: ", "none"), *pairs[6:-1])
    menu.expect_exact("ok  banner: 220")
    menu.expect_exact("NO  STARTTLS: not offered")
    menu.expect_exact("It works.")
    answer(menu, pairs[-1])


def verdict_is_shown(menu: pexpect.spawn) -> bool:
    answer(menu, ("Number: ", "1"))
    return bool(menu.expect_exact(["Mailweir on", "Last verdicts:"]))


def test_the_first_boot_ends_with_a_gateway_that_passes_mail_on(tmp_path: Path) -> None:
    with Sink() as sink, box(tmp_path) as (sysd, menu):
        walk_to_the_commit(menu, f"127.0.0.1:{sink.port}")
        answer(menu, keep()[0])
        menu.expect_exact("Kept: revision 2.")
        answer(menu, keep()[1])
        menu.expect_exact("250 2.0.0 Ok")
        menu.expect_exact("Mailweir on mx.example.test")
        (taken,) = sink.taken
        assert b"Subject: Test message from mx.example.test" in taken.body
        config = tomllib.loads(sysd.client.text().text)
        assert config["hostname"] == "mx.example.test"
        assert config["network"]["interface"] == [{"name": "eth0", "dhcp4": True, "dhcp6": True}]
        assert config["next_hop"] == [{"name": "example.test", "servers": [{"url": f"smtp://127.0.0.1:{sink.port}"}]}]
        assert sysd.client.verify_password(PASSWORD, "test")
        answer(menu, ("Number: ", "1"))
        menu.expect_exact("accept 1")
        menu.expect_exact("Mailweir on")
        until(lambda: verdict_is_shown(menu), "the verdict in the status")  # it is on the disk in a moment
        assert PASSWORD not in (tmp_path / "transcript").read_text()


def test_what_is_not_kept_in_time_returns_to_what_was_delivered(tmp_path: Path) -> None:
    with Sink() as sink, box(tmp_path, speed=60.0) as (sysd, menu):
        walk_to_the_commit(menu, f"127.0.0.1:{sink.port}")
        menu.expect_exact("The time is over: not kept.")
        menu.expect_exact("Revision 1 is in force again.")
        menu.expect_exact("Mode [1]: ")
        assert tomllib.loads(sysd.client.text().text)["hostname"] == "gateway.example.test"


def test_no_key_and_no_signal_of_the_keyboard_ends_the_menu_or_leaves_a_shell(tmp_path: Path) -> None:
    with box(tmp_path) as (_, menu):
        menu.expect_exact("Mode [1]: ")
        for octets in ("\x03", "\x04", "\x1a", "\x1c", "\x1b[A\x1b", "\x00\x11\x13\r"):
            menu.send(octets)
        for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
            menu.kill(signum)
        menu.send("\x03")
        answer(menu, ("Mode [1]: ", ""), ("Port for the mail, or p [1]: ", "<"), ("Mode [1]: ", ""))
        assert menu.isalive()


def past_the_first_boot(sysd: SysdOfConsole, menu: pexpect.spawn) -> None:
    """Somebody sets the box up at another line, with the password; the main menu comes here."""
    menu.expect_exact("Mode [1]: ")
    sysd.client.set_password(PASSWORD)
    sysd.client.commit(sysd.client.propose(sysd.client.text().text + "# ours\n").revision)
    sysd.client.confirm()
    menu.send("\r")
    menu.expect_exact("configured at another line meanwhile")


def chosen(menu: pexpect.spawn, title: str) -> None:
    """Types the number that stands before `title` in the menu."""
    menu.expect(rf"([0-9]+)  {title}\r\n")
    number = menu.match[1]
    answer(menu, ("Number: ", number))


def test_what_changes_something_wants_the_password_once_in_a_sitting(tmp_path: Path) -> None:
    with box(tmp_path) as (sysd, menu):
        past_the_first_boot(sysd, menu)
        chosen(menu, "status")
        menu.expect_exact("Mailweir on")
        chosen(menu, "network")
        answer(menu, ("Password: ", "a guess"), ("Password: ", PASSWORD))
        menu.expect_exact("Time servers")
        answer(menu, ("Number: ", "<"))
        chosen(menu, "history of the configuration")
        menu.expect_exact("Revision: ")
        transcript = (tmp_path / "transcript").read_text()
        assert PASSWORD not in transcript and "a guess" not in transcript


def test_a_line_that_is_hung_up_ends_its_menu_and_what_it_left_unkept_returns(tmp_path: Path) -> None:
    with box(tmp_path, speed=20.0) as (sysd, menu):
        past_the_first_boot(sysd, menu)
        chosen(menu, "network")
        answer(menu, ("Password: ", PASSWORD))
        chosen(menu, "name of this box")
        answer(menu, ("]: ", "new.example.test"), ("Put this in force [y/N]: ", "y"))
        menu.expect_exact("keep? [y/N] ")
        assert "new.example.test" in sysd.client.text().text
        menu.close(force=False)
        assert (menu.exitstatus, menu.signalstatus) in ((0, None), (None, signal.SIGHUP))
        until(lambda: not sysd.client.status().unconfirmed, "the change to return")
        assert "new.example.test" not in sysd.client.text().text
        again = menu_of(sysd, tmp_path)
        try:
            chosen(again, "queue")
            again.expect_exact("Password: ")  # a new sitting
        finally:
            again.close(force=True)


def test_a_gateway_that_gets_ready_is_told_above_the_question_which_stands_there_again(tmp_path: Path) -> None:
    with box(tmp_path) as (_, menu):
        menu.expect_exact("Mode [1]: ")
        menu.send("1")
        menu.expect_exact("1")
        (tmp_path / "announced").write_text("Mailweir is ready: 220 mx ESMTP\n")
        menu.expect_exact("\r\nMailweir is ready: 220 mx ESMTP\r\nMode [1]: 1")
        answer(menu, ("", ""), ("Port for the mail, or p [1]: ", ""))


def test_noise_on_the_line_changes_nothing_and_one_enter_brings_it_to_its_senses(tmp_path: Path) -> None:
    dice = random.Random(8)
    with box(tmp_path) as (sysd, menu):
        past_the_first_boot(sysd, menu)
        menu.expect_exact("Number: ")
        before = sysd.client.history().total
        for _ in range(40):
            os.write(menu.child_fd, bytes(dice.choice(NOISE) for _ in range(30)))
        menu.send("\x15\r")
        chosen(menu, "queue")
        menu.expect_exact("Password: ")
        assert sysd.client.history().total == before and menu.isalive()


def test_another_size_of_the_window_or_a_slow_terminal_is_no_matter(tmp_path: Path) -> None:
    with box(tmp_path) as (sysd, menu):
        past_the_first_boot(sysd, menu)
        for rows, columns in ((10, 40), (60, 200), (24, 80)):
            menu.setwinsize(rows, columns)
            menu.send("\x03")
        menu.expect_exact("Number: ")
        drawn = menu.before.rpartition("Mailweir on")[2]
        lines = drawn.split("\r\n")
        assert len(lines) <= 24 and all(len(line) < 80 for line in lines)
        # 9,600 baud carry 960 octets a second.
        assert len(drawn) < 960, "the menu is there in a second"


def test_only_octets_that_every_terminal_knows_are_written(tmp_path: Path) -> None:
    with box(tmp_path) as (sysd, menu):
        past_the_first_boot(sysd, menu)
        chosen(menu, "status")
        menu.expect_exact("Number: ")
        menu.close(force=True)
        written = (tmp_path / "transcript").read_bytes()
        assert set(written) <= {*range(0x20, 0x7F), 0x07, 0x08, 0x0A, 0x0D}
