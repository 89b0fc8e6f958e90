from __future__ import annotations

import random
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.console.desk import Desk
from appliance.console.menu import Menu
from appliance.console.pages import PAGES
from appliance.console.terminal import HungUp
from appliance.control.protocol import ControlError
from appliance.control.update_messages import SlotState, UpdateStatus
from tests.support.commit_bench import GOOD
from tests.support.console import ConsoleBench, NotingMail, PlainBoard, dialogue

NUMBER = {page.title: str(number) for number, page in enumerate(PAGES, 1)}
STATUS, FLOW, NETWORK, MODE = NUMBER["status"], NUMBER["mail flow"], NUMBER["network"], NUMBER["mode"]
DOMAINS, PROBES, TRACE = NUMBER["mail domains"], NUMBER["probes: ping, DNS, SMTP"], NUMBER["trace of a message"]
QUEUE, PASSWORD, HISTORY = NUMBER["queue"], NUMBER["administrator's password"], NUMBER["history of the configuration"]
BACKUP, RESTART, POWER_OFF = NUMBER["backup and restore"], NUMBER["restart"], NUMBER["power off"]
RESET = NUMBER["factory reset"]


@pytest.fixture
def bench(tmp_path: Path) -> ConsoleBench:
    return ConsoleBench(tmp_path)


def entry(entry_id: str = "06H03548JDQ5F2G9", state: str = "waiting") -> dict[str, object]:
    recipient = {"address": "anna@example.test", "state": "waiting", "attempts": 2, "reply": "451 4.4.1 later"}
    return {
        "id": entry_id, "state": state, "hold_reason": "", "sender": "you@sender.test", "size_bytes": 411,
        "received_at_s": 1.8e9, "due_s": 1.8e9, "recipients": [recipient],
    }  # fmt: skip


def message() -> dict[str, object]:
    return {
        "id": "06H034KF9M8QM5A7", "at_s": 1.8e9, "sender": "", "recipients": ["anna@example.test"], "action": "accept",
        "reply": "250 2.0.0 Ok", "deliveries": [],
    }  # fmt: skip


def test_the_menu_is_numbered_and_fits_a_screen(bench: ConsoleBench) -> None:
    lines = bench.type().splitlines()
    assert "  1  status" in lines and f" {RESET}  factory reset" in lines
    assert len(lines) < 24 and all(len(line) < 80 for line in lines)


def test_status_tells_flow_queue_verdicts_memory_and_temperature(bench: ConsoleBench) -> None:
    bench.mail.entries, bench.mail.messages = [entry()], [message()]
    text = bench.type(STATUS)
    for said in ("revision 2", "Memory: 120 of 512 MiB", "Temperature: 48", "Sessions: 2 open, 4 since", "accept 8",
                 "Queue: 1 messages", "06H034KF9M8QM5A7", "250 2.0.0 Ok"):  # fmt: skip
        assert said in text


def test_status_tells_ports_and_the_last_hour(bench: ConsoleBench) -> None:
    bench.mail.recent = {"accept": 90, "refuse": 30}
    text = bench.type(STATUS)
    assert "Mode: gateway; name: mx.example.test" in text
    assert "Port eth0: link, 1000 Mbit/s full" in text and "Port eth1: no link" in text
    assert "Last hour: 2.0 messages a minute (accept 90, refuse 30)" in text
    assert "Journal: in memory only" in text
    bench.put(GOOD + "[log]\nkeep_mib = 64\n")
    assert "Journal: up to 64 MiB on the disk" in bench.type(STATUS)


def test_status_tells_the_update_slots_where_there_are_any(bench: ConsoleBench) -> None:
    slot = SlotState(name="A", booted=True, wanted=True, state="good", tries=0, version="0.1.0")

    class Slots:
        def status(self) -> UpdateStatus:
            return UpdateStatus(
                booted="A", version="0.1.0", slots=[slot], failures=[], health="good", health_reason="",
                activity="idle", percent=0, text="",
            )  # fmt: skip

    bench.updates = Slots()
    text = bench.type(STATUS)
    assert "Slot A: release 0.1.0, good (running, starts next)" in text and "Health: good" in text
    bench.updates = None
    text = bench.type(STATUS)
    assert "Slot" not in text and "Updates" not in text


def test_the_mail_flow_is_a_line_every_few_seconds_until_enter(bench: ConsoleBench) -> None:
    def more() -> bool:
        bench.mail.accepted += 5
        return True

    text = bench.type(FLOW, more, lambda: True, "")
    head, *lines = text.partition("back.\n")[2].partition("\n\nMailweir on")[0].splitlines()
    assert head.split() == ["OPEN", "MAIL/MIN", "ACCEPTED", "REFUSED", "OTHER", "KIB/S", "QUEUE"]
    assert [line.split() for line in lines] == [
        ["2", "120.0", "10", "0", "0", "0.0", "0"],
        ["2", "0.0", "0", "0", "0", "0.0", "0"],
    ]
    assert text.count("Mailweir on") == 2


def test_the_mode_page_tells_what_would_change_and_what_stays_before_it_asks(bench: ConsoleBench) -> None:
    text = bench.type(MODE, "1", "", "y", "y", MODE, "1")
    assert 'the file says mode = "gateway", which it did not say' in text
    assert "port 0.0.0.0:25 (smtp) is opened" in text and "port 127.0.0.1:2525 (smtp) is open" in text
    assert "1 domain: example.test" in text
    assert "Nothing would change." in text.partition("Kept: revision 3.")[2]
    assert [listen["address"] for listen in tomllib.loads(bench.in_force())["listen"]] == [
        "127.0.0.1:2525", "0.0.0.0:25", "[::]:25",
    ]  # fmt: skip


def test_status_leaves_out_what_is_not_there(bench: ConsoleBench) -> None:
    bench.board.temperature, bench.mail.error = None, ControlError("the gateway does not run")
    text = bench.type(STATUS)
    assert "Temperature" not in text and "the gateway does not run" in text


def test_a_name_is_changed_shown_as_a_difference_and_kept(bench: ConsoleBench) -> None:
    text = bench.type(NETWORK, "5", "new.example.test", "y", "y")
    assert '-hostname = "mx.example.test"' in text and '+hostname = "new.example.test"' in text
    assert "Mailweir on new.example.test" in text
    assert 'hostname = "new.example.test"  # ours' in bench.in_force()


@pytest.mark.parametrize("answer", ["n", ""])
def test_a_change_that_is_not_wanted_is_taken_back_at_once(bench: ConsoleBench, answer: str) -> None:
    text = bench.type(NETWORK, "5", "new.example.test", "y", answer)
    assert "Not kept: revision 2 is in force again." in text
    assert "mx.example.test" in bench.in_force()


def test_a_change_that_nobody_keeps_in_time_returns_by_itself(bench: ConsoleBench) -> None:
    wait = (bench.said("120 s left; keep? [y/N]"), bench.pass_s(50), bench.said("70 s left"), bench.pass_s(71))
    text = bench.type(NETWORK, "5", "new.example.test", "y", *wait, bench.said("Revision 2 is in force again."))
    assert "Mailweir on mx.example.test" in text.partition("The time is over")[2]
    assert "mx.example.test" in bench.in_force()


def test_noise_and_other_words_neither_keep_a_change_nor_end_it(bench: ConsoleBench) -> None:
    text = bench.type(NETWORK, "5", "new.example.test", "y", b"\x03", "perhaps", b"\x1b[A\x00", "yes")
    assert "type y to keep it" in text and "Kept: revision 3." in text


def test_a_change_left_unconfirmed_is_asked_about_when_the_menu_comes_back(bench: ConsoleBench) -> None:
    text = bench.type(NETWORK, "5", "new.example.test", "y")
    assert text.endswith("keep? [y/N] ") or "s left; keep? [y/N] " in text
    assert "mx.example.test" in bench.type("")  # `sysd` was away meanwhile, and rolled it back


def test_what_the_check_refuses_is_told_and_changes_nothing(bench: ConsoleBench) -> None:
    text = bench.type(DOMAINS, "1", "example.org", "127.0.0.1:2525", "y")
    assert "nothing was changed" in text and "error" in text
    assert "example.org" not in bench.in_force()


def test_an_address_is_changed_in_the_questions_of_the_first_boot(bench: ConsoleBench) -> None:
    fixed = ("2", "none", "2", "192.0.2.5/24", "192.0.2.1", "none")
    text = bench.type(NETWORK, "2", *fixed, "y", "y", NETWORK, "2")
    assert tomllib.loads(bench.in_force())["network"]["interface"][0]["name"] == "eth1"
    assert "Configured: eth1, 192.0.2.5/24 by 192.0.2.1" in text
    assert text.endswith("Port for the mail, or p [2]: ")


def test_the_network_tells_speed_and_duplex_and_a_new_address_leaves_what_is_set_of_them(bench: ConsoleBench) -> None:
    link = 'speed_mbit = 100\nduplex = "half"\nmtu = 1400\n'
    bench.put(GOOD + f'[[network.interface]]\nname = "eth0"\n{link}dhcp4 = true\n')
    text = bench.type(NETWORK, "2", "1", "none", "2", "192.0.2.5/24", "none", "none", "y", "y")
    assert "Configured: eth0, by DHCP, held to 100 Mbit/s half" in text
    assert "eth0            yes    1000 full  02:00" in text
    (it,) = tomllib.loads(bench.in_force())["network"]["interface"]
    assert (it["addresses"], it["speed_mbit"], it["duplex"], it["mtu"]) == (["192.0.2.5/24"], 100, "half", 1400)
    bench.type(NETWORK, "2", "2", "none", "1", "y", "y")
    (it,) = tomllib.loads(bench.in_force())["network"]["interface"]
    assert it == {"name": "eth1", "dhcp4": True, "dhcp6": True}


def test_a_network_of_several_ports_is_shown_and_left_alone(bench: ConsoleBench) -> None:
    bench.put(GOOD + '[[network.interface]]\nname = "eth0"\ndhcp4 = true\n[[network.interface]]\nname = "eth1"\n')
    text = bench.type(NETWORK)
    assert "several ports" in text and "port and address" not in text


def test_domains_are_added_and_removed(bench: ConsoleBench) -> None:
    bench.type(DOMAINS, "1", "example.org", "192.0.2.20", "y", "y")
    assert [domain["name"] for domain in tomllib.loads(bench.in_force())["domain"]] == ["example.test", "example.org"]
    bench.type(DOMAINS, "3", "2", "y", "y")
    assert [domain["name"] for domain in tomllib.loads(bench.in_force())["domain"]] == ["example.test"]


def test_a_domain_gets_another_mail_server(bench: ConsoleBench) -> None:
    text = bench.type(DOMAINS, "2", "1", "192.0.2.30", "y", "y")
    assert "It works." in text and "smtp://192.0.2.30:25" in bench.in_force()


def test_probes_ask_for_a_target_and_show_the_steps(bench: ConsoleBench) -> None:
    text = bench.type(PROBES, "3", "", "mail.example.test")
    assert "smtp mail.example.test" in bench.machine.notes
    assert "ok  banner: 220 mail.example.test" in text and "It works." in text


def test_a_message_is_traced_by_id_and_by_address(bench: ConsoleBench) -> None:
    bench.mail.messages = [message(), {**message(), "id": "06H034KD1PRVBFKY"}]
    text = bench.type(TRACE, "[06h034kf9m8qm5a7]", TRACE, "anna@example.test", TRACE, "06XXXXXXXXXXXXXX")
    assert bench.mail.notes == ["trace 06H034KF9M8QM5A7", "trace anna@example.test", "trace 06XXXXXXXXXXXXXX"]
    assert "accept: decided by default" in text and "<> to anna@example.test" in text and "Nothing found" in text


def test_the_queue_is_listed_and_a_message_tried_held_and_deleted(bench: ConsoleBench) -> None:
    bench.mail.entries = [entry("A"), entry("B")]
    text = bench.type(QUEUE, "2", "1", QUEUE, "2", "2", QUEUE, "1", "3", "n", QUEUE, "1", "3", "y")
    assert bench.mail.notes == ["retry B", "hold B", "delete A"]
    assert "451 4.4.1 later" in text


def test_a_held_message_can_be_released(bench: ConsoleBench) -> None:
    bench.mail.entries = [entry("A", "held")]
    bench.type(QUEUE, "1", "1")
    assert bench.mail.notes == ["release A"]


def test_the_password_is_set_and_not_shown(bench: ConsoleBench) -> None:
    text = bench.type(PASSWORD, "violet anchor drumming kettle", "violet anchor drumming kettle")
    assert "The password is set." in text and "violet" not in text


def test_the_history_shows_what_changed_and_leads_back(bench: ConsoleBench) -> None:
    text = bench.type(HISTORY, "2", "1", HISTORY, "1", "2", HISTORY, "1", "4", "y", "y")
    assert '+hostname = "mx.example.test"  # ours' in text
    assert "back to revision 1" in bench.type(HISTORY)
    assert "gw.example.test" in bench.in_force()


def test_a_backup_goes_to_a_stick_and_can_be_restored(bench: ConsoleBench) -> None:
    stick = bench.plugged.plug()
    text = bench.type(BACKUP, "1")
    (archive,) = stick.iterdir()
    assert archive.name == "mx.example.test-2.mailweir.tar" and archive.stat().st_mode & 0o77 == 0
    assert "sda1: KEYS Plain Stick (vfat, 8.0 GiB)" in text and "can be pulled out now" in text
    bench.type(NETWORK, "5", "new.example.test", "y", "y")
    assert 'hostname = "mx.example.test"' in bench.type(BACKUP, "2", "", "y", "y")
    assert "mx.example.test" in bench.in_force()
    assert not bench.plugged.mounted


def test_a_second_backup_leaves_the_first_one_alone(bench: ConsoleBench) -> None:
    stick = bench.plugged.plug()
    bench.type(BACKUP, "1", BACKUP, "1")
    assert len(list(stick.iterdir())) == 2


def test_a_stick_may_be_plugged_in_late_and_one_of_several_is_chosen(bench: ConsoleBench) -> None:
    def plug() -> bool:
        bench.plugged.plug("sda1")
        bench.plugged.plug("sdb1")
        return True

    text = bench.type(BACKUP, "1", "y", plug, "y", "2")
    assert "There is no stick" in text and "is in mx.example.test-2.mailweir.tar" in text
    assert "  2  sdb1: KEYS" in text


def test_an_archive_that_is_none_is_told_and_the_menu_goes_on(bench: ConsoleBench) -> None:
    stick = bench.plugged.plug()
    (stick / "bad.mailweir.tar").write_bytes(b"x" * 2000)
    (stick / "letter.txt").write_text("not ours")
    text = bench.type(BACKUP, "2", "", "")
    assert "letter" not in text
    assert "That did not work: " in text and text.endswith("Number: ")


def test_restart_and_power_off_want_a_yes(bench: ConsoleBench) -> None:
    bench.type(RESTART, "", POWER_OFF, "n", POWER_OFF, "y", RESTART, "y")
    assert bench.machine.notes == ["power off", "reboot"]


def test_a_factory_reset_wants_its_words_typed(bench: ConsoleBench) -> None:
    text = bench.type(RESET, "y", "Erase everything", "<")
    assert text.count("nothing was erased") == 2 and bench.machine.notes == []
    bench.type(RESET, "erase everything")
    assert bench.machine.notes == ["reboot"]


def test_leaving_is_offered_only_where_it_may_be(bench: ConsoleBench) -> None:
    assert "leave" not in bench.type("15")
    text = bench.type("15", "1", may_leave=True)
    assert text.count("Mailweir on") == 1


def test_a_defect_of_a_page_is_told_and_the_menu_goes_on(bench: ConsoleBench) -> None:
    bench.mail.entries = [{"id": "A"}]
    text = bench.type(QUEUE, "")
    assert "by a defect of this menu: KeyError" in text and text.endswith("Number: ")


def test_without_sysd_the_menu_waits_and_asks_again(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path)
    asked, line = dialogue("", "")
    with pytest.raises(HungUp):
        Menu(Desk(asked, bench.sysd.client, bench.mail, bench.board)).run()
    assert line.text.count("Enter: go on") == 3


@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=30), st.sampled_from([b"\r", b"<\r", b"?\r", b"y\r", b"1\r", b"7\r"])),
        max_size=40,
    ),
    st.integers(0, 99),
)
def test_no_octets_end_the_menu(pieces: list[bytes], seed: int) -> None:
    chance = random.Random(seed)

    class Broken:
        """Whatever is asked of it."""

        def __getattr__(self, name: str) -> object:
            def call(*args: object, **named: object) -> object:
                raise chance.choice([ControlError("no"), OSError("disk"), ValueError("defect")])

            return call

    asked, line = dialogue(*pieces)
    with pytest.raises(HungUp):
        Menu(Desk(asked, Broken(), NotingMail(), PlainBoard())).run()  # type: ignore[arg-type]
    assert set(line.written) <= {*range(0x20, 0x7F), 0x08, 0x0A, 0x0D}
