"""Dialogues with `sysd` over its socket: who may ask for what, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from appliance.config.store.archive import unpacked
from appliance.control.access import MAY, Asker, admit
from appliance.control.client import ask
from appliance.control.parcels import MAX_PARCEL_OCTETS, PARCELS_PER_USER, PIECE_OCTETS
from appliance.control.protocol import NoAnswer, RequestRefused
from appliance.control.sysd_messages import RESET_WORDS
from tests.support.commit_bench import GOOD, named
from tests.support.sysd_bench import SysdBench

NEW = named("new.example.test")
STRONG = "weir seven otters humming"


@pytest.fixture
def bench(tmp_path: Path) -> SysdBench:
    return SysdBench(tmp_path)


async def refusal(bench: SysdBench, request: str, args: dict[str, Any] | None = None) -> str:
    with pytest.raises(RequestRefused) as caught:
        await bench.ask(ask, bench.options.socket, request, args)
    return str(caught.value)


# --- who may ask


def test_a_foreign_user_is_refused_by_the_kernels_word(bench: SysdBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.as_role("", monkeypatch)

    async def scenario(bench: SysdBench) -> None:
        for request in ("status", "config.get", "nonsense"):
            assert await refusal(bench, request) == f"the user with uid {os.geteuid()} may not ask here"

    bench.run(scenario)


@pytest.mark.parametrize("role", ["mta", "web", "root"])
def test_each_role_may_ask_what_the_table_says_and_nothing_else(
    bench: SysdBench, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    bench.as_role(role, monkeypatch)

    async def scenario(bench: SysdBench) -> None:
        for request, roles in MAY.items():
            answer = await refusal(bench, request, {"unknown": 1})
            assert ("wrong arguments" in answer) == (role in roles), f"{request}: {answer}"
            assert (answer == f"the role {role} may not ask for {request}") == (role not in roles)

    bench.run(scenario)


def test_everybody_may_connect_and_only_the_owner_may_write_the_directory(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        assert stat.S_IMODE(bench.options.socket.stat().st_mode) == 0o666
        assert stat.S_IMODE(bench.options.socket.parent.stat().st_mode) == 0o755

    bench.run(scenario)


def test_a_handler_that_the_table_does_not_know_is_a_defect() -> None:
    async def handler(asker: Asker, args: dict[str, Any]) -> object:
        return None

    with pytest.raises(ValueError, match="not in the table: config.guess"):
        admit({"config.guess": handler}, {0: "root"})


def test_the_author_of_a_change_names_the_role_too() -> None:
    assert Asker(0, "root").author("") == "root"
    assert Asker(33, "web").author("anna\x1b[31m\n") == "anna?[31m? (web)"


# --- configuration


def test_a_change_from_proposal_to_confirmation(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        client = bench.client
        first = await bench.ask(client.status)
        assert (first.revision, first.unconfirmed, first.proposals) == (1, False, [])
        proposal = await bench.ask(client.propose, NEW, "a new name")
        assert (await bench.ask(client.status)).proposals == [proposal.revision]
        diff = await bench.ask(client.diff, None, proposal.revision)
        assert '+hostname = "new.example.test"' in diff
        assert await bench.ask(client.commit, proposal.revision, 60) == 60
        assert bench.notes[-1] == "network: gw -> new"
        during = await bench.ask(client.status)
        assert (during.revision, during.unconfirmed, during.confirm_left_s) == (2, True, 60)
        assert await bench.ask(client.confirm) == 2
        assert (await bench.ask(client.text)).text == NEW
        assert await bench.ask(client.diff) == diff
        newest, oldest = (await bench.ask(client.history)).revisions
        assert (newest.number, newest.state, newest.author, newest.reason) == (
            2,
            "current",
            "anna (root)",
            "a new name",
        )
        assert (oldest.number, oldest.state, oldest.author, oldest.reason) == (1, "confirmed", "sysd", "as delivered")

    bench.run(scenario)


def test_what_is_not_confirmed_returns_and_the_history_says_why(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        proposal = await bench.ask(bench.client.propose, NEW)
        await bench.ask(bench.client.commit, proposal.revision)
        bench.timer.pass_s(120)
        assert "rolled back" in await refusal(bench, "config.confirm")
        revision = (await bench.ask(bench.client.history)).revisions[0]
        assert (revision.state, revision.outcome_reason) == ("rolled back", "not confirmed in time")
        assert "not confirmed in time" in (await bench.ask(bench.client.status)).trouble
        assert await bench.ask(bench.client.text) == await bench.ask(bench.client.text, 1)

    bench.run(scenario)


def test_what_cannot_be_applied_is_told_to_the_asker(bench: SysdBench) -> None:
    bench.network.apply_error = OSError("no such device")

    async def scenario(bench: SysdBench) -> None:
        proposal = await bench.ask(bench.client.propose, NEW)
        with pytest.raises(RequestRefused, match="network: no such device; revision 1 is in force again"):
            await bench.ask(bench.client.commit, proposal.revision)

    bench.run(scenario)


def test_a_bad_text_comes_back_with_line_key_and_remedy(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        text = GOOD.replace("hostname", "hostnam")
        for proposal in (await bench.ask(bench.client.propose, text),):
            assert proposal.revision == 0
            complaints = {(c.line, c.key): c.remedy for c in proposal.complaints}
            assert complaints[(2, "hostnam")] == "did you mean 'hostname'?"
        assert await bench.ask(bench.client.check, text) == proposal.complaints
        assert await bench.ask(bench.client.check, GOOD) == []
        assert "give a text or a parcel" in await refusal(bench, "config.propose", {})

    bench.run(scenario)


def test_secrets_travel_with_a_proposal_and_come_back_with_an_export(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        text = GOOD + '[scan.patterns]\nfiles = ["secrets/mine.txt", "/etc/hostname"]\n'
        proposal = await bench.ask(bench.client.propose, text, "patterns", {"mine.txt": b"a\ti\t-\tspam\n"})
        await bench.ask(bench.client.commit, proposal.revision)
        await bench.ask(bench.client.confirm)
        made, octets = await bench.ask(bench.client.export)
        assert (made.revision, made.outside, made.size_bytes) == (2, ["/etc/hostname"], len(octets))
        bundle = unpacked(octets)
        assert (bundle.text, bundle.secrets) == (text, {"mine.txt": b"a\ti\t-\tspam\n"})
        with pytest.raises(RequestRefused, match="in force already"):
            await bench.ask(bench.client.take_in, octets)
        await bench.ask(bench.client.commit, (await bench.ask(bench.client.propose, GOOD)).revision)
        await bench.ask(bench.client.confirm)
        imported = await bench.ask(bench.client.take_in, octets)
        assert (await bench.ask(bench.client.text)).text == GOOD, "an import commits nothing"
        assert (await bench.ask(bench.client.text, imported.revision)).text == text
        assert (await bench.ask(bench.client.history)).revisions[0].reason == "import of revision 2: patterns"

    bench.run(scenario)


def test_a_text_longer_than_a_line_goes_in_pieces_both_ways(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        text = GOOD + "# padding\n" * 150_000
        proposal = await bench.ask(bench.client.propose, text)
        assert (await bench.ask(bench.client.text, proposal.revision)).text == text
        with pytest.raises(RequestRefused, match="this is no configuration"):
            await bench.ask(bench.client.propose, GOOD + "# padding\n" * 500_000)

    bench.run(scenario)


def test_an_earlier_revision_is_proposed_again(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        await bench.ask(bench.client.commit, (await bench.ask(bench.client.propose, NEW)).revision)
        await bench.ask(bench.client.confirm)
        proposal = await bench.ask(bench.client.return_to, 1)
        await bench.ask(bench.client.commit, proposal.revision)
        assert await bench.ask(bench.client.roll_back) == 2
        assert "there is no revision 99" in await refusal(bench, "config.roll_back", {"to": 99})

    bench.run(scenario)


def test_parcels_are_bounded_and_forgotten(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        names = [
            (await bench.ask(ask, bench.options.socket, "parcel.open"))["parcel"] for _ in range(PARCELS_PER_USER + 1)
        ]
        assert "no such parcel" in await refusal(bench, "parcel.read", {"parcel": names[0]})
        piece = {"parcel": names[-1], "data": "AAAA" * (PIECE_OCTETS // 3)}
        for _ in range(MAX_PARCEL_OCTETS // PIECE_OCTETS):
            await bench.ask(ask, bench.options.socket, "parcel.append", piece)
        assert "over 16 MiB" in await refusal(bench, "parcel.append", piece)
        assert "wrong arguments" in await refusal(bench, "parcel.append", {"parcel": names[-1], "data": "?"})

    bench.run(scenario)


def test_a_second_sysd_does_not_get_the_store(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        with pytest.raises(Exception, match="is sysd running already"):
            await bench_serve_again(bench)

    bench.run(scenario)


async def bench_serve_again(bench: SysdBench) -> None:
    from appliance.daemon import sysd

    await sysd.serve(bench.options, asyncio.Event(), lambda name, fields: None)


# --- the machine


def test_power_and_network_are_the_machines_affair(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        await bench.ask(bench.client.reboot)
        await bench.ask(bench.client.power_off)
        assert await bench.ask(bench.client.ports) == [{"name": "eth0", "link": True}]
        assert await bench.ask(bench.client.probe, "smtp", "192.0.2.1:25") == {"ok": True}
        assert bench.machine.notes == ["reboot", "power off", "ports", "smtp 192.0.2.1:25"]
        assert "there is no probe 'rm'" in await refusal(bench, "network.probe", {"kind": "rm", "target": "x"})
        assert "control characters" in await refusal(bench, "network.probe", {"kind": "ping", "target": "x\n"})
        bench.machine.error = OSError(1, "not today")
        assert await refusal(bench, "power.reboot") == "reboot failed: not today"
        assert "not today" in await refusal(bench, "network.ports")

    bench.run(scenario)


async def shells(bench: SysdBench, line: str = "ttyS0", password: str = STRONG) -> str:
    return await refusal(bench, "shell.open", {"line": line, "password": password})


def test_a_shell_is_opened_for_the_password_on_a_terminal_and_is_an_event(bench: SysdBench) -> None:
    opened: list[str] = []

    class Shells:
        async def open(self, line: str) -> None:
            opened.append(line)

    bench.options.shells = Shells()

    async def scenario(bench: SysdBench) -> None:
        assert "the password is wrong" in await shells(bench), "without a password there is no shell"
        await bench.ask(bench.client.set_password, STRONG)
        assert (await bench.ask(bench.client.status)).shell
        for line in ("../x", "ttyS0.service", "", "pts/1", "tty1;reboot"):
            assert "is no terminal of this box" in await shells(bench, line)
        assert await shells(bench, password="guess") == "the password is wrong"
        assert opened == []
        await bench.ask(bench.client.open_shell, "ttyS0", STRONG)
        assert opened == ["ttyS0"]
        told = [(name, fields["line"]) for name, fields in bench.events if name.startswith("shell")]
        assert told == [("shell_refused", "ttyS0"), ("shell_refused", "ttyS0"), ("shell_opened", "ttyS0")]
        assert STRONG not in str(bench.events)
        forbidden = await bench.ask(bench.client.propose, GOOD + "[console]\nshell = false\n")
        await bench.ask(bench.client.commit, forbidden.revision)
        assert not (await bench.ask(bench.client.status)).shell
        assert await shells(bench) == "there is no shell here"

    bench.run(scenario)


def test_a_machine_that_mounts_no_sticks_and_has_no_shell_says_so(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        status = await bench.ask(bench.client.status)
        assert (status.sticks, status.shell) == (False, False)
        assert "this machine mounts no sticks" in await refusal(bench, "stick.list")
        assert await shells(bench) == "there is no shell here"

    bench.run(scenario)


def test_a_machine_without_probes_says_so(bench: SysdBench) -> None:
    bench.options.probes = None

    async def scenario(bench: SysdBench) -> None:
        assert await refusal(bench, "network.ports") == "this machine has no network probes"

    bench.run(scenario)


def test_the_administrators_password_must_be_strong_and_is_kept_as_a_hash(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        client = bench.client
        assert not (await bench.ask(client.status)).password_set
        assert not await bench.ask(client.verify_password, "", "console"), "none is not an empty one"
        for weak in ("short", "passwordpassword", "aaaaaaaaaaaaaaa", "mailweir2024"):
            with pytest.raises(RequestRefused, match="too weak"):
                await bench.ask(client.set_password, weak)
        await bench.ask(client.set_password, STRONG)
        assert (await bench.ask(client.status)).password_set
        assert await bench.ask(client.verify_password, STRONG, "console")
        assert not await bench.ask(client.verify_password, STRONG + "x", "console")
        kept = bench.options.store / "administrator.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert json.loads(kept.read_text())["hash"].startswith("$argon2id$")
        assert STRONG not in str(bench.events)

    bench.run(scenario)


def test_guesses_are_counted_for_each_source(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        await bench.ask(bench.client.set_password, STRONG)
        for _ in range(5):
            assert not await bench.ask(bench.client.verify_password, "guess", "192.0.2.7")
        with pytest.raises(RequestRefused, match="too many wrong passwords"):
            await bench.ask(bench.client.verify_password, STRONG, "192.0.2.7")
        assert await bench.ask(bench.client.verify_password, STRONG, "192.0.2.8")

    bench.run(scenario)


def test_the_pages_must_know_the_old_password_to_set_a_new_one(
    bench: SysdBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def by_root(bench: SysdBench) -> None:
        await bench.ask(bench.client.set_password, STRONG)

    async def by_web(bench: SysdBench) -> None:
        with pytest.raises(RequestRefused, match="the old password is wrong"):
            await bench.ask(bench.client.set_password, STRONG[::-1])
        await bench.ask(bench.client.set_password, STRONG[::-1], STRONG)
        assert await bench.ask(bench.client.verify_password, STRONG[::-1], "192.0.2.8")

    bench.run(by_root)
    bench.as_role("web", monkeypatch)
    bench.run(by_web)


def test_a_factory_reset_erases_everything_at_the_next_start_and_begins_as_delivered(
    bench: SysdBench, tmp_path: Path
) -> None:
    (tmp_path / "state" / "spool").mkdir(parents=True)
    (tmp_path / "state" / "spool" / "mail").write_text("mail")
    (tmp_path / "beside").write_text("not ours")
    (tmp_path / "state" / "link").symlink_to(tmp_path)

    async def before(bench: SysdBench) -> None:
        await bench.ask(bench.client.set_password, STRONG)
        await bench.ask(bench.client.commit, (await bench.ask(bench.client.propose, NEW)).revision)
        await bench.ask(bench.client.confirm)
        assert RESET_WORDS in await refusal(bench, "factory_reset", {"typed": "yes"})
        assert not (await bench.ask(bench.client.status)).resetting
        await bench.ask(bench.client.factory_reset, RESET_WORDS)
        assert bench.machine.notes[-1] == "reboot"
        assert (await bench.ask(bench.client.status)).resetting

    async def after(bench: SysdBench) -> None:
        status = await bench.ask(bench.client.status)
        assert (status.revision, status.password_set, status.resetting) == (1, False, False)
        assert (await bench.ask(bench.client.text)).text == GOOD
        assert list((tmp_path / "state").iterdir()) == []
        assert (tmp_path / "beside").read_text() == "not ours"

    bench.run(before)
    bench.run(after)


def test_without_a_configuration_there_is_still_somebody_to_ask(bench: SysdBench) -> None:
    bench.options.factory = None

    async def scenario(bench: SysdBench) -> None:
        assert (await bench.ask(bench.client.status)).revision == 0
        assert (await bench.ask(bench.client.text)).text == ""
        proposal = await bench.ask(bench.client.propose, GOOD)
        await bench.ask(bench.client.commit, proposal.revision)
        assert bench.machine.notes == ["restart"], "a gateway that had nothing to read is started"
        assert await bench.ask(bench.client.roll_back) == 0
        assert bench.machine.notes == ["restart", "stop"]

    bench.run(scenario)


def test_nobody_listens_once_it_has_ended(bench: SysdBench) -> None:
    async def scenario(bench: SysdBench) -> None:
        await bench.ask(bench.client.status)

    bench.run(scenario)
    with pytest.raises(NoAnswer, match="nobody answers"):
        bench.client.status()
