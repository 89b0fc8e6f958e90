"""`sysd`, the gateway and the command line together: a change takes effect while mail flows, or does not stay."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.client import Client
from tests.support.conditions import free_port, until
from tests.support.gateway import Gateway, toml
from tests.support.sysd import SysdProcess


class GatewayOfSysd(Gateway):
    """Runs with the file that `sysd` has in force."""

    def write_config(self) -> None:
        return


@contextmanager
def box(tmp_path: Path) -> Iterator[tuple[SysdProcess, GatewayOfSysd]]:
    gateway = GatewayOfSysd(more={"workers": {"count": 2}})
    sysd = SysdProcess(tmp_path, toml(gateway.config))
    gateway.config_file = sysd.link
    sysd.start()
    try:
        with gateway:
            yield sysd, gateway
    finally:
        sysd.kill()


def greeting(gateway: Gateway) -> str:
    with Client(gateway.port) as client:
        assert client.greeting is not None
        return client.greeting.text.partition(" ")[0]


def test_a_committed_name_is_in_the_greeting_and_returns_when_it_is_not_confirmed(tmp_path: Path) -> None:
    with box(tmp_path) as (sysd, gateway):
        assert greeting(gateway) == "gateway.example.test"
        with Client(gateway.port) as open_session:
            open_session.hello()
            pids = gateway.worker_pids
            status, out, err = sysd.cli("set", "hostname", "new.example.test", "--commit", "--reason", "a new name")
            assert status == 0, err
            assert "+hostname = 'new.example.test'" in out.replace('"', "'")
            # All workers have it before `commit` is answered.
            assert {greeting(gateway) for _ in range(8)} == {"new.example.test"}
            assert open_session.say("NOOP").code == 250, "no session was dropped"
            assert gateway.worker_pids == pids
            assert sysd.cli("rollback")[0] == 0
            assert greeting(gateway) == "gateway.example.test"
        assert sysd.notes() == [], "nothing had to be restarted"
        assert sysd.stop() == 0


def test_a_killed_sysd_takes_back_what_was_not_confirmed_from_the_running_gateway(tmp_path: Path) -> None:
    with box(tmp_path) as (sysd, gateway):
        assert sysd.cli("set", "hostname", "new.example.test", "--commit")[0] == 0
        assert greeting(gateway) == "new.example.test"
        sysd.kill()
        sysd.start()
        assert "gateway.example.test" in sysd.link.read_text()
        until(lambda: greeting(gateway) == "gateway.example.test", "the workers to go back")
        assert "not confirmed" in sysd.client.status().trouble


def test_a_confirmed_change_outlives_kill_and_a_worker_that_died_takes_it_up(tmp_path: Path) -> None:
    with box(tmp_path) as (sysd, gateway):
        assert sysd.cli("set", "hostname", "new.example.test", "--commit")[0] == 0
        assert sysd.cli("confirm")[0] == 0
        sysd.kill()
        sysd.start()
        known = len(gateway.events("worker_ready"))
        for pid in gateway.worker_pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(gateway.events("worker_ready")) == known + 2, "new workers")
        assert {greeting(gateway) for _ in range(8)} == {"new.example.test"}


def test_a_worker_that_cannot_use_the_new_configuration_brings_the_old_one_back(tmp_path: Path) -> None:
    patterns = tmp_path / "patterns.txt"
    patterns.write_text("bad\ti\t-\t(unclosed\n")
    with box(tmp_path) as (sysd, gateway):
        status, _, err = sysd.cli("set", "scan.patterns.files[+]", str(patterns), "--commit")
        assert status == 1
        assert re.search(r"gateway: .*patterns\.txt.*; revision 1 is in force again", err), err
        assert greeting(gateway) == "gateway.example.test"
        found = json.loads(sysd.cli("history", "--json")[1])["revisions"][0]
        assert found["state"] == "rolled back" and "patterns.txt" in found["outcome_reason"]


def test_new_listeners_want_a_restart_and_a_restart_that_fails_rolls_back(tmp_path: Path) -> None:
    with box(tmp_path) as (sysd, _):
        assert sysd.cli("set", "listen[smtp].address", f"127.0.0.1:{free_port()}", "--commit")[0] == 0
        assert sysd.notes() == ["restart mailweir-mtad.service"]
        assert sysd.cli("confirm")[0] == 0
        assert sysd.stop() == 0
        sysd.start("--unit", "broken.service")
        status, _, err = sysd.cli("set", "listen[smtp].address", f"127.0.0.1:{free_port()}", "--commit")
        assert status == 1
        assert "gateway: [Errno 1] it is broken; revision 2 is in force again" in err


def test_the_command_line_from_file_to_backup_and_back(tmp_path: Path) -> None:
    gateway = Gateway(more={"scan": {"patterns": {"files": ["secrets/mine.txt"]}}})
    sysd = SysdProcess(tmp_path, toml(Gateway().config))
    sysd.start()
    try:
        mine = tmp_path / "mine.toml"
        mine.write_text("# my gateway\nversion = 1\n" + toml(gateway.config))
        status, out, _ = sysd.cli("propose", str(mine))
        assert status == 2
        assert re.search(r"mine\.toml:\d+: error: scan\.patterns\.files\[0\]: .*No such file", out)
        assert "correct the path" in out
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "mine.txt").write_text("mine\ti\tspam\tword\n")
        status, out, err = sysd.cli("propose", str(mine), "--reason", "mine")
        assert status == 0, err
        number = re.search(r"proposed as revision (\d+)", out)
        assert number is not None and "+# my gateway" in out
        assert sysd.cli("commit")[0] == 0
        assert sysd.cli("confirm") == (0, f"confirmed: revision {number[1]}\n", "")
        assert sysd.cli("show")[1] == mine.read_text()
        backup = tmp_path / "backup.tar"
        assert sysd.cli("export", str(backup))[0] == 0
        assert sysd.cli("export", str(backup))[0] == 1, "a file that is there is not written over"
        assert backup.stat().st_mode & 0o077 == 0
        assert sysd.cli("set", "hostname", "other.example.test", "limits.sessions", "9", "--commit")[0] == 0
        assert sysd.cli("confirm")[0] == 0
        status, out, _ = sysd.cli("import", str(backup), "--json")
        assert (status, sorted(json.loads(out))) == (0, ["complaints", "proposed"])
        assert sysd.cli("show", str(json.loads(out)["proposed"]))[1] == mine.read_text()
        assert "AUTHOR" in sysd.cli("history")[1]
    finally:
        sysd.kill()


def test_errors_of_the_command_line_have_a_status_and_a_sentence(tmp_path: Path) -> None:
    sysd = SysdProcess(tmp_path, toml(Gateway().config))
    status, _, err = sysd.cli("show")
    assert (status, "nobody answers" in err) == (1, True)
    sysd.start()
    try:
        broken = tmp_path / "broken.toml"
        broken.write_text("hostname = \n")
        for arguments, expected, words in (
            (("propose", str(broken)), 2, "broken.toml:1: error: not TOML"),
            (("propose", str(tmp_path / "none.toml")), 2, "cannot be read"),
            (("import", str(tmp_path / "none.tar")), 2, "cannot be read"),
            (("import", str(broken)), 1, "no archive of a configuration"),
            (("set", "limits.sesions", "9"), 2, "did you mean 'sessions'"),
            (("set", "listen[nix].name", "x"), 2, "has no element"),
            (("set", "hostname"), 2, "a value for each key"),
            (("set", "limits.sessions", "0"), 2, "out of range"),
            (("unset", "hostname"), 2, "'hostname' is missing"),
            (("commit",), 1, "there is no proposal"),
            (("commit", "1"), 1, "is current, not proposed"),
            (("confirm",), 1, "nothing waits"),
            (("rollback",), 1, "nothing waits"),
            (("rollback", "7"), 1, "there is no revision 7"),
            (("diff", "1", "9"), 1, "there is no revision 9"),
        ):
            status, out, err = sysd.cli(*arguments)
            assert status == expected, f"{arguments}: {out}{err}"
            assert words in out + err, f"{arguments}: {out}{err}"
            assert "Traceback" not in out + err
    finally:
        sysd.kill()
