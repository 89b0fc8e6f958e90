"""A new configuration reaches the gateway's workers, or it is restarted where they could not take it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.config.load import parse
from appliance.config.schema import Config
from appliance.control.gateway import Gateway, needs_restart
from appliance.control.protocol import ControlError, RequestRefused, worker_socket
from appliance.control.server import ControlServer
from tests.support.commit_bench import GOOD
from tests.support.sysd_bench import NotingMachine


def config(more: str = "", state: str = "/s", text: str = GOOD) -> Config:
    return parse(text.replace("/var/lib/mailweir", state) + more, "/c/mailweir.toml")


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ("[limits]\nsessions = 3\n", False),
        ("[limits]\nmemory_per_worker = 300000000\n", True),
        ('[[policy]]\nname = "x"\n', False),
        ('[[listen]]\nname = "x"\naddress = "127.0.0.1:26"\n', True),
        ("[workers]\ncount = 3\n", True),
        ('[log]\nlevel = "debug"\n', True),
        ('[spool]\nquota = "1GiB"\n', True),
        ("[submission]\nfailures_before_lockout = 3\n", True),
    ],
)
def test_only_what_workers_look_at_once_needs_a_restart(more: str, wanted: bool) -> None:
    assert needs_restart(config(), config(more)) is wanted


def test_another_certificate_needs_a_restart_only_for_the_port_that_is_tls_from_the_first_octet() -> None:
    changed = GOOD.replace("self_signed = true", 'self_signed = true\nminimum = "TLSv1.3"')
    assert not needs_restart(config(), config(text=changed))
    port = '[[listen]]\nname = "s"\naddress = "127.0.0.1:465"\nkind = "submissions"\n'
    assert needs_restart(config(port), config(port, text=changed))


def run(tmp_path: Path, answers: list[str]) -> tuple[list[int], BaseException | None]:
    """Applies a small change to workers that answer "ok", "silence", or a refusal; who was asked, and the error."""
    asked: list[int] = []

    async def main() -> BaseException | None:
        servers = []
        for number, answer in enumerate(answers):

            async def reload(args: dict[str, Any], number: int = number, answer: str = answer) -> object:
                asked.append(number)
                if answer != "ok":
                    raise RequestRefused(answer)
                return {}

            server = ControlServer(worker_socket(str(tmp_path), number), {"reload": reload})
            await server.open()
            servers.append(server)
            if answer == "dead":
                await server.close()
                worker_socket(str(tmp_path), number).touch()
        old = config(state=str(tmp_path))
        new = msgspec.structs.replace(old, hostname="new.example.test")
        try:
            await Gateway(NotingMachine()).apply(old, new)
        except ControlError as error:
            return error
        finally:
            for server in servers:
                await server.close()
        return None

    return asked, asyncio.run(main())


def test_all_workers_are_asked_and_the_dead_passed_over(tmp_path: Path) -> None:
    assert run(tmp_path, ["ok", "dead", "ok"]) == ([0, 2], None)


def test_a_worker_that_refuses_is_the_reason_that_it_failed(tmp_path: Path) -> None:
    asked, error = run(tmp_path, ["ok", "no such pattern", "ok"])
    assert (asked, str(error)) == ([0, 1], "no such pattern")


def test_a_gateway_that_does_not_run_needs_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, []) == ([], None)


def test_going_back_to_nothing_stops_the_service_and_to_something_restarts_it() -> None:
    machine = NotingMachine()
    gateway = Gateway(machine)
    asyncio.run(gateway.apply(None, config()))
    asyncio.run(gateway.undo(None, config()))
    asyncio.run(gateway.undo(config(), config("[workers]\ncount = 3\n")))
    assert machine.notes == ["restart", "stop", "restart"]
