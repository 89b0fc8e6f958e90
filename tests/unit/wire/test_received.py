"""Our Received field: right clauses, folded, and nothing a peer says gets out of its place."""

from __future__ import annotations

import calendar
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.envelope import Client
from appliance.wire.received import protocol, received, rfc5322_date

_DATE = "Mon, 1 Jan 2024 00:00:00 +0000"


def field(client, **options):
    return received(client, by="gw.example.test", transaction_id="0123456789ABCDEF", date=_DATE, **options)


def test_a_plain_message_has_all_clauses():
    client = Client("192.0.2.1", helo="mail.example.test", esmtp=True, rdns="mx.example.test")
    assert field(client, recipient="bob@example.test") == (
        b"Received: from mail.example.test (mx.example.test [192.0.2.1])\r\n"
        b"\tby gw.example.test with ESMTP id 0123456789ABCDEF\r\n"
        b"\tfor <bob@example.test>;\r\n"
        b"\tMon, 1 Jan 2024 00:00:00 +0000\r\n"
    )


def test_tls_has_its_clause_behind_the_others():
    client = Client("2001:db8::1", helo="a", esmtp=True, tls="TLSv1.3/TLS_AES_256_GCM_SHA384")
    raw = field(client)
    assert b"from a ([IPv6:2001:db8::1])\r\n" in raw and b"with ESMTPS id" in raw
    assert b"\r\n\ttls TLS_AES_256_GCM_SHA384;\r\n" in raw


def test_several_recipients_are_not_named_and_addresses_can_be_left_out():
    assert b"for <" not in field(Client("192.0.2.1", helo="a"))
    assert b"192.0.2.1" not in field(Client("192.0.2.1", helo="a", rdns="inside.test"), show_address=False)


def test_utf8_stands_only_in_an_internationalised_message():
    client = Client("192.0.2.1", helo="bücher.test", esmtp=True)
    assert field(client, recipient="é@x.test").isascii()
    assert "é@x.test".encode() in field(client, recipient="é@x.test", smtputf8=True)
    assert "from bücher.test".encode() in field(client, smtputf8=True)


@pytest.mark.parametrize(
    ("esmtp", "tls", "login", "smtputf8", "lmtp", "name"),
    [
        (False, "", "", False, False, "SMTP"), (False, "x/y", "", False, False, "SMTP"),
        (True, "", "", False, False, "ESMTP"), (True, "x/y", "", False, False, "ESMTPS"),
        (True, "", "me", False, False, "ESMTPA"), (True, "x/y", "me", False, False, "ESMTPSA"),
        (True, "x/y", "me", True, False, "UTF8SMTPSA"), (True, "", "", True, False, "UTF8SMTP"),
        (True, "", "", False, True, "LMTP"), (True, "x/y", "", True, True, "UTF8LMTPS"),
    ],
)  # fmt: skip
def test_the_protocol_has_its_registered_name(esmtp, tls, login, smtputf8, lmtp, name):
    client = Client("192.0.2.1", esmtp=esmtp, tls=tls, login=login)
    assert protocol(client, smtputf8=smtputf8, lmtp=lmtp) == name


_ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(_ANY, _ANY, st.booleans())
def test_no_greeting_and_no_host_name_breaks_the_field(helo, rdns, smtputf8):
    raw = field(Client("192.0.2.1", helo=helo, rdns=rdns, esmtp=True), smtputf8=smtputf8)
    lines = raw.decode().split("\r\n")
    assert lines.pop() == "" and all(line.startswith("\t") for line in lines[1:])
    assert raw.count(b"\n") == raw.count(b"\r") == len(lines) and raw.count(b";") == 1
    assert not any(octet < 32 and octet not in b"\t\r\n" for octet in raw)
    assert raw.count(b"(") == raw.count(b")") == 1
    assert all(len(line) < 998 for line in lines)


@given(st.text("abc.-", min_size=1, max_size=30), st.text("abc.-", max_size=30))
def test_lines_keep_to_78_octets_where_names_allow(helo, rdns):
    client = Client("2001:db8::1", helo=helo, rdns=rdns, esmtp=True, tls="TLSv1.3/TLS_AES_256_GCM_SHA384")
    assert max(map(len, field(client, recipient="bob@example.test").split(b"\r\n"))) <= 78


@given(st.integers(0, 253_402_300_799))
def test_a_date_is_read_back_as_the_same_second(epoch_s):
    parsed = email.utils.parsedate_tz(rfc5322_date(epoch_s))
    assert parsed is not None
    # Two-digit rules of `email` do not touch years of four digits.
    assert calendar.timegm((*parsed[:6], 0, 0, 0)) == epoch_s and parsed[9] == 0


def test_a_clock_gone_wild_still_gives_a_date():
    assert rfc5322_date(0) == "Thu, 1 Jan 1970 00:00:00 +0000"
    assert rfc5322_date(-1e12) == rfc5322_date(0)
    assert rfc5322_date(1e18).startswith("Fri, 31 Dec 9999 23:59:59")
