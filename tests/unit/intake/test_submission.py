"""The doors of 587 and 465, over real sockets: who gets in, how, and that mail comes through unchanged."""

from __future__ import annotations

import base64
import itertools
import smtplib
import threading
from collections.abc import Iterator
from email.message import EmailMessage

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.config import schema
from appliance.intake.login_gate import LoginGate
from appliance.intake.submission import kind_of
from tests.support.submission_door import LOGIN, PASSWORD, Door, Wire, config, plain

OPEN = b"MAIL FROM:<bob@example.test>\r\nRCPT TO:<x@example.test>\r\nDATA\r\n"


@pytest.fixture(scope="module", params=["uvloop"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(config(tmp_path_factory.mktemp("door"))).open(request.param) as opened:
        yield opened


@pytest.fixture
def wire(door: Door) -> Iterator[Wire]:
    """A client on 587 under TLS that has said EHLO."""
    client = Wire(door, source=neighbour())
    client.starttls()
    client.ask(b"EHLO client.example")
    yield client
    client.close()


@pytest.fixture
def user(wire: Wire) -> Wire:
    """As `wire`, logged in."""
    assert wire.login().startswith(b"235 2.7.0 ")
    return wire


_neighbours = itertools.count(1)


def neighbour() -> str:
    """An address of its own for one client, so that what others do does not count for it."""
    number = next(_neighbours)
    return f"127.1.{number >> 8}.{number & 255}"


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode())


# --- before the login


def test_in_clear_only_starttls_is_offered_and_under_tls_only_auth(door: Door) -> None:
    client = Wire(door)
    clear = client.ask(b"EHLO client.example").split(b"\r\n")
    assert b"250 STARTTLS" in clear
    assert not any(b"AUTH" in line or b"REQUIRETLS" in line for line in clear)
    client.starttls()
    secure = client.ask(b"EHLO client.example").replace(b"250-", b"250 ").split(b"\r\n")
    assert {b"250 AUTH PLAIN LOGIN", b"250 REQUIRETLS", b"250 CHUNKING", b"250 DSN", b"250 SMTPUTF8"} <= set(secure)
    assert b"250 STARTTLS" not in secure
    client.close()


def test_mail_needs_tls_first_and_then_a_login(door: Door) -> None:
    client = Wire(door)
    client.ask(b"EHLO client.example")
    assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"530 5.7.0 Must issue a STARTTLS")
    client.starttls()
    assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"503 ")  # EHLO was forgotten
    client.ask(b"EHLO client.example")
    assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"530 5.7.0 Authentication")
    client.close()


def test_a_password_is_not_taken_in_clear(door: Door) -> None:
    client = Wire(door)
    client.ask(b"EHLO client.example")
    assert client.login().startswith(b"538 5.7.11 ")
    client.close()


@pytest.mark.parametrize("hello", [b"", b"HELO client.example"])
def test_auth_needs_ehlo(door: Door, hello: bytes) -> None:
    client = Wire(door, "submissions")
    if hello:
        assert client.ask(hello) == b"250 mx.example.test\r\n"
    assert client.login().startswith(b"503 5.5.1 ")
    client.close()


@pytest.mark.parametrize("behind", [b"EHLO evil.example\r\nMAIL FROM:<eve@example.test>\r\n", b"MAIL FR", b"\r\n"])
def test_what_comes_in_the_packet_of_starttls_is_discarded(door: Door, behind: bytes) -> None:
    client = Wire(door)
    client.ask(b"EHLO client.example")
    client.send(b"STARTTLS\r\n" + behind)
    assert client.reply().startswith(b"220 ")
    client.wrap()
    assert client.ask(b"NOOP") == b"250 2.0.0 Ok\r\n"
    assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"503 ")
    client.close()


def test_clear_text_in_the_read_behind_starttls_is_not_executed(door: Door) -> None:
    """The read that ends with STARTTLS fills the receive buffer, upon which a loop may read on at once."""
    client = Wire(door, source=neighbour())
    client.ask(b"EHLO client.example")
    size = door.on_loop(lambda: len(door.rooms.site.buffers.scratch))
    full = b"NOOP " + b"x" * (size % 6 + 3) + b"\r\n" + b"NOOP\r\n" * (size // 6 - 4) + b"STARTTLS\r\n"
    full = b"NOOP " + b"x" * (size - len(full)) + full[5:]
    assert len(full) == size
    injected = b"EHLO evil.example\r\n" * 20
    arrived = threading.Event()
    door.loop.call_soon_threadsafe(arrived.wait, 10)
    client.send(full + injected)
    arrived.set()
    while (answer := client.reply()).startswith(b"250 2.0.0"):
        pass
    assert answer.startswith(b"220 ")
    try:
        client.wrap()
    except OSError:
        return  # the clear text was taken for a handshake, which failed
    assert client.ask(b"NOOP") == b"250 2.0.0 Ok\r\n"
    assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"503 ")
    client.close()


def test_465_speaks_tls_from_the_first_octet_and_needs_a_login(door: Door) -> None:
    client = Wire(door, "submissions")
    assert client.greeting.startswith(b"220 mx.example.test ESMTP")
    assert b"STARTTLS" not in client.ask(b"EHLO client.example")
    assert client.ask(b"STARTTLS").startswith(b"503 ")
    assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"530 5.7.0 ")
    client.close()


# --- AUTH


def test_plain_with_an_initial_response_or_a_challenge_and_in_any_case(door: Door) -> None:
    client = Wire(door, "submissions")
    client.ask(b"EHLO client.example")
    assert client.ask(b"auth Plain") == b"334 \r\n"
    assert client.ask(plain(LOGIN, PASSWORD)).startswith(b"235 2.7.0 ")
    assert client.login().startswith(b"503 5.5.1 ")  # once a session
    client.close()


@pytest.mark.parametrize("initial", [True, False])
def test_login_asks_for_name_and_password(wire: Wire, initial: bool) -> None:
    if initial:
        assert wire.ask(b"AUTH LOGIN " + b64(LOGIN)) == b"334 " + b64("Password:") + b"\r\n"
    else:
        assert wire.ask(b"AUTH LOGIN") == b"334 " + b64("Username:") + b"\r\n"
        assert wire.ask(b64(LOGIN)) == b"334 " + b64("Password:") + b"\r\n"
    assert wire.ask(b64(PASSWORD)).startswith(b"235 2.7.0 ")
    assert wire.ask(b"MAIL FROM:<bob@example.test>").startswith(b"250 ")


@pytest.mark.parametrize(
    ("name", "password"), [(LOGIN, "wrong"), ("nobody@example.test", PASSWORD), ("ann@example.test", PASSWORD)]
)
def test_whoever_may_not_enter_hears_the_same(wire: Wire, name: str, password: str) -> None:
    assert wire.login(name, password) == b"535 5.7.8 Authentication failed\r\n"
    assert wire.ask(b"MAIL FROM:<bob@example.test>").startswith(b"530 ")
    assert wire.login().startswith(b"235 ")  # and may try again


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"AUTH"], b"501 5.5.4"),
        ([b"AUTH PLAIN a b"], b"501 5.5.4"),
        ([b"AUTH PLAIN \xff"], b"501 5.5.4"),
        ([b"AUTH PLAIN a\0b"], b"501 5.5.4"),
        ([b"AUTH PLAIN a\nb"], b"501 5.5.4"),
        ([b"AUTH CRAM-MD5"], b"504 5.5.4"),
        ([b"AUTH PLAIN !!!"], b"501 5.5.2"),
        ([b"AUTH PLAIN " + b64("no separators")], b"501 5.5.2"),
        ([b"AUTH LOGIN", b"*"], b"501 5.7.0"),
        ([b"AUTH LOGIN", b"%%%"], b"501 5.5.2"),
        ([b"AUTH LOGIN", b64(LOGIN) + b"\n"], b"501 5.5.4"),
        ([b"AUTH LOGIN", b64(LOGIN), b"\n" + b64(PASSWORD)], b"501 5.5.4"),
        ([b"AUTH LOGIN", b"a\rb"], b"501 5.5.4"),
    ],
)
def test_a_malformed_exchange_is_refused_and_the_session_goes_on(wire: Wire, lines: list[bytes], code: bytes) -> None:
    for line in lines[:-1]:
        assert wire.ask(line).startswith(b"334 ")
    assert wire.ask(lines[-1]).startswith(code)
    assert wire.login().startswith(b"235 ")


def test_a_line_of_an_exchange_that_never_ends_ends_the_session(wire: Wire) -> None:
    assert wire.ask(b"AUTH PLAIN").startswith(b"334 ")
    wire.send(b"A" * 20_000)
    assert wire.reply().startswith(b"421 4.7.0 ")
    assert wire.reply() == b""


def test_auth_inside_a_transaction_is_out_of_order(user: Wire) -> None:
    user.ask(b"MAIL FROM:<bob@example.test>")
    assert user.login().startswith(b"503 5.5.1 ")
    assert user.ask(b"RCPT TO:<x@example.test>").startswith(b"250 ")


def test_an_address_that_guesses_is_locked_out_and_its_neighbour_is_not(door: Door) -> None:
    guessing = neighbour()
    guesser = Wire(door, "submissions", source=guessing)
    guesser.ask(b"EHLO client.example")
    for number in range(3):
        assert guesser.login(f"guess{number}", "x").startswith(b"535 5.7.8 ")
    assert guesser.login().startswith(b"454 4.7.0 ")
    other_door = Wire(door, source=guessing)  # the doors count together
    other_door.starttls()
    other_door.ask(b"EHLO client.example")
    assert other_door.login().startswith(b"454 4.7.0 ")
    innocent = Wire(door, "submissions", source=neighbour())
    innocent.ask(b"EHLO client.example")
    assert innocent.login().startswith(b"235 ")
    for client in (guesser, other_door, innocent):
        client.close()


def test_failed_logins_are_errors_and_too_many_errors_end_the_session(door: Door, wire: Wire) -> None:
    for _ in range(6):
        assert wire.ask(b"AUTH CRAM-MD5").startswith(b"504 ")
    assert wire.ask(b"AUTH CRAM-MD5").startswith(b"421 4.7.0 ")
    assert wire.reply() == b""


def test_a_login_in_the_log_has_a_name_and_no_password(door: Door) -> None:
    client = Wire(door, "submissions", neighbour())
    client.ask(b"EHLO client.example")
    client.login("mallory@example.test", "hunter2hunter2")
    client.login()
    client.close()
    assert any(fields["login"] == "mallory@example.test" for fields in door.log.named("login_failed"))
    assert any(fields["login"] == LOGIN for fields in door.log.named("login"))
    told = str(door.log.events)
    assert "hunter2hunter2" not in told
    assert PASSWORD not in told
    assert b64("\0mallory@example.test\0hunter2hunter2").decode() not in told


# --- mail


def test_a_mail_program_sends_its_message_by_either_door(door: Door) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "bob@example.test", "x@example.test", "Grüße"
    message.set_content("Hello\n.\n..\n")
    before = door.queued()
    with smtplib.SMTP("127.0.0.1", door.ports["submission"], timeout=10) as client:
        client.starttls(context=door.client_context)
        client.login(LOGIN, PASSWORD)
        client.send_message(message)
    with smtplib.SMTP_SSL("127.0.0.1", door.ports["submissions"], timeout=10, context=door.client_context) as client:
        client.login(LOGIN, PASSWORD)
        client.send_message(message)
    assert door.queued() == before + 2


def test_the_message_gets_our_received_field_and_nothing_else(door: Door, user: Wire) -> None:
    user.send(OPEN)
    assert [user.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
    answer = user.ask(b"Subject: x\r\n\r\n..dots\r\n.")
    assert answer.startswith(b"250 2.0.0 ")
    message = door.message(answer)
    assert message.endswith(b"\r\nSubject: x\r\n\r\n..dots\r\n")
    assert b"with ESMTPSA id" in message
    assert b"\ttls TLS_" in message
    fields = door.log.named("message")[-1]
    assert (fields["login"], str(fields["tls"])[:5]) == (LOGIN, "TLSv1")


def test_a_sender_must_be_the_logins_own_or_null(user: Wire) -> None:
    assert user.ask(b"MAIL FROM:<ann@example.test>").startswith(b"553 5.7.1 ")
    assert user.ask(b"MAIL FROM:<>").startswith(b"250 ")
    assert user.ask(b"RSET").startswith(b"250 ")
    assert user.ask(b"MAIL FROM:<BOB@Example.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=q").startswith(b"250 ")
    assert user.ask(b"RCPT TO:<x@example.test> NOTIFY=NEVER ORCPT=rfc822;x@example.test").startswith(b"250 ")


def test_a_login_may_send_to_the_world(user: Wire) -> None:
    user.ask(b"MAIL FROM:<bob@example.test>")
    assert user.ask(b"RCPT TO:<friend@elsewhere.example>").startswith(b"250 ")


def test_commands_that_are_not_for_this_door(user: Wire) -> None:
    for verb in (b"EXPN list", b"ETRN x", b"TURN", b"XCLIENT ADDR=192.0.2.1 LOGIN=ann"):
        assert user.ask(verb).startswith(b"502 5.5.1 ")
    assert user.ask(b"VRFY bob").startswith(b"252 ")
    assert user.ask(b"HELP").startswith(b"214 ")
    assert user.ask(b"NOOP \0").startswith(b"501 ")


def test_a_smuggled_second_message_stays_inside_the_first_and_both_are_refused(door: Door, user: Wire) -> None:
    before = door.queued()
    user.send(OPEN + b"a\n.\nMAIL FROM:<bob@example.test>\r\nRCPT TO:<x@example.test>\r\nDATA\r\nb\r\n.\r\nNOOP\r\n")
    replies = [user.reply() for _ in range(5)]
    assert [answer[:3] for answer in replies] == [b"250", b"250", b"354", b"550", b"250"]
    assert door.queued() == before


def test_a_body_over_the_limit_is_refused_behind_its_end(user: Wire) -> None:
    user.send(OPEN)
    for _ in range(3):
        user.reply()
    assert user.ask((b"x" * 70 + b"\r\n") * 40_000 + b".").startswith(b"552 5.3.4 ")
    assert user.ask(b"NOOP").startswith(b"250 ")


bodies = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda line: line.translate(None, b"\r\n")),
        st.sampled_from([b".", b"..", b".x", b"x" * 3000]),
    ),
    max_size=20,
).map(lambda lines: b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, cuts=st.lists(st.integers(0, 2000), max_size=5), chunked=st.booleans())
def test_a_body_split_anywhere_arrives_as_it_was(
    door: Door, user: Wire, body: bytes, cuts: list[int], chunked: bool
) -> None:
    body = b"Subject: x\r\n\r\n" + body
    if chunked:
        plain_body = body.replace(b"\r\n.", b"\r\n")
        octets = OPEN.removesuffix(b"DATA\r\n") + b"BDAT %d LAST\r\n" % len(plain_body) + plain_body
    else:
        octets = OPEN + body + b".\r\n"
    places = sorted({0, *(cut % len(octets) for cut in cuts), len(octets)})
    for start, stop in itertools.pairwise(places):
        user.send(octets[start:stop])
    codes = [user.reply()[:3] for _ in range(2 if chunked else 3)]
    assert codes == [b"250", b"250"] + [b"354"] * (not chunked)
    answer = user.reply()
    assert answer.startswith(b"250 2.0.0 ")
    assert door.body(answer) == body


SCRIPT = (
    b"EHLO client.example\r\nAUTH LOGIN\r\n" + b64("eve") + b"\r\n*\r\nAUTH LOGIN\r\n" + b64(LOGIN) + b"\r\n"
    + b64(PASSWORD) + b"\r\nAUTH PLAIN\r\n" + OPEN + b"S: x\r\n\r\n.\r\nBDAT 3\r\nabcQUIT\r\n"
)  # fmt: skip


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(SCRIPT)), max_size=8))
def test_a_whole_session_split_anywhere_gets_the_same_replies(door: Door, cuts: list[int]) -> None:
    client = Wire(door, "submissions")
    places = sorted({0, *cuts, len(SCRIPT)})
    for start, stop in itertools.pairwise(places):
        client.send(SCRIPT[start:stop])
    codes = []
    while answer := client.reply():
        codes.append(answer[:3].decode())
    client.close()
    expected = "250 334 334 501 334 334 235 503 250 250 354 250 503 221"
    assert " ".join(codes) == expected


# --- time, limits, trouble


@pytest.mark.parametrize("asking", [False, True])
def test_a_silent_client_is_told_of_the_timeout_also_inside_auth(door: Door, wire: Wire, asking: bool) -> None:
    if asking:
        assert wire.ask(b"AUTH PLAIN").startswith(b"334 ")
    listener = door.listeners["submission"]
    now_s = door.on_loop(lambda: listener.now_s)
    door.on_loop(lambda: listener.sweep(now_s + 299))
    door.on_loop(lambda: listener.sweep(now_s + 301))
    assert wire.reply().startswith(b"421 4.4.2 ")
    assert wire.reply() == b""


def test_a_client_that_goes_in_the_middle_of_auth_leaves_nothing_behind(door: Door, wire: Wire) -> None:
    assert wire.ask(b"AUTH LOGIN").startswith(b"334 ")
    listener = door.listeners["submission"]
    assert door.on_loop(lambda: len(listener._tasks)) == 1
    wire.close()
    other = Wire(door, source=neighbour())
    for _ in range(1000):  # each round trip is a turn of the loop, in which it can notice
        if not door.on_loop(lambda: len(listener._tasks)):
            break
        other.ask(b"HELP")
    assert door.on_loop(lambda: len(listener.sessions)) == 1
    other.close()


def test_the_unexpected_inside_auth_becomes_451_and_is_logged(
    door: Door, wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: LoginGate, *arguments: object) -> None:
        raise RuntimeError("not thought of")

    monkeypatch.setattr(LoginGate, "enter", broken)
    assert wire.login().startswith(b"451 4.3.0 ")
    assert wire.reply() == b""
    assert "not thought of" in caplog.text
    assert plain(LOGIN, PASSWORD).decode() not in caplog.text


def test_a_draining_door_lets_a_message_end_and_takes_no_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Door(config(tmp_path_factory.mktemp("drain"))).open("uvloop") as door:
        busy, idle = Wire(door, "submissions"), Wire(door, "submissions")
        busy.ask(b"EHLO client.example")
        busy.login()
        busy.send(OPEN)
        assert [busy.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        assert idle.ask(b"EHLO client.example").startswith(b"250-")
        assert idle.ask(b"AUTH LOGIN").startswith(b"334 ")
        door.on_loop(door.listeners["submissions"].drain)
        assert idle.reply().startswith(b"421 4.3.2 ")
        assert busy.ask(b"S: x\r\n\r\n.").startswith(b"250 2.0.0 ")
        assert busy.reply().startswith(b"421 4.3.2 ")
        late = Wire(door, "submissions")
        assert late.greeting.startswith(b"421 4.3.2 ")
        for client in (busy, idle, late):
            client.close()


def test_sessions_and_messages_have_their_limits(tmp_path_factory: pytest.TempPathFactory) -> None:
    limits = schema.Limits(sessions_per_address=1, messages_per_session=1)
    with Door(config(tmp_path_factory.mktemp("limits"), limits=limits)).open("uvloop") as door:
        client = Wire(door, "submissions")
        second = Wire(door, "submissions")
        assert second.greeting.startswith(b"421 4.7.0 ")
        second.close()
        client.ask(b"EHLO client.example")
        client.login()
        assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"250 ")
        client.ask(b"RSET")
        assert client.ask(b"MAIL FROM:<bob@example.test>").startswith(b"421 4.7.0 ")
        client.close()


@pytest.mark.parametrize(
    ("helo", "kind"),
    [
        ("mail.example.org", "MTA"),
        ("mail.example.org.", "MTA"),
        ("[192.0.2.1]", "MUA"),
        ("192.0.2.1", "MUA"),
        ("[IPv6:2001:db8::1]", "MUA"),
        ("localhost", "MUA"),
        ("DESKTOP-4711", "MUA"),
        ("macbook.local", "MUA"),
        ("pc.fritz.Home", "MUA"),
        ("a b.example", "MUA"),
        ("", "MUA"),
    ],
)
def test_a_server_is_known_by_a_public_host_name(helo: str, kind: str) -> None:
    assert kind_of(helo) == kind
