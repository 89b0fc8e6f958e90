"""The installer and RAUC's boot handler, with a RAUC that only pretends; and what a bundle must be to be let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.update import activity, formats, grubenv, install
from appliance.update.activity import Activity
from appliance.update.boot_choice import main
from appliance.update.bundle import BadBundle, Bundle, check, parse, reason
from appliance.update.install import Installer, Request, ask
from appliance.update.keeper import Keeper

FRESH = {"ORDER": "A B", "A_OK": "1", "B_OK": "0"}
INFO = {"compatible": "mailweir-x86_64", "version": "2.0", "build": formats.told()}
WRITES_ALL = """\
echo ' 20% Checking bundle done.'
{handler}
echo '100% Installing done.'
echo 'Installing `x` succeeded'
"""


class Machine:
    """A machine's files, and programs in RAUC's place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "cmdline").write_text("rauc.slot=A mailweir.version=1.0")
        (folder / "system.conf").write_text("[system]\ncompatible=mailweir-x86_64\n")
        self.keeper = Keeper(folder / "grubenv", folder / "cmdline", folder / "record.json", folder / "health.json")
        self.boot(**FRESH)
        self.bundle = folder / "mailweir-2.0.raucb"
        self.bundle.write_bytes(b"bundle")
        self.info(INFO)
        self.installs(0, "true")

    def boot(self, **values: str) -> None:
        (self.folder / "grubenv").write_bytes(grubenv.render(values))

    def info(self, found: object, status: int = 0, said: str = "") -> None:
        """What `rauc info` says."""
        (self.folder / "info.json").write_text(json.dumps(found))
        self._program("rauc", f"cat '{self.folder}/info.json'; echo '{said}' >&2; exit {status}")

    def installs(self, status: int, script: str) -> None:
        """What the installation does."""
        self._program("install", f"{script}\nexit {status}")

    def _program(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def installer(self, run: str = "one") -> Installer:
        folder = self.folder / "run"
        return Installer(
            self.keeper, folder, self.folder / "system.conf", (str(self.folder / "install"),), self.folder / "rauc",
            clock=lambda: 5.0, run=run,
        )  # fmt: skip

    def apply(self, **wanted: bool) -> Activity:
        ask(self.folder / "run", Request(str(self.bundle), **wanted))
        done = self.installer().apply()
        assert activity.read(self.folder / "run") == done
        return done


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_update_goes_to_the_other_slot_and_the_record_knows_it(machine: Machine) -> None:
    machine.installs(0, WRITES_ALL.format(handler="true"))
    done = machine.apply()
    assert (done.state, done.percent, done.version, done.slot) == ("installed", 100, "2.0", "B")
    assert machine.keeper.remembered().versions == {"B": "2.0"} and machine.bundle.exists()


def test_what_was_received_for_it_is_removed_however_it_ends(machine: Machine) -> None:
    machine.installs(1, "true")
    assert machine.apply(remove=True).state == "failed" and not machine.bundle.exists()


def test_a_bundle_of_a_stranger_is_refused_before_anything_is_written(machine: Machine) -> None:
    machine.info({}, 1, "signature verification failed: Verify error: self-signed certificate")
    machine.installs(0, f"touch '{machine.folder}/written'")
    done = machine.apply()
    assert done.state == "failed" and "its signature is not one that this machine trusts" in done.text
    assert not (machine.folder / "written").exists()
    assert machine.keeper.remembered().failures[0].reason.startswith("not installed: mailweir-2.0.raucb is refused")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compatible": "mailweir-rpi"}, "it is for mailweir-rpi, and this is mailweir-x86_64"),
        ({"build": "formats spool=2"}, "no way back from it: it leaves spool in form 2"),
        ({"version": None, "compatible": None}, "it is for None"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(machine: Machine, change: dict[str, object], words: str) -> None:
    machine.info({**INFO, **change})
    assert words in machine.apply().text


def test_no_way_back_may_be_wanted(machine: Machine) -> None:
    machine.info({**INFO, "build": "formats spool=2"})
    assert machine.apply(way_back=False).state == "installed"


def test_a_slot_on_trial_installs_nothing_over_the_good_one(machine: Machine) -> None:
    machine.boot(**FRESH, A_NEW="1")
    assert "has not shown yet that it is healthy" in machine.apply().text


def test_a_machine_without_slots_installs_nothing(machine: Machine) -> None:
    (machine.folder / "cmdline").write_text("quiet")
    assert "not started from a slot" in machine.apply().text


def test_raucs_reason_is_the_one_that_is_told(machine: Machine) -> None:
    machine.installs(1, "echo 'LastError: Failed updating slot rootfs.1: Input/output error'; echo 'Installing failed'")
    assert "the file is damaged" in machine.apply().text


def test_an_installer_that_was_killed_did_not_end_well(machine: Machine) -> None:
    activity.write(machine.folder / "run", Activity(activity.INSTALLING, 40))
    machine.installer("two").ended("timeout")
    found = activity.read(machine.folder / "run")
    assert (found.state, found.text) == ("failed", "the installer ended before its time (timeout)")


def test_the_end_of_one_run_is_not_taken_for_that_of_the_next(machine: Machine) -> None:
    machine.apply()
    activity.write(machine.folder / "run", Activity(activity.INSTALLING, 0, "the installer starts"))
    machine.installer("one").ended("exit-code")
    assert activity.read(machine.folder / "run").state == "installing"


def test_nothing_asked_is_nothing_installed(machine: Machine) -> None:
    assert "nothing was asked" in machine.installer().apply().text


# --- RAUC's boot handler


def handled(machine: Machine, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(words, machine.keeper)
    return status, capsys.readouterr().out.strip()


def test_the_boot_handler_speaks_for_a_whole_installation(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert handled(machine, capsys, "get-primary") == (0, "A")
    assert handled(machine, capsys, "get-current") == (0, "A")
    assert handled(machine, capsys, "get-state", "B") == (0, "bad")
    assert handled(machine, capsys, "set-state", "B", "bad") == (0, "")
    assert handled(machine, capsys, "set-primary", "B") == (0, "")
    assert handled(machine, capsys, "get-primary") == (0, "B")
    assert handled(machine, capsys, "get-state", "B") == (0, "good")
    assert machine.keeper.slots().slots["B"].new
    assert handled(machine, capsys, "set-state", "B", "good") == (0, "")
    assert not machine.keeper.slots().slots["B"].new


@pytest.mark.parametrize(
    ("words", "status"), [((), 2), (("dance",), 2), (("set-state", "B", "odd"), 2), (("get-state", "C"), 1)]
)
def test_the_boot_handler_refuses_what_it_does_not_know(
    machine: Machine, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int
) -> None:
    before = (machine.folder / "grubenv").read_bytes()
    assert handled(machine, capsys, *words) == (status, "")
    assert (machine.folder / "grubenv").read_bytes() == before


# --- words


def test_what_rauc_logs_is_no_reason() -> None:
    said = "rauc-Message: 02:27:47.297: Reading bundle\nrauc-Message: 02:27:47.299: Verifying\nfailed to open\n"
    assert reason(said) == "failed to open"
    assert reason("") == "no reason was given"


def test_a_bundle_says_what_it_is() -> None:
    found = parse(json.dumps(INFO).encode())
    assert found == Bundle("mailweir-x86_64", "2.0", dict(formats.WRITES))
    check(found, "mailweir-x86_64", way_back=True)
    with pytest.raises(BadBundle):
        check(found, "mailweir-rpi", way_back=False)


def test_a_request_reads_back(tmp_path: Path) -> None:
    wanted = Request("/x", way_back=False, remove=True)
    ask(tmp_path, wanted)
    assert install.asked(tmp_path) == wanted
