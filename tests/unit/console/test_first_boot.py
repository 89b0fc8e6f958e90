from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.console.modes import MODES
from appliance.console.pages import PAGES
from appliance.control.protocol import NoAnswer
from tests.support.commit_bench import GOOD
from tests.support.console import ConsoleBench

PASSWORD = "violet anchor drumming kettle"
MODE, PORT, PLAIN, DHCP = "", "1", "none", "1"
NETWORK = (PORT, PLAIN, DHCP, "mx.example.com", "192.0.2.53", "ntp.example.com")
MAIL = ("example.com", "mail.example.com")


def test_the_first_boot_ends_with_a_configuration_that_is_kept_and_a_message_that_went_through(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    text = bench.type(MODE, *NETWORK, PASSWORD, PASSWORD, *MAIL, "y", "y", "y", "1")
    config = tomllib.loads(bench.in_force())
    assert config["hostname"] == "mx.example.com"
    assert config["network"] == {
        "dns": ["192.0.2.53"],
        "ntp": ["ntp.example.com"],
        "interface": [{"name": "eth0", "dhcp4": True, "dhcp6": True}],
    }
    assert [domain["name"] for domain in config["domain"]] == ["example.com"]
    assert bench.mail.notes[0] == "trial to postmaster@example.com" and "  250 2.0.0 Ok" in text
    assert "Mailweir on mx.example.com" in text
    assert PASSWORD not in text
    # Once when it was typed, and once in the network that it will have.
    assert bench.machine.notes.count("smtp mail.example.com:25") == 2


def test_a_fixed_address_on_a_vlan_is_asked_for_piece_by_piece(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    fixed = (
        "eth1",
        "12",
        "2",
        "192.0.2.5",
        "192.0.2.5/24",
        "192.0.3.1",
        "192.0.2.1",
        "none",
        "mx.example.com",
        "none",
        "none",
    )
    text = bench.type(MODE, *fixed, PASSWORD, PASSWORD, *MAIL, "y", "y", "n")
    assert "prefix length is missing" in text and "not in 192.0.2.0/24" in text
    network = tomllib.loads(bench.in_force())["network"]
    assert network["interface"] == [{"name": "vlan12", "addresses": ["192.0.2.5/24"], "gateways": ["192.0.2.1"]}]
    assert network["vlan"] == [{"name": "vlan12", "on": "eth1", "id": 12}]


def test_the_summary_can_be_refused_and_answers_are_the_defaults_then(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    again = ("mail2.example.com", "y")
    text = bench.type(MODE, *NETWORK, PASSWORD, PASSWORD, *MAIL, "n", *again, "y", "n")
    assert "Mail server of example.com [smtp://mail.example.com:25]: " in text
    assert "mail2.example.com" in bench.in_force()


def test_back_goes_to_the_question_before_over_all_that_was_not_asked(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    text = bench.type(MODE, PORT, PLAIN, DHCP, "<", "<", "<", "2", "7", "1")
    assert text.endswith("Name of this box: ")
    assert text.count("Port for the mail, or p [1]: ") == 2


def test_a_weak_password_is_refused_with_a_reason_and_asked_for_again(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    text = bench.type(MODE, *NETWORK, "password", "password", PASSWORD, "something else", PASSWORD, PASSWORD)
    assert "too weak: shorter than 10 characters" in text
    assert "the two are not the same" in text
    assert "The password is set." in text and text.endswith("Protected domain: ")


def test_a_mail_server_that_does_not_answer_is_told_at_once_and_may_be_used_all_the_same(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    bench.machine.server_works = False
    text = bench.type(MODE, *NETWORK, PASSWORD, PASSWORD, *MAIL, "", "mail3.example.com", "y")
    assert text.count("It does not work.") == 2
    assert "Mail server    smtp://mail3.example.com:25" in text or "mail3.example.com:25" in text


def test_a_port_is_found_by_plugging(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)

    def plug() -> bool:
        bench.machine.links["eth1"] = True
        return True

    text = bench.type(MODE, "p", plug, lambda: "link is up" in bench.line.text)
    assert "It is eth1: its link is up now." in text
    assert text.endswith("VLAN [none]: ")


def test_looking_for_a_port_can_be_given_up(tmp_path: Path) -> None:
    text = ConsoleBench(tmp_path, configured=False).type(MODE, "p", "")
    assert text.endswith("Port for the mail, or p [1]: ")


def test_without_a_kept_configuration_the_first_boot_comes_again_with_its_answers(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    begun = (MODE, *NETWORK, PASSWORD, PASSWORD, *MAIL, "y")
    text = bench.type(*begun, bench.said("s left"), bench.pass_s(121), bench.said("in force again"), MODE, "", "", "")
    assert "The time is over: not kept." in text
    assert "Revision 1 is in force again." in text
    assert text.endswith("Name of this box [mx.example.com]: ")
    assert "gw.example.test" in bench.in_force()


def test_ctrl_c_begins_the_first_boot_anew_and_leaves_no_way_out(tmp_path: Path) -> None:
    text = ConsoleBench(tmp_path, configured=False).type(MODE, b"\x03", b"\x03\x04\x1c\x1a")
    assert text.count("Mailweir: first configuration") == 3
    assert "Leave" not in text


def test_each_mode_is_explained_and_one_recommended_by_what_the_ports_show(tmp_path: Path) -> None:
    text = ConsoleBench(tmp_path, configured=False).type()
    assert "     One network port is enough." in text
    assert "Recommended: gateway; it needs one network port, and eth0 has a cable in it." in text
    assert text.endswith("Mode [1]: ")


def test_ports_are_told_live_while_the_question_stands_there(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)

    def change(**links: bool) -> Callable[[], bool]:
        def changed() -> bool:
            bench.machine.links.update(links)
            return True

        return changed

    live = (
        *(change(eth1=True), bench.said("eth1: link is up, 1000 Mbit/s full"), b"et", change(eth0=False)),
        *(bench.said("eth0: link is down"), change(usb0=True), bench.said("usb0 is new"), b"h1\r"),
    )
    text = bench.type(MODE, *live)
    assert "eth0: link is down\nPort for the mail, or p [1]: et" in text
    assert text.endswith("VLAN [none]: ")


def test_a_port_that_comes_while_the_question_stands_there_is_chosen_by_its_name(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)

    def plug() -> bool:
        bench.machine.links["usb0"] = True
        return True

    text = bench.type(MODE, "usb0", plug, bench.said("its name chooses it"), "usb0", PLAIN, DHCP)
    assert "type a number from 1 to 2" in text and "The address of usb0:" in text


def test_ports_that_are_not_there_yet_are_waited_for_before_a_mode_is_recommended(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    bench.machine.links.clear()

    def appear() -> bool:
        bench.machine.links["eth0"] = True
        return True

    waits = (bench.said("No network port is to be seen yet. Looking for 30 s"), lambda: True, appear)
    text = bench.type(*waits, bench.said("There now: eth0."), MODE)
    assert "Recommended: gateway; it needs one network port, and eth0 has a cable in it." in text
    assert text.count("No network port") == 1 and text.endswith("Port for the mail, or p [1]: ")


def test_a_box_without_ports_is_set_up_without_them_by_enter_or_after_a_while(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    bench.machine.links.clear()
    text = bench.type("", MODE, bench.said("the network is left as it is", times=2))
    assert "none is to be seen" in text and text.endswith("Name of this box: ")
    assert text.count("Enter: go on without") == text.count("Without a port the network is left as it is") == 2
    assert bench.line.now_s == pytest.approx(30.0, abs=1.0)


def test_a_sysd_that_is_too_busy_to_tell_the_ports_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    look, busy = bench.sysd.client.ports, [NoAnswer("no answer within 30 s")] * 2

    def ports() -> list[dict[str, Any]]:
        if busy:
            raise busy.pop()
        return look()

    monkeypatch.setattr(bench.sysd.client, "ports", ports)
    text = bench.type(lambda: True, bench.said("Mode [1]"))
    assert "The ports cannot be seen yet: no answer within 30 s. Looking" in text and "There now: eth0, eth1." in text


def test_who_is_overtaken_at_another_line_changes_nothing_any_more(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    other = GOOD.replace("gw.", "other.")

    def elsewhere() -> bool:
        client = bench.sysd.client
        client.commit(client.propose(other).revision)
        client.confirm()
        return True

    text = bench.type(MODE, *NETWORK[:-1], elsewhere, NETWORK[-1])
    assert "configured at another line meanwhile" in text
    assert "Administrator's password" not in text and "Mailweir on other.example.test" in text
    assert bench.in_force() == other


def test_a_new_box_can_be_given_the_backup_of_another_instead_of_answers(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = ConsoleBench(tmp_path / "old"), ConsoleBench(tmp_path / "new", configured=False)
    backup = old.plugged.plug()
    old.type(str([page.title for page in PAGES].index("backup and restore") + 1), "1")
    (archive,) = backup.iterdir()
    assert "Restore" not in new.type()
    (new.plugged.plug("sdb1") / archive.name).write_bytes(archive.read_bytes())
    text = new.type("y", PASSWORD, PASSWORD, "", "y", "y")
    assert "The stick sdb1 has backups. Restore one [y/N]: y" in text
    assert text.endswith("Number: ") and "Mailweir on mx.example.test" in text
    assert new.in_force() == old.in_force()
    assert "Password: " not in text, "who chose it need not tell it"


def test_a_stick_with_backups_may_be_passed_over(tmp_path: Path) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    (bench.plugged.plug() / "x.mailweir.tar").write_bytes(b"x")
    assert bench.type("").endswith("Mode [1]: ")


@pytest.mark.parametrize("number", range(1, len(MODES) + 1))
def test_the_first_boot_of_each_mode_puts_that_mode_in_force(tmp_path: Path, number: int) -> None:
    bench = ConsoleBench(tmp_path, configured=False)
    text = bench.type(str(number), *NETWORK, PASSWORD, PASSWORD, *MAIL, "y", "y", "n")
    mode = MODES[number - 1].mode.value
    assert tomllib.loads(bench.in_force())["mode"] == mode
    assert f"  Mode          {mode}" in text
