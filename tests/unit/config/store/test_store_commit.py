"""Propose, check, commit, and then confirm or go back: in order, in effect, and on a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.config.store import commit as commit_module
from appliance.config.store.check import Refused
from appliance.config.store.commit import ApplyFailed
from appliance.config.store.revision import State, StoreError
from tests.support.commit_bench import GOOD, CommitBench, named


def run(tmp_path: Path, scenario: Callable[[CommitBench], Awaitable[Any]]) -> None:
    async def main() -> None:
        bench = CommitBench(tmp_path)
        await bench.commits.start()
        try:
            await asyncio.wait_for(scenario(bench), 30)
        finally:
            await bench.end()

    asyncio.run(main())


def test_a_commit_is_applied_in_order_and_stays_once_confirmed(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        proposed = await bench.commits.propose(named("new.example.test"), "anna", "a new name")
        assert bench.notes == [], "a proposal changes nothing"
        await bench.commits.commit(proposed.number, "anna")
        assert bench.notes == ["network: gw -> new", "gateway: gw -> new"]
        assert bench.commits.confirm_left_s == 120
        await bench.commits.confirm("anna")
        bench.timer.pass_s(1000)
        await bench.settled()
        assert bench.store.state(proposed.number) is State.CURRENT
        assert bench.commits.confirm_left_s == 0

    run(tmp_path, scenario)


def test_a_commit_that_is_not_confirmed_in_time_is_rolled_back_in_reverse_order(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        first = await bench.confirmed(GOOD)
        proposed = await bench.commits.propose(named("new.example.test"), "anna")
        await bench.commits.commit(proposed.number, "anna", 60)
        bench.notes.clear()
        bench.timer.pass_s(59)
        await bench.settled()
        assert bench.store.unconfirmed == proposed.number
        bench.timer.pass_s(1)
        await bench.settled()
        assert bench.store.current == first
        assert bench.notes == ["gateway: gw <- new", "network: gw <- new"]
        assert bench.store.link.read_text() == GOOD
        outcome = bench.store.outcome(proposed.number)
        assert outcome is not None and (outcome.author, outcome.reason) == ("sysd", "not confirmed in time")
        with pytest.raises(StoreError, match="nothing waits to be confirmed; it may have been rolled back"):
            await bench.commits.confirm("anna")

    run(tmp_path, scenario)


def test_an_unconfirmed_commit_is_rolled_back_at_the_next_start(tmp_path: Path) -> None:
    async def first_life(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        await bench.commits.commit((await bench.commits.propose(named("new.example.test"), "anna")).number, "anna")

    async def second_life(bench: CommitBench) -> None:
        assert bench.store.current == 1
        assert bench.notes == ["network: - -> gw"], "the network is made anew, the gateway reads the file itself"
        assert ("config_recovered", {"reason": bench.store.recovered}) in bench.events
        assert "revision 2 was not confirmed" in bench.commits.trouble
        await bench.commits.after_start()
        assert bench.notes[1:] == ["gateway: gw <- new"], "one that ran on is told to go back"

    run(tmp_path, first_life)
    run(tmp_path, second_life)


@pytest.mark.parametrize("culprit", ["network", "gateway"])
def test_what_cannot_be_applied_is_undone_and_the_reason_kept(tmp_path: Path, culprit: str) -> None:
    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        getattr(bench, culprit).apply_error = ValueError("no carrier")
        proposed = await bench.commits.propose(named("new.example.test"), "anna")
        with pytest.raises(ApplyFailed, match=f"{culprit}: no carrier; revision 1 is in force again"):
            await bench.commits.commit(proposed.number, "anna")
        undone = [note for note in bench.notes if "<-" in note]
        both = ["gateway: gw <- new", "network: gw <- new"]
        assert undone == (both if culprit == "gateway" else both[1:])
        assert bench.store.current == 1
        outcome = bench.store.outcome(proposed.number)
        assert outcome is not None and outcome.reason == f"{culprit}: no carrier"
        assert not bench.timer.calls
        getattr(bench, culprit).apply_error = None
        again = await bench.commits.propose(named("new.example.test"), "anna")
        await bench.commits.commit(again.number, "anna")

    run(tmp_path, scenario)


def test_an_applier_that_cannot_go_back_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        bench.gateway.apply_error = OSError("no")
        bench.gateway.undo_error = OSError("not at all")
        proposed = await bench.commits.propose(named("new.example.test"), "anna")
        with pytest.raises(ApplyFailed):
            await bench.commits.commit(proposed.number, "anna")
        assert bench.notes[-1] == "network: gw <- new"
        assert bench.commits.trouble == "gateway: not at all"

    run(tmp_path, scenario)


def test_an_applier_that_hangs_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module, "APPLY_TIMEOUT_S", 0.01)

    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        bench.network.gate = asyncio.Event()
        proposed = await bench.commits.propose(named("new.example.test"), "anna")
        with pytest.raises(ApplyFailed, match=r"network: not done within 0\.01 s"):
            await bench.commits.commit(proposed.number, "anna")
        assert bench.store.current == 1

    run(tmp_path, scenario)


def test_a_commit_goes_on_when_its_asker_has_gone(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        gate = bench.network.gate = asyncio.Event()
        bench.network.begun.clear()
        proposed = await bench.commits.propose(named("new.example.test"), "anna")
        asker = asyncio.create_task(bench.commits.commit(proposed.number, "anna"))
        await bench.network.begun.wait()
        asker.cancel()
        gate.set()
        await bench.settled()
        assert bench.notes == ["network: gw -> new", "gateway: gw -> new"]
        assert bench.store.unconfirmed == proposed.number
        assert bench.commits.confirm_left_s == 120

    run(tmp_path, scenario)


def test_rolling_back_by_hand_ends_the_timer(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        await bench.commits.commit((await bench.commits.propose(named("new.example.test"), "anna")).number, "anna")
        assert await bench.commits.roll_back("bert") == 1
        assert not bench.timer.calls
        assert bench.commits.trouble == "", "what was wanted is no trouble"
        with pytest.raises(StoreError, match="nothing waits"):
            await bench.commits.roll_back("bert")

    run(tmp_path, scenario)


def test_one_commit_at_a_time(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        one = await bench.commits.propose(named("one.example.test"), "anna")
        two = await bench.commits.propose(named("two.example.test"), "bert")
        results = await asyncio.gather(
            bench.commits.commit(one.number, "anna"), bench.commits.commit(two.number, "bert"), return_exceptions=True
        )
        assert results[0] is None
        assert isinstance(results[1], StoreError) and "waits to be confirmed" in str(results[1])
        assert bench.store.unconfirmed == one.number

    run(tmp_path, scenario)


def test_an_earlier_revision_comes_back_as_a_proposal(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)
        await bench.confirmed(named("new.example.test"))
        proposed = await bench.commits.return_to(1, "anna")
        assert bench.store.facts(proposed.number).reason == "back to revision 1"
        assert '-hostname = "new.example.test"' in await bench.commits.diff(2, proposed.number)
        await bench.commits.commit(proposed.number, "anna")
        assert bench.store.link.read_text() == GOOD
        with pytest.raises(StoreError, match="in force already"):
            await bench.commits.return_to(1, "anna")

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("hostname = ", "", 1),
        ("hostnam = 'x'\n", "hostnam", 1),
        (GOOD + '[relay]\nnetworks = ["0.0.0.0/0"]\n', "relay.networks", 16),
        (GOOD.replace('"/var/lib/mailweir"', '"state"'), "state", 3),
        (GOOD + '[submission]\nusers_file = "users.toml"\n', "submission.users_file", 16),
        (GOOD + '[log]\nto = "mail.log"\n', "log.to", 16),
        (GOOD + '[scan.patterns]\nfiles = ["secrets/none.txt"]\n', "scan.patterns.files[0]", 16),
        (GOOD + '[scan.patterns]\nfiles = ["secrets/../../x"]\n', "scan.patterns.files[0]", 16),
        (GOOD + f'[scan.patterns]\nfiles = ["secrets/{"../" * 20}etc/passwd"]\n', "scan.patterns.files[0]", 16),
    ],
)
def test_a_text_with_errors_is_refused_with_line_and_remedy_and_leaves_nothing(
    tmp_path: Path, text: str, key: str, line: int
) -> None:
    async def scenario(bench: CommitBench) -> None:
        with pytest.raises(Refused) as caught:
            await bench.commits.propose(text, "anna")
        errors = [complaint for complaint in caught.value.complaints if complaint.severity == "error"]
        assert (key, line) in [(error.key, error.line) for error in errors]
        assert all(error.remedy for error in errors)
        assert bench.store.numbers == []
        with pytest.raises(Refused):
            await bench.commits.check(text)

    run(tmp_path, scenario)


def test_a_proposal_that_became_bad_is_not_committed(tmp_path: Path) -> None:
    patterns = tmp_path / "patterns.txt"
    patterns.write_text("")

    async def scenario(bench: CommitBench) -> None:
        text = GOOD + f'[scan.patterns]\nfiles = ["{patterns}"]\n'
        proposed = await bench.commits.propose(text, "anna")
        patterns.unlink()
        with pytest.raises(Refused, match="No such file"):
            await bench.commits.commit(proposed.number, "anna")
        assert bench.store.current == 0
        assert bench.notes == []

    run(tmp_path, scenario)


def test_a_users_file_of_the_store_is_made_empty_so_that_logins_can_be_added(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        text = GOOD + '[submission]\nusers_file = "secrets/users.toml"\n'
        number = await bench.confirmed(text)
        users = bench.store.link.parent / "secrets" / "users.toml"
        users.write_text("# somebody was added\n")
        await bench.confirmed(text + "# again\n")
        assert users.read_text() == "# somebody was added\n"
        assert number == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize("within_s", [0.0, -1.0, 9.9, 3601.0, float("nan"), float("inf")])
def test_the_time_to_confirm_has_bounds(tmp_path: Path, within_s: float) -> None:
    async def scenario(bench: CommitBench) -> None:
        proposed = await bench.commits.propose(GOOD, "anna")
        with pytest.raises(StoreError, match="out of range"):
            await bench.commits.commit(proposed.number, "anna", within_s)

    run(tmp_path, scenario)


def test_what_an_earlier_release_left_is_migrated_at_the_start_and_its_own_revision_stays(tmp_path: Path) -> None:
    async def scenario(bench: CommitBench) -> None:
        number = bench.store.add(GOOD.replace("version = 1\n", ""), "anna", "old")
        bench.store.switch_to(number)
        bench.store.confirm("anna")

    async def later(bench: CommitBench) -> None:
        assert bench.store.numbers == [1, 2]
        assert bench.store.facts(2).version == 1
        assert "# ours" in bench.store.text(2)
        assert bench.store.state(2) is State.CURRENT
        assert "version" not in bench.store.text(1)

    run(tmp_path, scenario)
    run(tmp_path, later)


def test_a_start_without_network_is_a_start(tmp_path: Path) -> None:
    async def first_life(bench: CommitBench) -> None:
        await bench.confirmed(GOOD)

    run(tmp_path, first_life)

    async def main() -> None:
        bench = CommitBench(tmp_path)
        bench.network.apply_error = OSError("no such device")
        await bench.commits.start()
        assert bench.commits.trouble == "network: no such device"
        await bench.end()

    asyncio.run(main())
