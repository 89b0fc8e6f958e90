"""Workers come and go: what a former worker left in its spool is delivered all the same."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

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


def killed_and_born_again(gateway: Gateway) -> int:
    """Kills the one worker; the process of the next one, which has only just begun."""
    (old,) = gateway.children()
    os.kill(old, signal.SIGKILL)
    return until(lambda: [pid for pid in gateway.children() if pid != old], "the next worker")[0]


def test_a_worker_that_comes_after_a_reload_has_the_new_configuration() -> None:
    with Sink() as old, Sink() as new, Gateway([old.url]) as gateway:
        gateway.config["next_hop"][0]["servers"] = [{"url": new.url}]
        gateway.reload()
        born = killed_and_born_again(gateway)
        gateway.wait_for_event("worker_ready", pid=born)
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@example.test", "b@example.test", BODY).code == 250
        assert (len(old.taken), len(new.taken)) == (0, 1)


def test_a_reload_that_meets_a_starting_worker_waits_for_it() -> None:
    with Gateway() as gateway:
        for count in range(1, 6):
            born = killed_and_born_again(gateway)
            gateway.signal(signal.SIGHUP)
            gateway.wait_for_event("worker_ready", pid=born)
            until(lambda count=count: len(gateway.events("reloaded")) >= count, "the reload")
            assert gateway.children() == [born]


def test_a_worker_that_finds_its_certificate_gone_leaves_the_tls_port_alone() -> None:
    with Gateway(submission=True) as gateway:
        gateway.config["listen"] = gateway.config["listen"][:1]
        gateway.config["tls"] = {}
        del gateway.config["submission"]
        gateway.reload()
        born = killed_and_born_again(gateway)
        gateway.wait_for_event("worker_ready", pid=born)
        assert gateway.events("no_certificate", listen="submissions")
        with (
            socket.create_connection(("127.0.0.1", gateway.submissions_port)) as tls_only,
            Client(gateway.port) as client,
        ):
            client.hello()
            tls_only.setblocking(False)
            with pytest.raises(BlockingIOError):
                tls_only.recv(100)  # a greeting in clear


def test_workers_share_most_of_what_was_imported_before_the_forks() -> None:
    with Gateway([], {"workers": {"count": 3}}) as gateway:
        for pid in gateway.worker_pids:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            fields = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
            own, all_kib = int(fields["Private_Dirty"]), int(fields["Anonymous"])
            assert own < 0.55 * all_kib, f"{own} of {all_kib} KiB were written since the fork"
