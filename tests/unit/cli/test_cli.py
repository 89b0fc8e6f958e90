"""The `mailweir` command: what it prints, its exit status, and that nothing ever shows a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.cli.main import main
from appliance.cli.output import printable
from appliance.config.state import tracking_file
from appliance.control.protocol import RequestRefused, worker_socket
from appliance.control.queue_requests import queue_handlers
from appliance.control.server import ControlServer
from appliance.core.ids import IdSource
from appliance.core.verdict import Action, Finding, Verdict
from appliance.observe.tracking import MessageRow, Tracking
from appliance.policy.explain import ENVELOPE, FORM, NEXT_HOP

TRANSACTION = IdSource().next(int(time.time() * 1000))
GOOD = """\
hostname = "gw.example.test"
state = "state"
[submission]
users_file = "users.toml"
[tls]
self_signed = true
[[listen]]
name = "in"
address = "127.0.0.1:2525"
[[next_hop]]
name = "inside"
servers = [{ url = "smtp://192.0.2.1:25" }]
[[domain]]
name = "example.test"
next_hop = "inside"
subdomains = true
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "gw.toml"
    path.write_text(GOOD)
    monkeypatch.setenv("MAILWEIR_CONFIG", str(path))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run_(*arguments: str, typed: str | None = None) -> tuple[int, str, str]:
        if typed is not None:
            source = os.memfd_create("typed")
            os.write(source, typed.encode())
            os.lseek(source, 0, os.SEEK_SET)
            monkeypatch.setattr(sys, "stdin", open(source))  # noqa: SIM115
        status = main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return run_


# --- check


def test_check_of_a_good_file_says_so(config: Path, run: Run) -> None:
    assert run("check", str(config), "--no-files") == (0, f"{config}: good\n", "")


def test_check_tells_line_and_remedy_and_exits_2(config: Path, run: Run) -> None:
    config.write_text(GOOD + '[relay]\nnetworks = [\n"10.0.0.0/8",\n"0.0.0.0/0"]\n')
    status, out, _ = run("check", str(config), "--no-files")
    assert status == 2
    assert f"{config}:18: error: relay.networks: together these cover" in out
    assert "    list your own networks only\n" in out
    assert out.endswith("1 errors, 0 warnings\n")


def test_check_refuses_a_proxy_header_before_tls_from_the_first_octet(config: Path, run: Run) -> None:
    more = '[trusted]\nproxy = ["127.0.0.1"]\n'
    port = '[[listen]]\nname = "smtps"\naddress = "127.0.0.1:{}"\nkind = "{}"\nproxy_protocol = true\n'
    config.write_text(GOOD + more + port.format(4650, "submissions"))
    line = config.read_text().splitlines().index("proxy_protocol = true") + 1
    status, out, _ = run("check", str(config), "--no-files")
    assert status == 2
    assert f"{config}:{line}: error: listen[1].proxy_protocol: a PROXY header cannot come before TLS" in out
    assert '    write kind = "submission"' in out
    config.write_text(GOOD + more + port.format(5870, "submission"))
    assert run("check", str(config), "--no-files")[0] == 0


def test_check_prints_json_for_faults_of_form_and_of_sense(config: Path, run: Run) -> None:
    config.write_text(GOOD.replace("state =", "stat ="))
    status, out, _ = run("check", str(config), "--json")
    answer = json.loads(out)
    assert (status, answer["ok"], answer["errors"]) == (2, False, 1)
    assert answer["problems"][0] == {
        "severity": "error",
        "line": 2,
        "key": "stat",
        "text": "unknown key 'stat'",
        "remedy": "did you mean 'state'?",
    }


def test_warnings_alone_exit_0(config: Path, run: Run) -> None:
    config.write_text(GOOD.replace("gw.example.test", "gw"))
    status, out, _ = run("check", "--no-files")
    assert status == 0
    assert "gw.toml:1: warning: hostname" in out


def test_a_file_that_is_not_there_exits_2_in_every_command(run: Run, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    for arguments in (
        ["check", missing],
        ["route", "a@b.test", "--config", missing],
        ["queue", "list", "--config", missing],
        ["trace", "X", "--config", missing],
        ["user", "list", "--config", missing],
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert f"{missing}:1: cannot be read: No such file or directory; name another file with --config" in err


# --- route


def test_mode_lists_the_modes_and_marks_the_one_that_is(config: Path, run: Run) -> None:
    status, out, _ = run("mode", "--config", str(config))
    assert status == 0 and out.startswith("* gateway: ")
    assert json.loads(run("mode", "--config", str(config), "--json")[1])[0]["now"] is True


def test_mode_tells_what_a_change_would_do_and_does_nothing(config: Path, run: Run) -> None:
    before = config.read_text()
    status, out, _ = run("mode", "gateway", "--config", str(config))
    assert status == 0
    assert "changes: port 0.0.0.0:25 (smtp) is opened" in out and "stays:   1 domain: example.test" in out
    assert config.read_text() == before
    status, _, complaints = run("mode", "server", "--config", str(config))
    assert status == 2 and "there is no mode 'server'; built are: gateway" in complaints


def test_route_to_a_protected_domain_asks_no_dns(config: Path, run: Run) -> None:
    config.write_text(GOOD + '[dns]\nservers = ["192.0.2.53"]\n')
    status, out, _ = run("route", "bob@mail.example.test")
    assert status == 0
    assert "mail.example.test is a subdomain of the protected domain example.test: no MX look-up" in out
    assert "smtp://192.0.2.1:25 (preference 10, weight 1)" in out
    status, out, _ = run("route", "bob@example.test", "--json")
    answer = json.loads(out)
    assert (answer["kind"], answer["next_hop"], answer["protected"]) == ("hop", "inside", "example.test")


def test_route_by_mx_lists_the_hosts_in_their_order(config: Path, run: Run) -> None:
    from tests.support.dns_server import DnsServer

    zone = {
        ("other.test", "MX"): ["20 b.other.test.", "10 a.other.test."],
        ("a.other.test", "A"): ["192.0.2.10"],
        ("b.other.test", "A"): ["192.0.2.20"],
    }
    with DnsServer(zone) as server:
        config.write_text(GOOD + f'[dns]\nservers = ["{server.address}"]\n')
        status, out, _ = run("route", "x@other.test", "--json")
    answer = json.loads(out)
    assert status == 0
    assert [(host["name"], host["addresses"]) for host in answer["hosts"]] == [
        ("a.other.test", ["192.0.2.10"]),
        ("b.other.test", ["192.0.2.20"]),
    ]


def test_route_says_when_dns_gives_no_answer(config: Path, run: Run) -> None:
    from tests.support.dns_server import DnsServer, Fault

    with DnsServer({}) as server:
        server.faults["*"] = Fault.SERVFAIL
        config.write_text(GOOD + f'[dns]\nservers = ["{server.address}"]\n')
        status, out, _ = run("route", "x@other.test")
    assert status == 1
    assert "DNS gives no way now: DnsTrouble" in out


def test_route_of_no_address_is_wrong_usage(config: Path, run: Run) -> None:
    for text in ("bob", "", "a b@c", "a@b\ud800", "\udcff@b.test"):
        status, out, err = run("route", text)
        assert (status, out) == (2, "")
        assert "Usage: " in err


# --- queue


class Store:
    def __init__(self, *ids: str) -> None:
        self.entries = {entry_id: self.entry(entry_id) for entry_id in ids}
        self.calls: list[tuple[str, str]] = []

    @staticmethod
    def entry(entry_id: str) -> dict[str, object]:
        recipient = {
            "address": "bob@example.test",
            "state": "waiting",
            "attempts": 2,
            "reply": "450 4.2.0 \x1b[31mbusy",
        }
        return {
            "id": entry_id, "state": "waiting", "sender": "", "size_bytes": 1234, "received_at_s": 1_700_000_000.0,
            "due_s": None, "recipients": [recipient, recipient], "client": {"ip": "192.0.2.7"}, "hold_reason": "",
        }  # fmt: skip

    def describe(self, entry_id: str) -> dict[str, object]:
        return self.entries[entry_id]

    def entry_ids(self) -> list[str]:
        return list(self.entries)

    def listing(self) -> list[dict[str, object]]:
        return list(self.entries.values())

    def hold(self, entry_id: str, reason: str) -> None:
        self.note("hold", entry_id)

    def release(self, entry_id: str) -> None:
        self.note("release", entry_id)

    def retry_now(self, entry_id: str) -> None:
        self.note("retry", entry_id)

    def delete(self, entry_id: str) -> None:
        self.note("delete", entry_id)
        del self.entries[entry_id]

    def note(self, call: str, entry_id: str) -> None:
        self.calls.append((call, self.entries[entry_id]["id"]))  # type: ignore[arg-type]


@contextmanager
def workers(config: Path, *stores: Store | None) -> Iterator[None]:
    """A worker for each store, on a loop in a thread; None makes one that refuses everything."""
    state = str(config.parent / "state")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def refuse(args: dict[str, Any]) -> object:
        raise RequestRefused("shutting down")

    def on_loop(action: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(action, loop).result()

    servers = []
    try:
        for number, store in enumerate(stores):
            handlers = queue_handlers(store) if store else {"queue.list": refuse}
            server = ControlServer(worker_socket(state, number), handlers)
            on_loop(server.open())
            servers.append(server)
        yield
    finally:
        for server in servers:
            on_loop(server.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_queue_list_shows_the_messages_of_all_workers(config: Path, run: Run) -> None:
    with workers(config, Store("A"), Store("B")):
        status, out, _ = run("queue", "list")
        assert status == 0
        assert [line.split()[0] for line in out.splitlines()] == ["ID", "A", "B", "2"]
        assert "bob@example.test +1" in out
        status, out, _ = run("queue", "list", "--json", "--limit", "1")
        assert [(entry["worker"], entry["id"]) for entry in json.loads(out)["entries"]] == [
            ("worker-0", "A"),
            ("worker-1", "B"),
        ]


def test_queue_show_finds_the_worker_and_disarms_what_peers_wrote(config: Path, run: Run) -> None:
    with workers(config, Store("A"), Store("B")):
        status, out, _ = run("queue", "show", "[b]")
        assert status == 0
        assert "worker: worker-1\n" in out
        assert "reply: 450 4.2.0 \\u001b[31mbusy" in out
        assert "\x1b" not in out
        status, out, err = run("queue", "show", "C")
        assert (status, out) == (1, "")
        assert "C is not in the queue" in err


def test_queue_actions_reach_the_right_worker_and_tell_what_is_missing(config: Path, run: Run) -> None:
    first, second = Store("A"), Store("B")
    with workers(config, first, second):
        for action in ("hold", "release", "retry", "delete"):
            status, out, err = run("queue", action, "A", "B", "X", "--json")
            assert (status, json.loads(out)) == (1, {"done": ["A", "B"], "not_found": ["X"]})
            assert "not in the queue: X" in err
    assert [call for call, _ in first.calls] == [call for call, _ in second.calls] == [
        "hold", "release", "retry", "delete",
    ]  # fmt: skip


def test_queue_retry_all_reaches_every_message(config: Path, run: Run) -> None:
    first, second = Store("A", "B"), Store("C")
    with workers(config, first, second):
        assert run("queue", "retry", "--all") == (0, "retry: 3 messages\n", "")
    assert run("queue", "retry")[0] == 2
    assert run("queue", "retry", "--all", "A")[0] == 2


def test_queue_without_a_gateway_says_that_no_worker_answers(config: Path, run: Run) -> None:
    status, out, err = run("queue", "list")
    assert (status, out) == (1, "")
    assert "no worker of the gateway answers" in err


def test_a_dead_worker_is_complained_about_and_the_others_are_listed(config: Path, run: Run) -> None:
    with workers(config, Store("A")):
        worker_socket(str(config.parent / "state"), 7).touch()
        status, out, err = run("queue", "list")
    assert status == 0
    assert "A " in out
    assert "worker-7.sock" in err
    assert "the messages of this worker are missing here" in err


def test_a_worker_that_refuses_makes_the_command_fail_with_its_words(config: Path, run: Run) -> None:
    with workers(config, None):
        assert run("queue", "list")[::2] == (1, "mailweir: shutting down\n")


# --- trace


@pytest.fixture
def tracked(config: Path) -> None:
    (config.parent / "state").mkdir()
    tracking = Tracking(tracking_file(str(config.parent / "state")), 0.01)
    tracking.record(
        MessageRow(
            id=TRANSACTION, at_s=time.time(), client="192.0.2.7", helo="h", tls="", login="", sender="alice@other.test",
            recipients=["bob@example.test", "eve@example.test"], size_bytes=7, path="ram", action="refuse", rule="r",
            reply="554 5.7.1 no", hop="inside", duration_ms=1.5,
            verdict=Verdict(Action.REFUSE, "r", (Finding("patterns", "lottery", offset=9),), "without 'r': accept"),
        )
    )  # fmt: skip
    tracking.close()


def why_of(config: Path, run: Run, **known: Any) -> list[str]:
    """What `trace` says below `why:` of a message of which these things are tracked."""
    path = tracking_file(str(config.parent / "state"))
    Path(path).parent.mkdir(exist_ok=True)
    tracking = Tracking(path, 0.01)
    said = {"action": "refuse", "rule": "default", "reply": "250 2.0.0 Ok", "recipients": ["bob@example.test"]}
    names = dict.fromkeys(MessageRow._fields, "") | {"size_bytes": 7, "duration_ms": 1.5, "verdict": None}
    tracking.record(MessageRow(**(names | said | {"id": TRANSACTION, "at_s": time.time()} | known)))
    tracking.close()
    status, out, _ = run("trace", TRANSACTION)
    assert status == 0
    shown = out.partition("why:\n")[2].splitlines()
    assert json.loads(run("trace", TRANSACTION, "--json")[1])[0]["why"] == [line.removeprefix("  ") for line in shown]
    return shown


@pytest.mark.usefixtures("tracked")
def test_trace_explains_a_verdict(run: Run) -> None:
    _, out, _ = run("trace", TRANSACTION)
    assert out.endswith(
        "why:\n"
        "  refuse: decided by r\n"
        "    patterns found lottery before octet 9\n"
        "    otherwise: without 'r': accept\n"
    )


def test_trace_explains_what_no_rule_decided(config: Path, run: Run) -> None:
    assert why_of(config, run, action="accept") == ["  accept: decided by default", "    nothing was found"]
    assert why_of(config, run, rule=ENVELOPE, reply="550 5.7.1 Relaying denied") == [
        "  refuse: decided by sender, recipient or client: 550 5.7.1 Relaying denied",
        "    otherwise: had the recipient been in a [[domain]], or the client logged in or in relay.networks,"
        " it had gone on",
    ]
    assert why_of(config, run, rule=FORM, reply="552 5.3.4 Message size exceeds the limit") == [
        "  refuse: decided by the message's form or size: 552 5.3.4 Message size exceeds the limit",
        "    otherwise: had it been no longer than limits.message_size, it had gone on",
    ]
    digest = Verdict(Action.ACCEPT, "default", (Finding("digest", "sha256", "ab", tags=("info",)),))
    assert why_of(config, run, rule=NEXT_HOP, reply="550 5.1.1 Who?", verdict=digest) == [
        "  refuse: decided by the next hop: 550 5.1.1 Who?",
        "    digest found sha256 (ab) [info]",
        "    otherwise: had it been taken there: accept, decided by default",
    ]


def test_trace_of_a_verdict_in_another_form_tells_what_it_can(config: Path, run: Run) -> None:
    assert why_of(config, run, rule="r", verdict=["?"])[0] == "  refuse: decided by r"


@pytest.mark.usefixtures("tracked")
def test_trace_finds_a_message_by_id_by_recipient_and_as_json(run: Run) -> None:
    status, out, _ = run("trace", f"[{TRANSACTION}]")
    assert status == 0
    assert "recipients: bob@example.test, eve@example.test\n" in out
    status, out, _ = run("trace", "--to", "eve@example.test", "--from", "@other.test")
    assert status == 0
    assert "refuse" in out
    status, out, _ = run("trace", TRANSACTION, "--json")
    assert json.loads(out)[0]["sender"] == "alice@other.test"


@pytest.mark.usefixtures("tracked")
def test_trace_of_what_is_not_there_exits_1(run: Run) -> None:
    status, out, err = run("trace", "--to", "nobody@example.test")
    assert (status, out) == (1, "")
    assert "nothing found" in err
    assert run("trace", "--to", "nobody@example.test", "--json")[:2] == (1, "[]\n")


def test_trace_without_a_data_base_says_so(config: Path, run: Run) -> None:
    status, out, err = run("trace", "X")
    assert (status, out) == (1, "")
    assert "tracking.db" in err


@pytest.mark.parametrize("arguments", [[], ["--since", "2 weeks"], ["--limit", "0", "--to", "x"]])
def test_trace_wants_something_to_go_by(config: Path, run: Run, arguments: list[str]) -> None:
    assert run("trace", *arguments)[0] == 2


# --- user


def test_a_users_life(config: Path, run: Run) -> None:
    users_file = config.parent / "users.toml"
    assert run("user", "add", "Bob@example.test", "--password-stdin", typed="secret\n") == (
        0,
        "added: bob@example.test\n",
        "",
    )
    assert stat.S_IMODE(users_file.stat().st_mode) == 0o600
    first = users_file.read_text()
    assert "secret" not in first
    assert "$argon2id$" in first
    assert run("user", "add", "bob@example.test", "--password-stdin", typed="x\n")[0] == 1
    assert run("user", "add", "sales", "--address", "@shop.test", "--password-stdin", typed="x\n")[0] == 0
    assert run("user", "passwd", "bob@example.test", "--password-stdin", typed="other\n")[0] == 0
    assert users_file.read_text() != first
    out = run("user", "list", "--json")[1]
    assert json.loads(out) == [
        {"name": "bob@example.test", "addresses": [], "disabled": False},
        {"name": "sales", "addresses": ["@shop.test"], "disabled": False},
    ]
    assert run("user", "remove", "sales")[0] == 0
    assert run("user", "remove", "sales")[::2] == (1, "Error: there is no login sales\n")
    assert run("user", "passwd", "sales", "--password-stdin", typed="x\n")[0] == 1
    out = run("user", "list")[1]
    assert "bob@example.test" in out
    assert "argon2" not in out


@pytest.mark.parametrize(
    ("arguments", "typed", "status"),
    [
        (["add", "sales", "--password-stdin"], "x\n", 2),
        (["add", "a b", "--address", "a@b.test", "--password-stdin"], "x\n", 2),
        (["add", "sales", "--address", "a b@c", "--password-stdin"], "x\n", 2),
        (["add", "a@b.test", "--password-stdin"], "\n", 1),
        (["add", "a@b.test"], "x\n", 2),
        (["list"], None, 1),
        (["passwd", "a@b.test", "--password-stdin"], "x\n", 1),
    ],
)
def test_user_commands_that_cannot_be_done_leave_no_login(
    config: Path, run: Run, arguments: list[str], typed: str | None, status: int
) -> None:
    assert run("user", *arguments, typed=typed)[0] == status
    assert not (config.parent / "users.toml").exists()


def test_without_a_users_file_configured_user_commands_exit_2(config: Path, run: Run) -> None:
    config.write_text('hostname = "gw.example.test"\n')
    status, _, err = run("user", "list")
    assert status == 2
    assert "submission.users_file is not set" in err


# --- run, version, and the entry itself


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    ran: list[str | None] = []

    def fake_run(config_path: str | None) -> int:
        ran.append(config_path)
        return 0 if config_path is None else 3

    mtad = types.ModuleType("appliance.daemon.mtad")
    mtad.run = fake_run  # type: ignore[attr-defined]
    package = types.ModuleType("appliance.daemon")
    package.mtad = mtad  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "appliance.daemon", package)
    monkeypatch.setitem(sys.modules, "appliance.daemon.mtad", mtad)
    return ran


def test_run_hands_the_configuration_to_the_daemon_and_its_status_back(
    config: Path, run: Run, daemon: list[str | None]
) -> None:
    assert run("run", "--demo")[0] == 0
    assert run("run", "--config", "/x.toml")[0] == 3
    assert run("run")[0] == 3
    assert run("run", "--demo", "--config", "/x.toml")[0] == 2
    assert daemon == [None, "/x.toml", str(config)]


@pytest.mark.parametrize("error", [RuntimeError("why"), OSError(13, "denied"), KeyboardInterrupt(), RecursionError()])
def test_whatever_goes_wrong_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken() -> str:
        raise error

    monkeypatch.setattr("appliance.cli.main.platform.python_version", broken)
    status, out, err = run("version")
    assert (status, out) == (1, "")
    assert err.strip()


def test_version_is_printed(run: Run) -> None:
    assert run("version")[1].startswith("mailweir ")
    assert set(json.loads(run("version", "--json")[1])) == {"version", "python"}


@pytest.mark.parametrize("arguments", [["frobnicate"], ["queue", "hold"], ["check", "a", "b"], ["version", "--nope"]])
def test_wrong_usage_exits_2(run: Run, arguments: list[str]) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "Usage: mailweir" in err


def test_a_reader_that_leaves_early_causes_no_complaint(config: Path) -> None:
    config.write_text(GOOD.replace('"inside"', '"' + "x" * 200_000 + '"', 1))
    child = subprocess.Popen(
        [sys.executable, "-m", "appliance.cli.main", "check", str(config), "--json", "--no-files"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() in (1, 2)
    child.stderr.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.sampled_from([["route"], ["trace"], ["queue", "show"], ["user", "passwd"], ["check"], ["user", "add"]]),
    words=st.lists(st.text(st.characters(exclude_characters="\0"), max_size=12), min_size=1, max_size=3),
)
def test_any_arguments_end_in_an_exit_status(config: Path, run: Run, command: list[str], words: list[str]) -> None:
    config.write_text(GOOD + '[relay]\nsmart_host = "inside"\n')
    status, _, err = run(*command, *words)
    assert status in (0, 1, 2)
    assert "a defect in this program" not in err


@given(st.text())
def test_nothing_that_is_printed_moves_the_terminal(text: str) -> None:
    shown = printable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    shown.encode()
