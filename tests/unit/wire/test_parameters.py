"""MAIL and RCPT with their parameters: plain forms, all extensions, and what hostile clients write."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.core import reply
from appliance.core.address import NULL_SENDER, parse_address
from appliance.core.envelope import Body, Notify
from appliance.core.reply import Reply
from appliance.wire.parameters import MailCommand, RcptCommand, parse_mail, parse_rcpt
from appliance.wire.xtext import encode_xtext

_ALICE = parse_address(b"alice@example.test")


@pytest.mark.parametrize(
    "raw",
    [
        b"FROM:<alice@example.test>", b"from:<alice@example.test>", b"fRoM:<alice@example.test>",
        b"FROM: <alice@example.test>", b"FROM:<alice@example.test>  ", b"FROM:<@relay.test:alice@example.test>",
    ],
)  # fmt: skip
def test_the_plain_spellings_of_mail_mean_the_same(raw):
    assert parse_mail(raw) == MailCommand(_ALICE)


def test_the_null_sender_is_taken():
    assert parse_mail(b"FROM:<>") == MailCommand(NULL_SENDER)
    assert parse_mail(b"FROM:<> SIZE=10 RET=FULL") == MailCommand(NULL_SENDER, 10, ret="FULL")


def test_size_and_body_mean_the_same_in_either_order_and_case():
    expected = MailCommand(_ALICE, 4096, Body.EIGHT_BIT)
    assert parse_mail(b"FROM:<alice@example.test> SIZE=4096 BODY=8BITMIME") == expected
    assert parse_mail(b"FROM:<alice@example.test> body=8bitmime size=4096") == expected


def test_all_parameters_of_mail_are_understood_together():
    command = parse_mail(
        b"FROM:<alice@example.test> SIZE=1 BODY=BINARYMIME SMTPUTF8 REQUIRETLS RET=hdrs ENVID=a+2Bb AUTH=<>"
    )
    assert command == MailCommand(_ALICE, 1, Body.BINARY, True, True, "HDRS", "a+b", "<>")


@pytest.mark.parametrize(
    ("parameters", "answer"),
    [
        (b"SIZE=-1", reply.BAD_SYNTAX), (b"SIZE=", reply.BAD_SYNTAX), (b"SIZE", reply.BAD_SYNTAX),
        (b"SIZE=1e3", reply.BAD_SYNTAX), (b"SIZE=" + b"9" * 21, reply.BAD_SYNTAX), (b"SIZE=1 SIZE=1", reply.BAD_SYNTAX),
        (b"SIZE=1 size=1", reply.BAD_SYNTAX), (b"BODY=9BIT", reply.BAD_SYNTAX), (b"BODY", reply.BAD_SYNTAX),
        (b"SMTPUTF8=1", reply.BAD_SYNTAX), (b"REQUIRETLS=yes", reply.BAD_SYNTAX), (b"RET=ALL", reply.BAD_SYNTAX),
        (b"ENVID=", reply.BAD_SYNTAX), (b"ENVID=+0D+0A", reply.BAD_SYNTAX), (b"ENVID=a=b", reply.BAD_SYNTAX),
        (b"ENVID=" + b"x" * 101, reply.BAD_SYNTAX), (b"AUTH=+0A", reply.BAD_SYNTAX), (b"AUTH=", reply.BAD_SYNTAX),
        (b"XYZZY", reply.BAD_PARAMETER), (b"NOTIFY=NEVER", reply.BAD_PARAMETER),
        (b"MT-PRIORITY=9", reply.BAD_PARAMETER),
        (b"SIZE=1  BODY=7BIT", reply.BAD_SYNTAX), (b"=", reply.BAD_SYNTAX), (b"SIZE=1\tRET=FULL", reply.BAD_SYNTAX),
        (b"ENVID=a\0b", reply.BAD_SYNTAX), (b"ENVID=a\r\nRCPT", reply.BAD_SYNTAX), (b"-X=1", reply.BAD_SYNTAX),
    ],
)  # fmt: skip
def test_a_wrong_parameter_of_mail_has_its_reply(parameters, answer):
    assert parse_mail(b"FROM:<alice@example.test> " + parameters) is answer


def test_a_huge_size_is_a_number_all_the_same():
    command = parse_mail(b"FROM:<alice@example.test> SIZE=" + b"9" * 20)
    assert isinstance(command, MailCommand) and command.declared_size_bytes == 10**20 - 1


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"", reply.BAD_SYNTAX), (b"FROM", reply.BAD_SYNTAX), (b"TO:<a@b>", reply.BAD_SYNTAX),
        (b"FROM :<a@b>", reply.BAD_SYNTAX), (b"FROM:", reply.BAD_SENDER), (b"FROM:a@b", reply.BAD_SENDER),
        (b"FROM:  <a@b>", reply.BAD_SENDER), (b"FROM:<a@b", reply.BAD_SENDER), (b"FROM:<<a@b>>", reply.BAD_SENDER),
        (b"FROM:<a@b>SIZE=1", reply.BAD_SYNTAX), (b"FROM:<a@b>>", reply.BAD_SYNTAX), (b"FROM:<a>", reply.BAD_SENDER),
        (b"FROM:<a\0@b>", reply.BAD_SENDER), (b"FROM:<a@b\r\n>", reply.BAD_SENDER), (b"FROM:<a b@c>", reply.BAD_SENDER),
        (b'FROM:<"a>@b', reply.BAD_SENDER), (b"FROM:<" + b"a" * 65 + b"@b>", reply.BAD_SENDER),
        (b"FROM:<a@" + b"b" * 64 + b">", reply.BAD_SENDER), (b"FROM:<\xff@b> SMTPUTF8", reply.BAD_SENDER),
        (b"FROM:<\xc3\xa9@b>", reply.NON_ASCII_ADDRESS), (b"FROM:<a@b> \xc3\xa9", reply.BAD_SYNTAX),
        (b"FROM:<@a:>", reply.BAD_SENDER), (b"FROM:<postmaster>", reply.BAD_SENDER),
        (b"FROM:<a@b>\n", reply.BAD_SYNTAX),
        (b"FROM:<a@b>\r\nDATA", reply.BAD_SYNTAX),
    ],
)  # fmt: skip
def test_a_malformed_mail_has_its_reply(raw, answer):
    assert parse_mail(raw) is answer


def test_a_bracket_or_blank_within_quotes_belongs_to_the_address():
    command = parse_mail(rb'FROM:<"a> b\"c"@example.test> SIZE=7')
    assert isinstance(command, MailCommand)
    assert command.sender.local == 'a> b"c' and command.declared_size_bytes == 7


def test_utf8_needs_smtputf8_wherever_that_stands():
    command = parse_mail("FROM:<é@bücher.test> SIZE=1 SMTPUTF8".encode())
    assert isinstance(command, MailCommand)
    assert command.smtputf8 and command.sender.raw == "é@bücher.test"


def test_what_was_not_offered_is_refused():
    assert parse_mail(b"FROM:<a@b> SMTPUTF8", utf8_offered=False) is reply.BAD_PARAMETER
    assert parse_mail(b"FROM:<a@b> BODY=binarymime", binary_offered=False) is reply.BAD_PARAMETER
    assert parse_mail(b"FROM:<a@b> REQUIRETLS", requiretls_offered=False) is reply.NO_REQUIRETLS_WITHOUT_TLS


@pytest.mark.parametrize("raw", [b"TO:<bob@example.test>", b"to: <bob@example.test> ", b"tO:<bob@example.test>"])
def test_the_plain_spellings_of_rcpt_mean_the_same(raw):
    assert parse_rcpt(raw) == RcptCommand(parse_address(b"bob@example.test"))


@pytest.mark.parametrize("name", [b"postmaster", b"Postmaster", b"POSTMASTER"])
def test_postmaster_needs_no_domain(name):
    command = parse_rcpt(b"TO:<" + name + b">")
    assert isinstance(command, RcptCommand)
    assert command.recipient.raw == name.decode() and command.recipient.domain == "" and not command.recipient.is_null


@pytest.mark.parametrize(
    "path", [b"a%b@c.test", b"x!y@c.test", b"@r.test:a@c.test", b'"a@b"@c.test', b"a@[192.0.2.1]", b"$(id)@c.test"]
)
def test_odd_but_legal_recipients_are_left_to_the_relay_rules(path):
    assert isinstance(parse_rcpt(b"TO:<" + path + b">"), RcptCommand) is (path != b"$(id)@c.test")


def test_notify_and_orcpt_are_understood():
    command = parse_rcpt(b"TO:<bob@example.test> notify=success,Delay ORCPT=RFC822;bob+2Bx@old.test")
    assert isinstance(command, RcptCommand)
    assert command.notify == Notify.SUCCESS | Notify.DELAY and command.orcpt == "rfc822;bob+x@old.test"
    never = parse_rcpt(b"TO:<bob@example.test> NOTIFY=NEVER")
    assert isinstance(never, RcptCommand) and never.notify == Notify.NEVER


def test_a_utf8_orcpt_comes_escaped_or_with_smtputf8():
    escaped = parse_rcpt(rb"TO:<bob@example.test> ORCPT=utf-8;j\x{FC}rgen@old.test")
    assert isinstance(escaped, RcptCommand) and escaped.orcpt == "utf-8;jürgen@old.test"
    literal = "TO:<bob@example.test> ORCPT=utf-8;jürgen@old.test".encode()
    assert parse_rcpt(literal) is reply.BAD_SYNTAX
    assert parse_rcpt(literal, utf8=True) == escaped


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"", reply.BAD_SYNTAX), (b"FROM:<a@b>", reply.BAD_SYNTAX), (b"TO:<>", reply.BAD_RECIPIENT),
        (b"TO:a@b", reply.BAD_RECIPIENT), (b"TO:<a>", reply.BAD_RECIPIENT), (b"TO:<a@b>,<c@d>", reply.BAD_SYNTAX),
        (b"TO:<a\0@b>", reply.BAD_RECIPIENT), (b"TO:<\xc3\xa9@b>", reply.NON_ASCII_ADDRESS),
        (b"TO:<a@b> SIZE=1", reply.BAD_PARAMETER), (b"TO:<a@b> NOTIFY=NEVER,SUCCESS", reply.BAD_SYNTAX),
        (b"TO:<a@b> NOTIFY=", reply.BAD_SYNTAX), (b"TO:<a@b> NOTIFY=SUCCESS,", reply.BAD_SYNTAX),
        (b"TO:<a@b> NOTIFY=SOMETIMES", reply.BAD_SYNTAX), (b"TO:<a@b> NOTIFY=DELAY NOTIFY=DELAY", reply.BAD_SYNTAX),
        (b"TO:<a@b> ORCPT=a@b", reply.BAD_SYNTAX), (b"TO:<a@b> ORCPT=;a@b", reply.BAD_SYNTAX),
        (b"TO:<a@b> ORCPT=rfc822;", reply.BAD_SYNTAX), (b"TO:<a@b> ORCPT=rfc822;a+0D+0Ab", reply.BAD_SYNTAX),
        (b"TO:<a@b> ORCPT=rfc822;+00", reply.BAD_SYNTAX), (b"TO:<a@b> ORCPT=r(x);a", reply.BAD_SYNTAX),
        (b"TO:<a@b> ORCPT=rfc822;" + b"x" * 501, reply.BAD_SYNTAX), (rb"TO:<a@b> ORCPT=utf-8;\x{0A}", reply.BAD_SYNTAX),
        (b"TO:<root+${run{/bin/sh}}@b>", None), (b"TO:<a@b>\r\n", reply.BAD_SYNTAX),
    ],
)  # fmt: skip
def test_a_malformed_rcpt_has_its_reply(raw, answer):
    if answer is None:  # metacharacters that a dot-atom has are no error; nothing here expands them
        assert isinstance(parse_rcpt(raw), RcptCommand)
    else:
        assert parse_rcpt(raw) is answer


def test_a_line_of_quotes_and_backslashes_is_judged_at_once():
    for raw in (b"TO:<" + b'"' * 20_000, b"TO:<" + b'"\\' * 20_000, b"TO:<" + b'""' * 10_000 + b"@"):
        assert parse_rcpt(raw) is reply.BAD_RECIPIENT


@given(st.binary(max_size=60))
@example(b"<a@b> " * 3)
def test_whatever_comes_the_answer_is_a_command_or_a_5xx(tail):
    for answer in (
        parse_mail(b"FROM:" + tail),
        parse_mail(tail),
        parse_rcpt(b"TO:" + tail),
        parse_rcpt(tail, utf8=True),
    ):
        if isinstance(answer, Reply):
            assert answer.permanent
        elif isinstance(answer, RcptCommand):
            assert answer.recipient.raw.isprintable()
        else:
            assert answer.sender.raw.isprintable()


_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)


@given(
    size_bytes=st.integers(0, 10**20 - 1), envid=_TEXT, ret=st.sampled_from(["FULL", "HDRS"]),
    body=st.sampled_from(Body), order=st.permutations(range(4)),
)  # fmt: skip
def test_parameters_survive_in_any_order(size_bytes, envid, ret, body, order):
    words = [f"SIZE={size_bytes}", f"ENVID={encode_xtext(envid)}", f"RET={ret}", f"BODY={body.value}"]
    command = parse_mail(f"FROM:<alice@example.test> {' '.join(words[place] for place in order)}".encode())
    if len(encode_xtext(envid)) > 100:
        assert command is reply.BAD_SYNTAX
    else:
        assert command == MailCommand(_ALICE, size_bytes, body, ret=ret, envid=envid)
