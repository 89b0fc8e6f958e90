"""The client's engine: the opening, transactions with and without pipelining, and servers that misbehave."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.auth_client import CANCEL, Login, Plain
from appliance.wire.smtp_client import Kind, OutOfOrder, ReplyError, SmtpClient, State

_EHLO = (
    b"250-mx.test greets you\r\n250-SIZE 1000\r\n250-pipelining\r\n250-AUTH PLAIN\r\n250-AUTH=LOGIN\r\n250-STARTTLS\r\n"
    b"250 LIMITS RCPTMAX=20 MAILMAX=x mailmax=7 BAD\r\n"
)


def opened(*, lmtp=False):
    client = SmtpClient(lmtp=lmtp)
    client.feed(b"220 mx.test\r\n")
    client.hello("gw.test")
    client.feed(_EHLO)
    return client


def in_mail(recipients=1, *, lmtp=False):
    client = opened(lmtp=lmtp)
    client.mail(b"MAIL FROM:<a@b>\r\n")
    for _ in range(recipients):
        client.rcpt(b"RCPT TO:<c@d>\r\n")
    return client


def kinds(events):
    return [(kind, answer.code) for kind, answer in events]


def test_the_opening_learns_what_the_server_offers():
    client = SmtpClient()
    assert kinds(client.feed(b"220 mx.test\r\n")) == [(Kind.GREETING, 220)]
    assert client.hello("gw.test") == b"EHLO gw.test\r\n"
    assert kinds(client.feed(_EHLO)) == [(Kind.EHLO, 250)]
    assert client.state is State.READY and client.idle
    assert client.extensions["SIZE"] == "1000" and client.size_limit_bytes == 1000 and "PIPELINING" in client.extensions
    assert client.extensions["AUTH"].split() == ["PLAIN", "LOGIN"]
    assert client.limits == {"RCPTMAX": 20, "MAILMAX": 7}


def test_a_server_without_ehlo_is_greeted_with_helo():
    client = SmtpClient()
    client.feed(b"220 old\r\n")
    client.hello("gw.test")
    assert kinds(client.feed(b"502 what\r\n")) == [(Kind.EHLO, 502)] and client.state is State.HELLO
    assert client.helo("gw.test") == b"HELO gw.test\r\n"
    client.feed(b"250 old\r\n")
    assert client.state is State.READY and client.extensions == {} and client.size_limit_bytes == 0


def test_a_server_that_greets_with_554_is_left_alone():
    client = SmtpClient()
    assert kinds(client.feed(b"554 no\r\n")) == [(Kind.GREETING, 554)]
    assert client.state is State.CLOSED
    with pytest.raises(OutOfOrder):
        client.hello("gw.test")


def test_lmtp_says_lhlo():
    client = SmtpClient(lmtp=True)
    client.feed(b"220 x\r\n")
    assert client.hello("gw.test") == b"LHLO gw.test\r\n"


def test_after_starttls_all_is_forgotten_and_ehlo_is_due_again():
    client = opened()
    assert client.start_tls() == b"STARTTLS\r\n"
    assert kinds(client.feed(b"220 go\r\n")) == [(Kind.STARTTLS, 220)] and client.state is State.HANDSHAKE
    client.tls_started()
    assert client.extensions == {} and client.limits == {} and client.state is State.HELLO
    with pytest.raises(OutOfOrder):
        client.mail(b"MAIL FROM:<>\r\n")
    client.hello("gw.test")
    client.feed(b"250 only this\r\n")
    assert client.idle


def test_refused_starttls_leaves_the_session_as_it_was():
    client = opened()
    client.start_tls()
    client.feed(b"454 not now\r\n")
    assert client.state is State.READY
    with pytest.raises(OutOfOrder):
        client.tls_started()


@pytest.mark.parametrize("injected", [b"250 evil\r\n", b"250-evil", b"2", b"\r\n", b"550 evil\r\n"])
def test_octets_behind_the_answer_to_starttls_end_the_session(injected):
    client = opened()
    client.start_tls()
    with pytest.raises(ReplyError):
        client.feed(b"220 go\r\n" + injected)
    client = opened()
    client.start_tls()
    client.feed(b"220 go\r\n")
    with pytest.raises(ReplyError):
        client.feed(injected)


def test_nothing_is_pipelined_behind_or_before_starttls_ehlo_or_auth():
    client = opened()
    client.start_tls()
    for command in (client.noop, client.reset, client.start_tls, lambda: client.hello("x")):
        with pytest.raises(OutOfOrder):
            command()
    client = opened()
    client.noop()
    for command in (client.start_tls, lambda: client.hello("x"), lambda: client.auth(Plain("a", "b"))):
        with pytest.raises(OutOfOrder):
            command()


def test_auth_answers_its_challenges_and_reports_the_outcome():
    client = opened()
    assert client.auth(Login("alice", "secret")) == b"AUTH LOGIN\r\n"
    assert client.feed(b"334 VXNlcm5hbWU6\r\n") == [] and client.take_output() == b"YWxpY2U=\r\n"
    assert client.feed(b"334 UGFzc3dvcmQ6\r\n") == []
    assert base64.b64decode(client.take_output()) == b"secret" and client.take_output() == b""
    assert kinds(client.feed(b"235 2.7.0 yes\r\n")) == [(Kind.AUTH, 235)] and client.idle


def test_auth_that_is_refused_leaves_the_session_open():
    client = opened()
    client.auth(Plain("alice", "secret"))
    assert kinds(client.feed(b"535 no\r\n")) == [(Kind.AUTH, 535)] and client.state is State.READY


def test_endless_challenges_are_cancelled_then_babble():
    client = opened()
    client.auth(Plain("alice", "secret"))
    client.feed(b"334 \r\n")
    assert client.take_output() == CANCEL
    with pytest.raises(ReplyError):
        client.feed(b"334 \r\n")


def test_a_pipelined_transaction_gets_its_replies_in_order():
    client = opened()
    sent = client.mail(b"MAIL FROM:<a@b>\r\n") + client.rcpt(b"RCPT TO:<c@d>\r\n") + client.rcpt(b"RCPT TO:<e@f>\r\n")
    assert sent + client.data() == b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n"
    assert client.awaiting == 4
    events = client.feed(b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
    assert kinds(events) == [(Kind.MAIL, 250), (Kind.RCPT, 250), (Kind.RCPT, 550), (Kind.DATA, 354)]
    assert client.accepted_recipients == 1 and client.state is State.BODY
    assert client.end_of_data() == b".\r\n" and not client.idle
    assert kinds(client.feed(b"250 queued\r\n")) == [(Kind.BODY, 250)] and client.idle


def test_the_next_transaction_may_follow_the_dot_at_once():
    client = in_mail()
    client.data()
    client.feed(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.end_of_data()
    client.mail(b"MAIL FROM:<a@b>\r\n")
    client.rcpt(b"RCPT TO:<c@d>\r\n")
    assert kinds(client.feed(b"450 later\r\n250 ok\r\n250 ok\r\n")) == [
        (Kind.BODY, 450), (Kind.MAIL, 250), (Kind.RCPT, 250),
    ]  # fmt: skip
    assert client.state is State.TRANSACTION and client.accepted_recipients == 1


def test_refused_data_wants_a_reset():
    client = in_mail()
    client.data()
    client.feed(b"250 ok\r\n550 no\r\n503 no recipients\r\n")
    assert client.state is State.TRANSACTION
    with pytest.raises(OutOfOrder):
        client.mail(b"MAIL FROM:<>\r\n")
    with pytest.raises(OutOfOrder):
        client.end_of_data()
    assert client.reset() == b"RSET\r\n"
    client.feed(b"250 ok\r\n")
    assert client.idle


def test_data_accepted_without_recipients_ends_with_the_dot():
    client = in_mail()
    client.data()
    client.feed(b"250 ok\r\n550 no\r\n354 go\r\n")
    assert client.accepted_recipients == 0 and client.state is State.BODY
    client.end_of_data()
    assert kinds(client.feed(b"554 none\r\n")) == [(Kind.BODY, 554)] and client.idle


def test_lmtp_answers_the_dot_once_for_each_accepted_recipient():
    client = in_mail(3, lmtp=True)
    client.data()
    client.feed(b"250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n")
    client.end_of_data()
    assert client.awaiting == 2
    assert kinds(client.feed(b"250 one\r\n452 two\r\n")) == [(Kind.BODY, 250), (Kind.BODY, 452)] and client.idle


def test_lmtp_cannot_end_a_message_before_its_recipients_are_known():
    client = in_mail(1, lmtp=True)
    with pytest.raises(OutOfOrder):
        client.bdat(10, last=True)


def test_chunks_are_announced_and_the_last_one_is_the_end():
    client = in_mail()
    assert client.bdat(10) + client.bdat(0, last=True) == b"BDAT 10\r\nBDAT 0 LAST\r\n"
    events = client.feed(b"250 ok\r\n250 ok\r\n250 ok\r\n250 queued\r\n")
    assert kinds(events)[2:] == [(Kind.BDAT, 250), (Kind.BODY, 250)] and client.idle


@pytest.mark.parametrize(
    ("send", "answer"),
    [
        (lambda client: client.data(), b"250 ok\r\n"),
        (lambda client: client.rcpt(b"RCPT TO:<x@y>\r\n"), b"354 go\r\n"),
        (lambda client: client.reset(), b"334 x\r\n"), (lambda client: client.bdat(1), b"354 go\r\n"),
        (lambda client: b"", b"250 unasked\r\n"), (lambda client: b"", b"550 unasked\r\n"),
    ],
)  # fmt: skip
def test_a_reply_of_the_wrong_kind_is_babble(send, answer):
    client = in_mail()
    client.feed(b"250 ok\r\n250 ok\r\n")
    send(client)
    with pytest.raises(ReplyError):
        client.feed(answer)


def test_421_closes_whatever_it_answers():
    client = in_mail()
    client.data()
    assert kinds(client.feed(b"250 ok\r\n421 bye\r\n")) == [(Kind.MAIL, 250), (Kind.RCPT, 421)]
    assert client.state is State.CLOSED and client.awaiting == 0
    with pytest.raises(OutOfOrder):
        client.reset()


def test_an_unasked_421_closes_an_idle_session():
    client = opened()
    assert kinds(client.feed(b"421 4.4.2 idle too long\r\n")) == [(Kind.CLOSING, 421)]
    assert client.state is State.CLOSED and not client.idle


def test_quit_closes_and_its_reply_may_still_be_read():
    client = opened()
    assert client.quit() == b"QUIT\r\n" and client.state is State.CLOSED
    assert kinds(client.feed(b"221 bye\r\n")) == [(Kind.QUIT, 221)] and client.state is State.CLOSED


def test_a_half_read_reply_is_not_idle():
    client = opened()
    client.feed(b"42")
    assert not client.idle


def test_odd_sizes_and_limits_are_ignored():
    client = SmtpClient()
    client.feed(b"220 x\r\n")
    client.hello("gw.test")
    client.feed("250-x\r\n250-SIZE ²\r\n250 LIMITS MAILMAX=-1 RCPTMAX=99999999 RCPTDOMAINMAX= =1\r\n".encode())
    assert client.size_limit_bytes == 0 and client.limits.get("MAILMAX") is None and "RCPTMAX" not in client.limits


_COMMANDS = st.lists(st.integers(0, 7), max_size=12)


_ANSWERS = st.sampled_from([b"250 ok\r\n", b"354 go\r\n", b"550 no\r\n", b"421 bye\r\n", b"25"])


@given(_COMMANDS, st.lists(_ANSWERS, max_size=12))
def test_no_order_of_commands_and_replies_confuses_the_count(commands, answers):
    client, sent, seen = opened(), 0, 0
    calls = (
        lambda: client.mail(b"MAIL FROM:<>\r\n"), lambda: client.rcpt(b"RCPT TO:<a@b>\r\n"), client.data,
        client.end_of_data, client.reset, client.noop, lambda: client.bdat(1, last=True), client.quit,
    )  # fmt: skip
    for place in range(max(len(commands), len(answers))):
        try:
            if place < len(commands):
                calls[commands[place]]()
                sent += 1
        except OutOfOrder:
            pass
        try:
            if place < len(answers):
                seen += sum(kind is not Kind.CLOSING for kind, _ in client.feed(answers[place]))
        except ReplyError:
            return
        assert client.state is State.CLOSED or client.awaiting == sent - seen
