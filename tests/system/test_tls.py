"""TLS on both sides: nothing from before the handshake counts, and what policy wants is never done without."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from tests.support.certificates import public_part, server_context
from tests.support.client import Answer, Client, Closed, trusting_context
from tests.support.conditions import until
from tests.support.gateway import LOGIN, PASSWORD, Gateway
from tests.support.messages import MIB, body_of
from tests.support.sink import EXTENSIONS, Sink, say

BODY = b"Subject: secret\r\n\r\ntext\r\n"


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink) -> Iterator[Gateway]:
    with Gateway([sink.url], submission=True) as gateway:
        yield gateway


def both_ports(gateway: Gateway) -> tuple[int, int]:
    return gateway.port, gateway.submission_port


# -- as a server


def test_a_session_under_starttls_carries_large_mail_byte_identical(gateway: Gateway, sink: Sink) -> None:
    sink.taken.clear()
    bodies = [body_of(size_bytes, size_bytes) for size_bytes in (500, 100_000, 3 * MIB)]
    with Client(gateway.port) as client:
        assert "STARTTLS" in client.hello().text
        client.starttls()
        text = client.hello().text
        assert "STARTTLS" not in text and "REQUIRETLS" in text
        for body in bodies:
            assert client.message("a@s.test", "b@example.test", body).code == 250
    assert [taken.body for taken in sink.taken] == bodies
    assert b" with ESMTPS " in sink.taken[0].content and b"\r\n\ttls TLS_" in sink.taken[0].content


def test_a_session_under_tls_leaves_no_buffers_behind(gateway: Gateway, sink: Sink) -> None:
    """Each has hundreds of KiB of them while it lasts: a hundred that stay would be felt."""

    def sessions(count: int) -> int:
        for _ in range(count):
            with Client(gateway.port) as client:
                client.hello()
                client.starttls()
                client.hello()
                assert client.message("a@s.test", "b@example.test", body).code == 250
                assert client.say("QUIT").code == 221
        sink.taken.clear()
        return gateway.resident_bytes()

    body = body_of(MIB, 1)
    before = sessions(15)
    assert sessions(45) - before < 8 * MIB


@pytest.mark.parametrize(
    "behind", [b"MAIL FROM:<evil@s.test>\r\n", b"EHLO evil\r\nMAIL FROM:<evil@s.test>\r\n", b"NOO", b"RSET\r\n" * 50]
)
def test_commands_in_the_packet_of_starttls_are_discarded(behind: bytes, gateway: Gateway) -> None:
    for port in both_ports(gateway):
        with Client(port) as client:
            client.hello("before.test")
            client.send(b"STARTTLS\r\n" + behind)
            assert client.answer().code == 220
            assert not client.unread
            client.wrap(trusting_context())
            # A transaction begun in clear, or half a command, would show in these replies.
            assert client.say("MAIL FROM:<a@s.test>").code in (503, 530)
            assert client.hello().code == 250
            assert client.say("RCPT TO:<b@example.test>").code == 503


def test_starttls_forgets_the_transaction_and_the_hello(gateway: Gateway) -> None:
    with Client(gateway.port) as client:
        client.hello()
        client.say("MAIL FROM:<a@s.test>")
        assert client.say("STARTTLS").code == 503  # not in a transaction
        client.say("RSET")
        client.starttls()
        assert client.say("MAIL FROM:<a@s.test>").code == 503
        assert client.say("STARTTLS").code == 503


def test_clear_text_after_a_cut_tls_session_is_not_taken(gateway: Gateway, sink: Sink) -> None:
    """BDAT cut by the end of TLS, and then clear text (CVE-2026-45185)."""
    before = len(sink.seen)
    with Client(gateway.port) as client:
        client.hello()
        client.starttls()
        client.hello()
        client.envelope("a@s.test", "b@example.test")
        client.send(b"BDAT 1000 LAST\r\nhalf of it")
        plain = socket.socket(fileno=client.socket.detach())
        plain.settimeout(15)
        plain.sendall(b"x" * 990 + b"\r\nQUIT\r\n")
        with contextlib.suppress(OSError):
            while plain.recv(4096):
                continue
        plain.close()
    with Client(gateway.port) as client:
        assert client.hello().code == 250
    assert len(sink.seen) == before


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused_and_the_next_client_is_served(version: ssl.TLSVersion, gateway: Gateway) -> None:
    context = trusting_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with Client(gateway.port) as client:
        client.hello()
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            client.starttls(context)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(gateway.submissions_port, tls=context)
    with Client(gateway.port) as client:
        client.hello()
        client.starttls()
        assert client.hello().code == 250


def test_garbage_in_place_of_a_handshake_ends_that_session_alone(gateway: Gateway) -> None:
    with Client(gateway.port) as client:
        client.hello()
        assert client.say("STARTTLS").code == 220
        client.send(b"EHLO not tls\r\n" * 10)
        with pytest.raises((Closed, AssertionError)):
            client.answer()
    with Client(gateway.port) as client:
        assert client.hello().code == 250


def test_port_465_shows_no_clear_octet(gateway: Gateway, sink: Sink) -> None:
    sink.taken.clear()
    with Tap(gateway.submissions_port) as tap:
        with Client(tap.port, tls=trusting_context()) as client:
            assert "AUTH" in client.hello().text
            assert client.login(LOGIN, PASSWORD).code == 235
            assert client.message(LOGIN, "b@example.test", BODY).code == 250
            client.say("QUIT")
        seen = tap.octets
    assert sink.taken[0].body == BODY
    for clear in (b"220 ", b"ESMTP", b"EHLO", b"AUTH", b"MAIL FROM", b"secret", b"250 "):
        assert clear not in seen
    assert seen[:1] == b"\x16", "the first octet is not a handshake's"


def test_port_465_says_nothing_to_a_client_in_clear(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.submissions_port), timeout=15) as sock:
        sock.sendall(b"EHLO clear.test\r\n")
        heard = b""
        try:
            while more := sock.recv(4096):
                heard += more
        except ConnectionResetError:
            pass
    assert b"220" not in heard and b"250" not in heard


def test_submission_wants_tls_then_login(gateway: Gateway) -> None:
    with Client(gateway.submission_port) as client:
        assert "AUTH" not in client.hello().text
        assert client.say("MAIL FROM:<anna@example.test>").code == 530
        assert client.login(LOGIN, PASSWORD).code in (530, 538)
        client.starttls()
        assert "AUTH" in client.hello().text
        assert client.say("MAIL FROM:<anna@example.test>").code == 530
        assert client.login(LOGIN, PASSWORD).code == 235
        assert client.message(LOGIN, "b@example.test", BODY).code == 250


# -- as a client


def sent(gateway: Gateway, parameters: str = "", *, tls: bool = False) -> Answer:
    with Client(gateway.port) as client:
        client.hello()
        if tls:
            client.starttls()
            client.hello()
        return client.message("a@s.test", "b@example.test", BODY, parameters)


def hop(url: str, **more: object) -> dict[str, object]:
    return {"next_hop": [{"name": "hop", "servers": [{"url": url}], "breaker_reset": "200ms"} | more]}


@pytest.mark.parametrize(
    ("level", "offers", "version"),
    [("none", True, ""), ("may", True, "TLSv1.3"), ("may", False, ""), ("encrypt", True, "TLSv1.3")],
)
def test_the_policy_of_a_hop_decides_about_tls(level: str, offers: bool, version: str) -> None:
    with (
        Sink(tls=server_context("hop.test") if offers else None) as sink,
        Gateway([], hop(sink.url, tls=level)) as gateway,
    ):
        assert sent(gateway).code == 250
        assert sink.wait_for(1)[0].tls == version and sink.taken[0].body == BODY


def test_smtps_speaks_tls_from_the_start_and_streams_large_mail() -> None:
    body = body_of(4 * MIB, 3)
    with Sink(tls=server_context("hop.test"), implicit_tls=True, receive_buffer_bytes=16_384) as sink:
        with Gateway([], hop(sink.url, tls="encrypt")) as gateway, Client(gateway.port) as client:
            client.hello()
            for _ in range(2):
                assert client.message("a@s.test", "b@example.test", body).code == 250
            assert client.say("QUIT").code == 221
        assert [taken.body == body for taken in sink.taken] == [True, True]


@pytest.mark.parametrize("level", ["encrypt", "verify"])
def test_a_hop_without_the_tls_it_must_have_is_deferred_and_never_used_in_clear(level: str) -> None:
    with Sink() as sink, Gateway([], hop(sink.url, tls=level)) as gateway:
        assert sent(gateway).code == 250
        until(lambda: sink.commands["EHLO"] >= 2, "two tries")
        assert len(gateway.queue()) == 1
        assert not sink.commands["MAIL"]
        sink.tls = server_context("hop.test")
        if level == "encrypt":
            assert sink.wait_for(1)[0].tls


def test_a_wrong_name_is_deferred_never_downgraded() -> None:
    with Sink(tls=server_context("other.test")) as sink:
        more = hop(sink.url, tls="verify", tls_name="hop.test", tls_ca=public_part("other.test"))
        with Gateway([], more) as gateway:
            assert sent(gateway).code == 250
            until(lambda: sink.commands["STARTTLS"] >= 2, "two tries")
            assert not sink.commands["MAIL"] and len(gateway.queue()) == 1
            sink.tls = server_context("hop.test")  # the right name, but nobody vouches for it
            tries = sink.commands["STARTTLS"]
            until(lambda: sink.commands["STARTTLS"] > tries + 1, "two more tries")
            assert not sink.commands["MAIL"]
            gateway.config["next_hop"][0]["tls_ca"] = public_part("hop.test")
            gateway.reload()
            assert sink.wait_for(1)[0].tls


def test_a_server_that_adds_replies_behind_its_220_is_not_believed() -> None:
    """CVE-2021-38371: what came in clear must not count under TLS."""
    with Sink(tls=server_context("hop.test")) as sink, Gateway([], hop(sink.url, tls="encrypt")) as gateway:
        sink.script["STARTTLS"] = say("220 go on\n250 sink.test\n250 2.1.0 ok\n250 2.1.5 ok\n354 go\n250 2.0.0 taken")
        assert sent(gateway).code == 250
        until(lambda: sink.commands["STARTTLS"] >= 2, "two tries")
        assert len(gateway.queue()) == 1 and not sink.taken
        sink.script.clear()
        assert sink.wait_for(1)[0].tls


def test_a_refused_starttls_is_no_reason_to_go_on_in_clear() -> None:
    with Sink(tls=server_context("hop.test")) as sink, Gateway([], hop(sink.url, tls="encrypt")) as gateway:
        sink.script["STARTTLS"] = say("454 4.7.0 not today")
        assert sent(gateway).code == 250
        until(lambda: sink.commands["STARTTLS"] >= 2, "two tries")
        assert not sink.commands["MAIL"]


def test_requiretls_goes_only_where_it_is_promised() -> None:
    context = server_context("hop.test")
    verified = {"tls": "verify", "tls_name": "hop.test", "tls_ca": public_part("hop.test")}
    with Sink(tls=context, extensions=(*EXTENSIONS, "REQUIRETLS")) as able, Sink(tls=context) as unable:
        with Gateway([], hop(able.url, **verified), tls=True) as gateway:
            with Client(gateway.port) as client:
                client.hello()
                assert client.say("MAIL FROM:<a@s.test> REQUIRETLS").code in (530, 555)
            assert sent(gateway, "REQUIRETLS", tls=True).code == 250
            assert "REQUIRETLS" in able.wait_for(1)[0].mail and able.taken[0].tls
        with Gateway([], hop(unable.url, **verified), tls=True) as gateway:
            assert sent(gateway, "REQUIRETLS", tls=True).code == 550
            assert not unable.seen


class Tap:
    """Passes one connection on and keeps what goes by, both ways."""

    def __init__(self, port: int) -> None:
        self._target_port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.octets = b""
        self.port = self._listening.getsockname()[1]

    def __enter__(self) -> Tap:
        self._spawn(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        for thread in self._threads:
            thread.join(15)

    def _spawn(self, work: object, *args: socket.socket) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        near, _ = self._listening.accept()
        far = socket.create_connection(("127.0.0.1", self._target_port))
        self._spawn(self._pass, near, far)
        self._pass(far, near)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while octets := source.recv(65536):
                with self._lock:
                    self.octets += octets
                target.sendall(octets)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return
