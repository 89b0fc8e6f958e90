"""The server engine: one message, the order of commands, extensions, STARTTLS and lines."""

from __future__ import annotations

import gc

import pytest

from appliance.core import reply
from appliance.wire.smtp_server import State
from tests.fuzz.recording import Owner, opened

_MAIL = b"MAIL FROM:<a@b.test>\r\n"
_RCPT = b"RCPT TO:<yes@x.test>\r\n"
_OPEN = _MAIL + _RCPT


def replies(owner, *expected):
    assert owner.output == b"".join(answer.raw for answer in expected)


# -- one message


def test_a_pipelined_session_is_answered_in_order():
    owner = Owner()
    owner.feed(b"EHLO c.test\r\n" + _OPEN + b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
    replies(owner, reply.OK, reply.SENDER_OK, reply.RECIPIENT_OK, reply.START_INPUT, reply.OK, reply.BYE)
    assert owner.handler.messages == [(b"Subject: x\r\n\r\n..dot\r\n", False)]
    assert owner.engine.state is State.CLOSED


def test_a_session_can_send_many_messages_in_both_forms():
    owner = opened()
    for number in range(5):
        owner.feed(_OPEN + b"DATA\r\nby data %d\r\n.\r\n" % number + _OPEN + b"BDAT 3\r\nby BDAT 7 LAST\r\n bdat\r\n")
    assert [body for body, _ in owner.handler.messages][-2:] == [b"by data 4\r\n", b"by  bdat\r\n"]
    assert owner.codes == [250, 250, 354, 250, 250, 250, 250, 250] * 5


def test_verbs_are_taken_in_any_case():
    owner = Owner()
    owner.feed(b"ehlo c.test\r\nMaIl fRoM:<a@b.test>\r\nrcpt TO:<yes@x.test>\r\ndata\r\n.\r\nquit\r\n")
    assert owner.codes == [250, 250, 250, 354, 250, 221]


# -- order of commands


@pytest.mark.parametrize(
    ("dialogue", "codes"),
    [
        (b"RCPT TO:<yes@x.test>\r\n", [503]),
        (b"DATA\r\n", [503]),
        (b"BDAT 0 LAST\r\n", [503]),
        (_MAIL + _MAIL, [250, 503]),
        (_OPEN + _MAIL, [250, 250, 503]),
        (_MAIL + b"DATA\r\n", [250, 503]),
        (_MAIL + b"RCPT TO:<no@x.test>\r\nDATA\r\n", [250, 550, 554]),
        (_MAIL + b"RCPT TO:<no@x.test>\r\nRCPT TO:<soon@x.test>\r\nBDAT 2\r\nhi", [250, 550, 450, 554]),
        (_MAIL + b"RCPT TO:<no@x.test>\r\nDATA\r\n" + _RCPT + b"DATA\r\n.\r\n", [250, 550, 554, 250, 354, 250]),
        (b"MAIL FROM:<no@b.test>\r\n" + _RCPT + b"DATA\r\n", [550, 503, 503]),
        (_OPEN + b"DATA\r\n.\r\n" + _RCPT + b"DATA\r\n", [250, 250, 354, 250, 503, 503]),
        (_OPEN + b"DATA\r\nREFUSE\r\n.\r\n" + _RCPT + b"DATA\r\n", [250, 250, 354, 554, 503, 503]),
        (_OPEN + b"RSET\r\n" + _RCPT, [250, 250, 250, 503]),
        (_OPEN + b"EHLO again.test\r\n" + _RCPT + _MAIL, [250, 250, 250, 503, 250]),
        (_OPEN + b"HELO again.test\r\nDATA\r\n", [250, 250, 250, 503]),
        (_OPEN + b"STARTTLS\r\nDATA\r\n.\r\n", [250, 250, 503, 354, 250]),
        (_OPEN + b"XCLIENT ADDR=1.2.3.4\r\n", [250, 250, 503]),
        (_OPEN + b"DATA now\r\nDATA \r\n.\r\n", [250, 250, 501, 354, 250]),
    ],
)
def test_a_command_out_of_order_is_refused_and_changes_nothing(dialogue, codes):
    owner = opened()
    owner.feed(dialogue)
    assert owner.codes == codes


@pytest.mark.parametrize("command", [_MAIL, _RCPT, b"DATA\r\n", b"STARTTLS\r\n", b"BDAT 0 LAST\r\n"])
def test_before_ehlo_nothing_of_a_message_is_taken(command):
    owner = Owner()
    owner.feed(command)
    replies(owner, reply.NEED_HELLO)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"NOOP\r\n", reply.OK),
        (b"NOOP anything\r\n", reply.OK),
        (b"VRFY somebody\r\n", reply.CANNOT_VERIFY),
        (b"VRFY \xc3\xa4\xc3\xb6\r\n", reply.CANNOT_VERIFY),
        (b"VRFY\r\n", reply.BAD_SYNTAX),
        (b"HELP\r\n", reply.HELP),
        (b"EXPN list\r\n", reply.NOT_IMPLEMENTED),
        (b"ETRN x.test\r\n", reply.NOT_IMPLEMENTED),
        (b"XFORWARD ADDR=1.2.3.4\r\n", reply.NOT_IMPLEMENTED),
        (b"EHLO\r\n", reply.BAD_SYNTAX),
        (b"EHLO two words\r\n", reply.BAD_SYNTAX),
        (b"HELO \xff\r\n", reply.BAD_SYNTAX),
        (b"EHLO a\x1bb\r\n", reply.BAD_SYNTAX),
        (b"BOGUS\r\n", reply.UNKNOWN_COMMAND),
        (b"\r\n", reply.UNKNOWN_COMMAND),
        (b" MAIL FROM:<a@b.test>\r\n", reply.UNKNOWN_COMMAND),
        (b"NOOP \0\r\n", reply.BAD_SYNTAX),
        (b"RSET \n\r\n", reply.BAD_SYNTAX),
        (b"QUIT \r \r\n", reply.BAD_SYNTAX),
        (b"DATA\n\r\n", reply.UNKNOWN_COMMAND),
        (b"NOOP\nRSET\r\n", reply.UNKNOWN_COMMAND),
        (b"NOOP x\nRSET\r\n", reply.BAD_SYNTAX),
        (b"MAIL FROM:<a@b\0.test>\r\n", reply.BAD_SYNTAX),
    ],
)
def test_what_does_not_belong_to_a_message_does_not_disturb_it(command, answer, place):
    steps = [b"", _MAIL, _RCPT, b"DATA\r\n.\r\n"]
    owner = opened(b"".join(steps[: place + 1]))
    owner.feed(command)
    replies(owner, answer)
    owner.output = b""
    owner.feed(b"".join(steps[place + 1 :]) + b"NOOP\r\n")
    assert owner.codes == [250, 250, 354, 250, 250][place if place < 2 else place + (place > 2) :]


def test_rset_and_ehlo_forget_the_message():
    for forget in (b"RSET\r\n", b"EHLO c.test\r\n", b"HELO c.test\r\n"):
        owner = opened(_OPEN)
        owner.feed(forget)
        assert owner.handler.log[-1] == ("RESET",) and owner.engine.state is State.READY
        assert owner.engine.accepted_recipients == 0


def test_only_a_2xx_accepts_a_recipient():
    owner = opened(_MAIL)
    owner.handler.on_rcpt = lambda command: reply.START_INPUT
    owner.feed(_RCPT + b"DATA\r\n")
    replies(owner, reply.START_INPUT, reply.NO_VALID_RECIPIENTS)


def test_rset_before_ehlo_does_not_stand_for_it():
    owner = Owner()
    owner.feed(b"RSET\r\n" + _MAIL)
    replies(owner, reply.RESET_OK, reply.NEED_HELLO)


def test_an_ehlo_that_the_handler_refuses_leaves_all_as_it_was():
    owner = opened(_OPEN)
    owner.handler.on_hello = lambda verb, name: reply.LOCAL_ERROR
    owner.feed(b"EHLO again.test\r\nDATA\r\n.\r\n")
    assert owner.codes == [451, 354, 250]


def test_an_http_client_is_told_so_and_heard_no_further():
    for verb in (b"GET", b"POST", b"PUT", b"CONNECT", b"OPTIONS"):
        owner = Owner()
        owner.feed(verb + b" / HTTP/1.1\r\nHost: x\r\n\r\nEHLO evil.test\r\n" + _OPEN + b"DATA\r\n")
        replies(owner, reply.HTTP_CLIENT)
        assert owner.engine.state is State.CLOSED and owner.handler.log == [("RESET",)]


# -- extensions


def test_utf8_addresses_need_smtputf8():
    owner = opened(_MAIL)
    owner.feed(b"RCPT TO:<\xc3\xa4@x.test>\r\nRSET\r\nMAIL FROM:<\xc3\xa4@b.test>\r\n")
    replies(owner, reply.NON_ASCII_ADDRESS, reply.RESET_OK, reply.NON_ASCII_ADDRESS)
    owner.output = b""
    owner.feed(b"MAIL FROM:<\xc3\xa4@b.test> SMTPUTF8\r\nRCPT TO:<\xc3\xa4@x.test>\r\nRSET\r\n" + _MAIL)
    assert owner.codes == [250, 250, 250, 250]
    owner.output = b""
    owner.feed(b"RCPT TO:<\xc3\xa4@x.test>\r\n")
    replies(owner, reply.NON_ASCII_ADDRESS)


def test_helo_offers_no_extension_that_changes_the_message():
    owner = Owner()
    owner.engine.binary_offered = owner.engine.secure = True
    owner.feed(b"HELO c.test\r\nMAIL FROM:<a@b.test> SMTPUTF8\r\nMAIL FROM:<a@b.test> BODY=BINARYMIME\r\n")
    owner.feed(b"MAIL FROM:<a@b.test> REQUIRETLS\r\n" + _MAIL)
    replies(owner, reply.OK, reply.BAD_PARAMETER, reply.BAD_PARAMETER, reply.NO_REQUIRETLS_WITHOUT_TLS, reply.SENDER_OK)


def test_a_binary_message_needs_bdat():
    owner = opened()
    owner.engine.binary_offered = True
    owner.feed(b"MAIL FROM:<a@b.test> BODY=BINARYMIME\r\n" + _RCPT + b"DATA\r\nBDAT 6 LAST\r\n\n.\r.\0\n")
    replies(owner, reply.SENDER_OK, reply.RECIPIENT_OK, reply.NEED_BDAT, reply.OK)
    assert owner.handler.messages == [(b"\n.\r.\0\n", False)]


# -- STARTTLS


@pytest.mark.parametrize("behind", [b"MAIL FROM:<evil@x.test>\r\n", b"MAIL FR", b"\r\n.\r\n", b"\0"])
@pytest.mark.parametrize("separate", [False, True])
def test_octets_behind_starttls_are_discarded(behind, separate):
    owner = opened()
    for piece in (b"STARTTLS\r\n", behind) if separate else (b"STARTTLS\r\n" + behind,):
        owner.feed(piece)
    replies(owner, reply.START_TLS)
    assert owner.engine.state is State.UPGRADING
    owner.output = b""
    owner.engine.start_over()
    owner.feed(_MAIL + b"EHLO c.test\r\n" + _MAIL)
    replies(owner, reply.NEED_HELLO, reply.OK, reply.SENDER_OK)


def test_half_a_command_before_tls_is_not_completed_behind_it():
    owner = opened()
    owner.feed(b"STARTTLS\r\nNOO")
    owner.engine.start_over()
    owner.feed(b"P\r\n")
    replies(owner, reply.START_TLS, reply.UNKNOWN_COMMAND)


def test_starttls_with_a_parameter_or_refused_leaves_the_session_as_it_is():
    owner = opened()
    owner.handler.on_starttls = lambda: reply.TLS_UNAVAILABLE
    owner.feed(b"STARTTLS now\r\nSTARTTLS\r\n" + _MAIL)
    replies(owner, reply.BAD_SYNTAX, reply.TLS_UNAVAILABLE, reply.SENDER_OK)


def test_a_session_that_was_closed_does_not_start_over():
    owner = opened()
    owner.feed(b"STARTTLS\r\n")
    owner.engine.close()
    owner.engine.start_over()
    owner.feed(b"EHLO c.test\r\n")
    replies(owner, reply.START_TLS)


# -- lines


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 10_000])
def test_an_over_long_line_is_refused_once_and_the_next_one_is_in_step(piece):
    octets = b"NOOP " + b"x" * 1000 + b"\r\r\r\nNOOP\r\n" + b"y" * 199 + b"\r\nNOOP\r\n"
    owner = opened()
    for start in range(0, len(octets), piece):
        owner.feed(octets[start : start + piece])
        assert len(owner.engine._line) <= 200
    replies(owner, reply.LINE_TOO_LONG, reply.OK, reply.LINE_TOO_LONG, reply.OK)


@pytest.mark.parametrize("piece", [1, 199, 200, 201, 1000])
def test_a_line_may_be_as_long_as_the_limit_with_its_line_end(piece):
    for length, answer in ((200, reply.OK), (201, reply.LINE_TOO_LONG)):
        owner = opened()
        line = b"NOOP ".ljust(length - 2, b"x") + b"\r\n"
        owner.converse([line[start : start + piece] for start in range(0, length, piece)])
        replies(owner, answer)


def test_a_command_that_has_begun_is_known_to_the_owner():
    owner = opened()
    owner.feed(b"NOO")
    assert owner.engine.in_command
    owner.feed(b"P\r\n")
    assert not owner.engine.in_command


def test_too_many_errors_end_the_session():
    owner = opened(errors_limit=3)
    owner.feed(b"BOGUS\r\nRCPT TO:<x@y.test>\r\nMAIL FROM:<no@x.test>\r\nBOGUS\r\nNOOP\r\n" + _MAIL)
    assert owner.codes == [500, 503, 550, 421]
    assert owner.engine.state is State.CLOSED


def test_refusals_that_come_late_count_as_well():
    owner = opened(_MAIL, errors_limit=2)
    owner.converse([b"RCPT TO:<lateno@x.test>\r\n"] * 10)
    assert owner.codes == [550, 550, 550, 421] and owner.engine.state is State.CLOSED


def test_refusals_that_are_temporary_do_not_count():
    owner = opened(_MAIL, errors_limit=2)
    owner.feed(b"RCPT TO:<soon@x.test>\r\n" * 10 + b"NOOP\r\n")
    assert owner.codes == [450] * 10 + [250]


# -- the end


@pytest.mark.parametrize("said", [b"", _OPEN, _OPEN + b"DATA\r\nhalf", _OPEN + b"BDAT 9\r\nhalf", b"QUIT\r\n"])
def test_an_abandoned_engine_and_its_handler_do_not_keep_each_other_alive(said):
    owner = opened()
    owner.feed(said)
    assert owner.engine in gc.get_referrers(owner.handler)
    owner.engine.abandon()
    assert owner.engine.state is State.CLOSED
    # Neither the engine nor one of its streams, through a bound method.
    assert not [kept for kept in gc.get_referrers(owner.handler) if kept is owner.engine or callable(kept)]
