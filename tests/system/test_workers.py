"""Workers come and go: what a former worker left in its spool is delivered all the same."""

from __future__ import annotations

import signal
from pathlib import Path

from appliance.daemon.mtad import leftover_spools
from tests.support.client import Client
from tests.support.conditions import free_port, is_alive, until
from tests.support.gateway import Gateway
from tests.support.sink import Sink

BODY = b"From: <a@example.test>\r\nSubject: left over\r\n\r\ntext\r\n"


def test_spools_beyond_the_workers_of_today_are_leftovers(tmp_path: Path) -> None:
    for name in ("0", "1", "2", "11", "lost+found"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    assert leftover_spools(tmp_path, 2) == [2, 11]


def test_a_state_without_spools_has_no_leftovers(tmp_path: Path) -> None:
    assert leftover_spools(tmp_path, 2) == []


def test_with_fewer_workers_the_messages_of_all_are_still_delivered() -> None:
    sink = Sink(port=free_port())
    with Gateway([sink.url], {"workers": {"count": 3}}) as gateway:
        spools = gateway.folder / "state" / "spool"
        for _ in range(30):
            with Client(gateway.port) as client:
                client.hello()
                assert client.message("a@example.test", "b@example.test", BODY).code == 250
        assert len(gateway.queue()) == 30
        gateway.stop()
        gateway.config["workers"]["count"] = 1
        gateway.start()
        try:
            sink.start()
            sink.wait_for(30)
            until(lambda: sorted(path.name for path in spools.iterdir()) == ["0"], "the leftover spools to go")
        finally:
            sink.stop()
    assert sorted(taken.body for taken in sink.taken) == [BODY] * 30


def test_workers_without_their_supervisor_drain_so_that_the_next_one_can_start() -> None:
    sink = Sink(port=free_port())
    with Gateway([sink.url], {"workers": {"count": 2}}) as gateway, Client(gateway.port) as client:
        client.hello()
        assert client.message("a@example.test", "b@example.test", BODY).code == 250
        workers = gateway.worker_pids
        gateway.signal(signal.SIGKILL)
        gateway.wait_for_event("supervisor_lost")
        until(lambda: not any(map(is_alive, workers)), "the orphans to end")
        assert len(gateway.events("worker_stopped")) == 2, "they did not end clean"
        gateway.start()
        sink.start()
        try:
            sink.wait_for(1)
        finally:
            sink.stop()
