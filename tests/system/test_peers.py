"""Real peers as processes: Postfix on both sides, swaks, curl, Python's smtplib and aiosmtpd."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.client import Client, trusting_context
from tests.support.conditions import free_port, until
from tests.support.gateway import LOGIN, PASSWORD, Gateway
from tests.support.messages import EICAR, KIB, MIB, body_of
from tests.support.postfix import Postfix
from tests.support.sink import Sink


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink) -> Iterator[Gateway]:
    with Gateway([sink.url], submission=True) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _fresh(sink: Sink) -> None:
    sink.taken.clear()


def after_received(content: bytes) -> bytes:
    """A message less all the trace fields in front of it."""
    while content.startswith(b"Received:"):
        end = content.index(b"\r\n")
        while content[end + 2 : end + 3] in (b" ", b"\t"):
            end = content.index(b"\r\n", end + 2)
        content = content[end + 2 :]
    return content


def test_postfix_delivers_through_us(gateway: Gateway, sink: Sink) -> None:
    """Postfix as client: its own pipelining, SIZE and STARTTLS against our port 25."""
    bodies = [
        b"Message-Id: <%d@x.test>\r\nDate: Sun, 22 Nov 2026 04:00:00 +0000\r\nFrom: <a@s.test>\r\n" % size_bytes
        + body_of(size_bytes, size_bytes)
        for size_bytes in (2 * KIB, 100 * KIB, 3 * MIB)
    ]
    with Postfix(gateway.port) as postfix, Client(postfix.port) as client:
        client.hello()
        for body in bodies:
            assert client.message("a@s.test", "b@example.test", body).code == 250
        taken = sink.wait_for(3)
        until(lambda: postfix.log.count(b"status=sent") == 3, "Postfix to note the 250s")
    assert sorted(after_received(message.body) for message in taken) == sorted(bodies)
    assert b"STARTTLS" not in taken[0].content and b" with ESMTPS " in taken[0].content
    until(lambda: len(gateway.events("message", helo="postfix.peer.test")) == 3, "the log of three messages")


def test_postfix_takes_what_we_deliver() -> None:
    """Postfix as next hop: what we say to it, it passes on to a sink, to be compared."""
    with Sink() as behind, Postfix(behind.port) as postfix, Gateway([f"smtp://127.0.0.1:{postfix.port}"]) as gateway:
        bodies = [
            b"Message-Id: <%d@x.test>\r\nDate: Sun, 22 Nov 2026 04:00:00 +0000\r\nFrom: <a@s.test>\r\n" % size_bytes
            + body_of(size_bytes, size_bytes)
            for size_bytes in (2 * KIB, 3 * MIB)
        ]
        with Client(gateway.port) as client:
            client.hello()
            for body in bodies:
                assert client.message("a@s.test", ["b@example.test", "c@example.test"], body).code == 250
            refused = client.envelope("a@s.test", "no such <user>@example.test")
            assert refused[1].code == 501
        taken = behind.wait_for(2)
        assert sorted(after_received(message.content) for message in taken) == sorted(bodies)


def test_swaks_sends_in_clear_under_tls_and_with_a_login(gateway: Gateway, sink: Sink) -> None:
    common = ["--from", LOGIN, "--to", "b@example.test", "--body", "hello from swaks"]
    login = ["--auth", "PLAIN", "--auth-user", LOGIN, "--auth-password", PASSWORD]
    ways = [
        ["--port", str(gateway.port)],
        ["--port", str(gateway.port), "-tls"],
        ["--port", str(gateway.port), "--pipeline"],
        ["--port", str(gateway.submission_port), "-tls", *login],
        ["--port", str(gateway.submission_port), "-tls", "--auth", "LOGIN", *login[2:]],
        ["--port", str(gateway.submissions_port), "-tlsc", *login],
    ]
    for way in ways:
        done = subprocess.run(
            ["swaks", "--server", "127.0.0.1", *way, *common], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(sink.wait_for(len(ways))) == len(ways)
    assert all(b"hello from swaks" in message.content for message in sink.taken)


def test_swaks_hears_why_it_is_refused(gateway: Gateway) -> None:
    refused = ["--to", "x@elsewhere.test"], ["--to", "b@example.test", "--body", EICAR.decode()]
    for way, text in zip(refused, ("550 5.7.1", "554 5.7.1"), strict=True):
        done = subprocess.run(
            ["swaks", "--server", "127.0.0.1", "--port", str(gateway.port), "--from", "a@s.test", *way],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode != 0 and text in done.stdout


def test_curl_sends_mail(gateway: Gateway, sink: Sink, tmp_path: Path) -> None:
    body = body_of(2 * MIB, 77)
    (tmp_path / "mail").write_bytes(body)
    ways = [
        [f"smtp://127.0.0.1:{gateway.port}/client.test"],
        [f"smtp://127.0.0.1:{gateway.port}/client.test", "--ssl-reqd", "--insecure"],
        [f"smtps://127.0.0.1:{gateway.submissions_port}/client.test", "--insecure", "--user", f"{LOGIN}:{PASSWORD}"],
    ]
    for way in ways:
        done = subprocess.run(
            ["curl", "-sS", *way, "--mail-from", LOGIN, "--mail-rcpt", "b@example.test", "-T", str(tmp_path / "mail")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert [message.body == body for message in sink.taken] == [True] * 3


def test_smtplib_sends_on_all_three_ports(gateway: Gateway, sink: Sink) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = LOGIN, "b@example.test", "from smtplib"
    message.set_content("Grüße\n" * 100)
    context: ssl.SSLContext = trusting_context()
    with smtplib.SMTP("127.0.0.1", gateway.port) as clear:
        clear.send_message(message)
    with smtplib.SMTP("127.0.0.1", gateway.submission_port) as submission:
        submission.starttls(context=context)
        submission.login(LOGIN, PASSWORD)
        submission.send_message(message)
        with pytest.raises(smtplib.SMTPSenderRefused):
            submission.sendmail("boss@example.test", "b@example.test", "Subject: x\r\n\r\n")
    with smtplib.SMTP_SSL("127.0.0.1", gateway.submissions_port, context=context) as submissions:
        submissions.login(LOGIN, PASSWORD)
        submissions.send_message(message)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            submissions.sendmail(LOGIN, "not an address", "Subject: x\r\n\r\n")
    assert len({taken.body for taken in sink.taken}) == 1 and len(sink.taken) == 3


class _Kept:
    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content
        assert content is not None
        self.contents.append(content)
        return "250 2.0.0 kept"


def test_aiosmtpd_takes_what_we_deliver() -> None:
    handler = _Kept()
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        with Gateway([f"smtp://127.0.0.1:{port}"]) as gateway, Client(gateway.port) as client:
            client.hello()
            bodies = [body_of(size_bytes, size_bytes) for size_bytes in (1 * KIB, 200 * KIB, 2 * MIB)]
            for body in bodies:
                assert client.message("a@s.test", "b@example.test", body).code == 250
            assert [after_received(content) for content in handler.contents] == bodies
    finally:
        controller.stop()
