"""The health gate on a real gateway and a real `sysd`: a message goes in and comes out; each part's failure is seen."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.control.client import ask
from appliance.control.protocol import RequestRefused, worker_sockets
from appliance.daemon import health
from appliance.update import message
from appliance.update.health import Verdict
from appliance.update.message import LoopbackHop, Refused
from tests.support.conditions import until
from tests.support.gateway import Gateway, toml
from tests.support.sysd_of_console import SysdOfConsole

WITHIN_S = 60.0


@pytest.fixture(params=["ram", "spool", "tls"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    more = {"delivery": {"path": "spool"}} if request.param == "spool" else {}
    with Gateway((), {"workers": {"count": 2}, **more}, tls=request.param == "tls") as gateway:
        yield gateway


@pytest.fixture
def sysd(gateway: Gateway, tmp_path: Path) -> Iterator[SysdOfConsole]:
    """With the gateway's configuration in force."""
    sysd = SysdOfConsole(tmp_path, "version = 1\n" + toml(gateway.config))
    sysd.start()
    yield sysd
    sysd.kill()


def looked(sysd: SysdOfConsole, within_s: float = WITHIN_S) -> Verdict:
    return health.look(health.gate(str(sysd.socket)), within_s)


def test_a_working_box_is_healthy_and_nothing_of_the_check_stays(gateway: Gateway, sysd: SysdOfConsole) -> None:
    verdict = looked(sysd)
    assert verdict.well, verdict.reason
    assert [look.name for look in verdict.seen] == ["configuration", "spool", "message", "console"]
    until(lambda: gateway.queue() == [], "the queue to be empty")
    with smtplib.SMTP("127.0.0.1", gateway.port) as client:
        client.ehlo()
        client.mail("")
        assert client.rcpt("health@aaaaaaaa.check.mailweir.invalid")[0] == 550, "the domain is closed again"


def test_a_gateway_that_is_dead_is_seen(gateway: Gateway, sysd: SysdOfConsole) -> None:
    gateway.kill()
    verdict = looked(sysd, within_s=3.0)
    assert not verdict.well and verdict.reason.startswith("spool: ")


def test_a_sysd_that_is_dead_is_seen(gateway: Gateway, sysd: SysdOfConsole) -> None:
    sysd.kill()
    assert looked(sysd, within_s=2.0).reason.startswith("configuration: nobody answers")


def sent(gateway: Gateway, text: str) -> None:
    message.send("127.0.0.1", gateway.port, "x@k3xq8w2m.check.mailweir.invalid", text, time.monotonic() + 9)


def opened(gateway: Gateway, token: str, port: int) -> None:
    for path in worker_sockets(str(gateway.state)):
        ask(path, "check.open", {"token": token, "port": port})


def test_a_message_that_does_not_come_out_is_seen() -> None:
    with Gateway() as gateway:
        with LoopbackHop("sometext") as gone:
            port = gone.port
        opened(gateway, "k3xq8w2m", port)  # where nobody listens: the queue takes it
        with LoopbackHop("k3xq8w2m") as hop:
            sent(gateway, "k3xq8w2m")
            assert not hop.wait(0.5)
            assert len(gateway.queue()) == 1


def test_the_domain_opens_for_the_address_of_this_machine_and_for_no_other() -> None:
    with Gateway((), {"trusted": {"xclient": ["127.0.0.8/32"]}}) as gateway, LoopbackHop("sometext") as hop:
        opened(gateway, "k3xq8w2m", hop.port)
        with smtplib.SMTP("127.0.0.1", gateway.port, source_address=("127.0.0.8", 0)) as client:
            client.ehlo()
            assert client.docmd("XCLIENT", "ADDR=192.0.2.77")[0] == 220
            client.ehlo()
            client.mail("you@sender.test")
            code, said = client.rcpt("x@k3xq8w2m.check.mailweir.invalid")
        assert (code, said[:5]) == (550, b"5.1.1")
        sent(gateway, "sometext")
        assert hop.wait(5)


def test_a_reload_closes_the_domain() -> None:
    with Gateway() as gateway, LoopbackHop("sometext") as hop:
        opened(gateway, "k3xq8w2m", hop.port)
        gateway.reload()
        with pytest.raises(Refused, match="550 5.1.1"):
            sent(gateway, "sometext")


def test_a_check_that_is_none_is_refused() -> None:
    with Gateway() as gateway:
        (path,) = worker_sockets(str(gateway.state))
        for token, port in (("short", 4000), ("a.b.c.d.e.f", 4000), ("k3xq8w2m", 25)):
            with pytest.raises(RequestRefused, match="a check wants"):
                ask(path, "check.open", {"token": token, "port": port})
