"""Smuggling in every mode that a configuration can choose, and what else must hold whichever way a message goes."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.client import Client, Closed
from tests.support.conditions import until
from tests.support.gateway import LOGIN, PASSWORD, Gateway
from tests.support.sink import Sink
from tests.system.test_attacks import ENDS, SECOND

MODES = {
    "normalise": {"delivery": {"bare_newline": "normalise"}},
    "wire": {"delivery": {"path": "wire", "keep_bytes": True}},
    "spool": {"delivery": {"path": "spool"}},
    "submission": {},
    "lmtp": {},
    "no extensions": {},
}


@pytest.fixture(scope="module", params=MODES)
def house(request: pytest.FixtureRequest) -> Iterator[tuple[str, Gateway, Sink]]:
    mode = str(request.param)
    sink = Sink(lmtp=True) if mode == "lmtp" else Sink(extensions=[]) if mode == "no extensions" else Sink()
    with ExitStack() as stack:
        stack.enter_context(sink)
        yield mode, stack.enter_context(Gateway([sink.url], MODES[mode], submission=mode == "submission")), sink


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_no_look_alike_ends_a_message_in_any_mode(end: bytes, bytewise: bool, house: tuple[str, Gateway, Sink]) -> None:
    mode, gateway, sink = house
    sink.seen.clear()
    sink.lines.clear()
    body = b"Subject: first\r\n\r\ntext" + end + SECOND
    sender = LOGIN if mode == "submission" else "a@s.test"
    with Client(gateway.submission_port if mode == "submission" else gateway.port) as client:
        client.hello()
        if mode == "submission":
            client.starttls()
            client.hello()
            assert client.login(LOGIN, PASSWORD).code == 235
        client.envelope(sender, "b@example.test")
        assert client.say("DATA").code == 354
        client.send(body + b".\r\n", bytewise=bytewise)
        answer = client.answer()
        assert answer.code == 250 or (answer.code == 550 and mode != "normalise")
        assert client.say("QUIT").code == 221
        assert not client.unread, "a second transaction was answered"
    until(lambda: len(sink.seen) == (answer.code == 250) and not gateway.queue(), "the message")
    assert not any("evil@" in line for line in sink.lines)
    for taken in sink.seen:
        without = taken.raw.replace(b"\r\n", b"")
        assert b"\r" not in without and b"\n" not in without
        assert b"\r\n.\r\n" not in taken.raw
        assert taken.content.count(b"Subject: smuggled") == 1, "the second one is text of the first"
        if mode != "normalise":
            assert taken.body == body.replace(b"\r\n..", b"\r\n.")
    with Client(gateway.port) as client:
        assert client.hello().code == 250
    assert gateway.alive and not gateway.events("session_failed")


HOSTILE_PARAMETERS = [
    b"ORCPT=rfc822;a+0D+0AQUIT",
    b"ORCPT=rfc822;a+0",
    b"ORCPT=a",
    b"ORCPT=rfc822;" + b"x" * 1500,
    b"NOTIFY=NEVER,FAILURE",
    b"NOTIFY=",
    b"NOTIFY=SUCCESS NOTIFY=SUCCESS",
    b"SIZE=5",
    b"=x",
    b"X-OWN=1",
]


@pytest.mark.parametrize("parameters", HOSTILE_PARAMETERS, ids=repr)
def test_hostile_parameters_of_a_recipient_are_refused(parameters: bytes, house: tuple[str, Gateway, Sink]) -> None:
    _, gateway, sink = house
    sink.lines.clear()
    with Client(gateway.port) as client:
        client.hello()
        client.say("MAIL FROM:<a@s.test>")
        assert client.say(b"RCPT TO:<b@example.test> " + parameters).code >= 500
        assert client.say("RCPT TO:<b@example.test>").code == 250
        client.say("RSET")
    assert not any("QUIT" in line for line in sink.lines)


def are_over(gateway: Gateway) -> bool:
    """Whether no session is open; who asks needs a descriptor, too, and is cut off while there is none."""
    try:
        return gateway.metric("mailweir_sessions_open") == 0
    except OSError:
        return False


def test_more_connections_than_descriptors_are_no_end_of_service() -> None:
    with Sink() as sink, Gateway([sink.url]) as gateway:
        (pid,) = gateway.worker_pids
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_now = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 20, hard))
        clients = [Client(gateway.port) for _ in range(60)]
        greeted = []
        for client in clients:
            client.socket.settimeout(0.2)
            try:
                greeted.append(client.answer().code == 220)
            except (TimeoutError, Closed):
                greeted.append(False)
        assert any(greeted) and not all(greeted)
        assert clients[0].hello().code == 250
        for client in clients:
            client.close()
        until(lambda: are_over(gateway), "the sessions to end")
        with Client(gateway.port) as client:
            client.hello()
            assert client.message("a@s.test", "b@example.test", b"Subject: x\r\n\r\n").code == 250
        assert gateway.worker_pids == [pid] and gateway.alive
