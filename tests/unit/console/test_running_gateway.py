from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config.load import parse
from appliance.console.board import Board
from appliance.console.running_gateway import RunningGateway
from appliance.control.protocol import ControlError
from tests.support.commit_bench import GOOD
from tests.support.conditions import free_port, until
from tests.support.gateway import Gateway
from tests.support.sink import Sink, say


def behind(gateway: Gateway) -> RunningGateway:
    return RunningGateway(
        lambda: parse(gateway.config_file.read_text(), "test"), lambda message: [str(message["action"])]
    )


def test_a_gateway_that_runs_tells_of_flow_queue_and_messages() -> None:
    with Sink() as sink, Gateway([sink.url], {"tracking": {"batch": "10ms"}}) as gateway:
        mail = behind(gateway)
        config = parse(gateway.config_file.read_text(), "test")
        assert mail.send_trial(config, "anna@example.test")[-1].startswith("250 ")
        sink.script["RCPT"] = say("550 5.1.1 nobody")
        _, refusal = mail.send_trial(config, "bert@example.test")
        assert refusal.startswith("550 5.1.1 nobody")
        (worker,) = mail.stats()
        assert worker["sessions_total"] == 2
        assert mail.queue(10) == ([], 0)
        until(lambda: gateway.cli("trace", "--to", "anna@example.test", status=None), "the row of the message")
        (found,) = mail.trace(address="anna@example.test")
        assert mail.why(found) == ["accept"] and mail.trace(message_id=found["id"]) == [found]
        assert mail.entry("06H03548JDQ5F2G9") is None and not mail.act("retry", "06H03548JDQ5F2G9")


def test_a_message_in_the_queue_is_found_and_acted_on() -> None:
    with Gateway([f"smtp://127.0.0.1:{free_port()}"], {"queue": {"retry": ["1h"]}}) as gateway:
        mail = behind(gateway)
        assert mail.send_trial(parse(gateway.config_file.read_text(), "test"), "anna@example.test")[-1].startswith(
            "250"
        )
        (entry,), total = mail.queue(10)
        assert total == 1 and mail.queue(0) == ([], 1)
        assert mail.act("hold", entry["id"])
        found = mail.entry(entry["id"])
        assert found is not None and found["state"] == "held"
        assert mail.act("delete", entry["id"]) and mail.queue(10) == ([], 0)


def test_a_gateway_that_does_not_run_is_told(tmp_path: Path) -> None:
    config = parse(GOOD.replace("/var/lib/mailweir", str(tmp_path)), "test")
    mail = RunningGateway(lambda: config, lambda message: [])
    with pytest.raises(ControlError, match="does not run"):
        mail.stats()
    assert mail.trace() == []


def test_the_board_shows_memory_and_the_hottest_zone(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "meminfo").write_text("MemTotal:  524288 kB\nMemFree: 1 kB\nMemAvailable: 262144 kB\n")
    for number, temperature in enumerate(("41000", "52500", "broken")):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(temperature)
    board = Board(tmp_path)
    assert (board.memory_mib(), board.temperature_c()) == ((256, 512), 52.5)


def test_a_board_without_proc_and_sys_shows_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert (board.memory_mib(), board.temperature_c()) == (None, None)
