"""Delivery reports: who gets one, and that nothing of what a peer said can break out of its place in it."""

from __future__ import annotations

import re
from dataclasses import replace
from email import message_from_bytes
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.address import NULL_SENDER, Address, parse_address
from appliance.core.envelope import Body, Envelope, Notify, Recipient
from appliance.core.reply import Reply
from appliance.delivery import dsn
from appliance.delivery.dsn import Action, Original, Outcome

SENDER = parse_address(b"sender@example.test")
POSTMASTER = "postmaster@example.test"
CONTENT = b"Received: x\r\nSubject: hello\r\nMessage-ID: <1@x>\r\n\r\n.first\r\nbody\r\n"
REFUSED = Reply(550, "5.1.1", "No such user")
BUSY = Reply(450, "4.2.1", "Mailbox busy")


def to(raw: str, notify: Notify = Notify.UNSET, orcpt: str = "") -> Recipient:
    return Recipient(parse_address(raw.encode(), utf8=True), notify, orcpt)


def failed(
    recipient: Recipient | None = None, reply: Reply = REFUSED, remote_mta: str = "", status: str = ""
) -> Outcome:
    return Outcome(recipient or to("who@remote.example"), Action.FAILED, reply, 1_000_000.0, remote_mta, status)


def original(envelope: Envelope | None = None, content: bytes = CONTENT, *, complete: bool = True) -> Original:
    return Original("0123456789ABCDEF", envelope or Envelope(SENDER), 900_000.0, content, complete)


def build(about: Original, *outcomes: Outcome, limit: int = 50_000, sender: Address = SENDER) -> tuple[Envelope, bytes]:
    return dsn.build(
        about,
        outcomes,
        to=sender,
        hostname="gate.example.test",
        report_id="FEDCBA9876543210",
        now_s=1_000_000.0,
        full_limit_bytes=limit,
    )


def parts(octets: bytes) -> list[Message]:
    payload = message_from_bytes(octets).get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def status_fields(octets: bytes) -> list[Message]:
    """The per-message group and the per-recipient groups."""
    payload = parts(octets)[1].get_payload()
    assert isinstance(payload, list)
    return [group for group in payload if isinstance(group, Message)]


def raw_part(octets: bytes, number: int) -> bytes:
    """The octets of one part, header section included, cut at the boundary lines."""
    found = re.search(rb'boundary="([^"]+)"', octets)
    assert found is not None
    return octets.split(b"\r\n--" + found[1])[number + 1]


# -- who is told


def test_without_notify_the_sender_hears_of_failure_and_delay_but_not_of_success() -> None:
    recipient = to("a@b.example")
    told = [action for action in Action if dsn.addressee(Envelope(SENDER), recipient, action, "drop")]
    assert told == [Action.FAILED, Action.DELAYED]


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        (Notify.NEVER, []),
        (Notify.SUCCESS, [Action.DELIVERED, Action.RELAYED]),
        (Notify.FAILURE, [Action.FAILED]),
        (Notify.DELAY, [Action.DELAYED]),
        (Notify.SUCCESS | Notify.FAILURE, [Action.FAILED, Action.DELIVERED, Action.RELAYED]),
    ],
)
def test_notify_says_what_the_sender_hears_of(notify: Notify, expected: list[Action]) -> None:
    recipient = to("a@b.example", notify)
    assert [action for action in Action if dsn.addressee(Envelope(SENDER), recipient, action, "drop")] == expected


def test_a_report_about_a_report_is_dropped_when_so_configured() -> None:
    assert dsn.addressee(Envelope(NULL_SENDER), to("a@b.example", Notify.NEVER), Action.FAILED, "drop") is None


def test_a_double_bounce_goes_to_the_configured_address_and_no_further() -> None:
    told = dsn.addressee(Envelope(NULL_SENDER), to("a@b.example", Notify.NEVER), Action.FAILED, POSTMASTER)
    assert told is not None
    assert told.raw == POSTMASTER
    assert dsn.addressee(Envelope(NULL_SENDER), to("Postmaster@Example.test"), Action.FAILED, POSTMASTER) is None
    assert dsn.addressee(Envelope(NULL_SENDER), to("a@b.example"), Action.DELAYED, POSTMASTER) is None


# -- the form


def test_the_report_has_the_null_sender_and_asks_for_no_reports_itself() -> None:
    envelope, octets = build(original(), failed())
    assert envelope.sender.is_null
    assert [(r.address, r.notify) for r in envelope.recipients] == [(SENDER, Notify.NEVER)]
    assert message_from_bytes(octets)["Auto-Submitted"] == "auto-replied"
    assert envelope.declared_size_bytes == len(octets)
    assert envelope.body is Body.SEVEN_BIT


def test_the_report_has_a_human_part_the_status_and_the_original() -> None:
    _, octets = build(original(), failed(remote_mta="mx.remote.example"))
    head = message_from_bytes(octets)
    assert head.get_content_type() == "multipart/report"
    assert head.get_param("report-type") == "delivery-status"
    types = [part.get_content_type() for part in parts(octets)]
    assert types == ["text/plain", "message/delivery-status", "message/rfc822"]
    human = parts(octets)[0].get_payload()
    assert "<who@remote.example>" in human
    assert "mx.remote.example said: 550 5.1.1 No such user" in human
    assert raw_part(octets, 2).endswith(CONTENT)


def test_the_status_part_names_reporter_recipient_and_reason() -> None:
    envelope = Envelope(SENDER, envid="QQ 314159")
    recipient = to("who@remote.example", orcpt="rfc822;alias@first.example")
    _, octets = build(original(envelope), failed(recipient, remote_mta="mx.remote.example"))
    message, group = status_fields(octets)
    assert message["Reporting-MTA"] == "dns; gate.example.test"
    assert message["Original-Envelope-Id"] == "QQ 314159"
    assert message["Arrival-Date"] == "Sun, 11 Jan 1970 10:00:00 +0000"
    assert group["Original-Recipient"] == "rfc822;alias@first.example"
    assert group["Final-Recipient"] == "rfc822;who@remote.example"
    assert (group["Action"], group["Status"]) == ("failed", "5.1.1")
    assert group["Remote-MTA"] == "dns; mx.remote.example"
    assert group["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user"
    assert group["Last-Attempt-Date"] == "Mon, 12 Jan 1970 13:46:40 +0000"
    assert "Will-Retry-Until" not in group


def test_what_we_decided_ourselves_is_not_said_to_be_smtp() -> None:
    group = status_fields(build(original(), failed())[1])[1]
    assert group["Diagnostic-Code"].startswith("x-mailweir; 550")
    assert "Remote-MTA" not in group


def test_every_recipient_has_its_own_group() -> None:
    _, octets = build(original(), failed(to("a@x.example")), failed(to("b@x.example"), Reply(554, "", "No")))
    _, first, second = status_fields(octets)
    assert (first["Final-Recipient"], first["Status"]) == ("rfc822;a@x.example", "5.1.1")
    assert (second["Final-Recipient"], second["Status"]) == ("rfc822;b@x.example", "5.0.0")


@pytest.mark.parametrize("enhanced", ["", "2.1.5", "9.9.9", "5.1", "5.1.1234", "x.y.z"])
def test_an_enhanced_code_that_does_not_fit_is_replaced(enhanced: str) -> None:
    assert status_fields(build(original(), failed(reply=Reply(550, enhanced, "No")))[1])[1]["Status"] == "5.0.0"


def test_an_expired_message_has_the_status_of_expiry_and_the_last_reply() -> None:
    group = status_fields(build(original(), failed(reply=BUSY, status="4.4.7", remote_mta="mx.x.example"))[1])[1]
    assert (group["Action"], group["Status"]) == ("failed", "4.4.7")
    assert group["Diagnostic-Code"] == "smtp; 450 4.2.1 Mailbox busy"


def test_a_delay_says_until_when_it_is_tried_and_returns_no_body() -> None:
    delayed = Outcome(to("who@remote.example"), Action.DELAYED, BUSY, 1_000_000.0, retry_until_s=1_432_000.0)
    _, octets = build(original(Envelope(SENDER, ret="FULL")), delayed)
    group = status_fields(octets)[1]
    assert (group["Action"], group["Status"]) == ("delayed", "4.2.1")
    assert group["Will-Retry-Until"] == "Sat, 17 Jan 1970 13:46:40 +0000"
    assert b"first" not in octets
    assert "You need not send it again." in " ".join(str(parts(octets)[0].get_payload()).split())


def test_a_success_is_told_as_relayed() -> None:
    relayed = Outcome(to("a@x.example", Notify.SUCCESS), Action.RELAYED, Reply(250, "2.0.0", "Ok"), 1_000_000.0)
    group = status_fields(build(original(), relayed)[1])[1]
    assert (group["Action"], group["Status"]) == ("relayed", "2.0.0")


# -- what comes back


def test_ret_hdrs_returns_the_header_section_only() -> None:
    _, octets = build(original(Envelope(SENDER, ret="HDRS")), failed())
    assert parts(octets)[2].get_content_type() == "text/rfc822-headers"
    assert b"Subject: hello" in octets
    assert b"first" not in octets


def test_a_large_original_comes_back_as_headers_only() -> None:
    assert b"first" in build(original(), failed(), limit=len(CONTENT))[1]
    assert b"first" not in build(original(), failed(), limit=len(CONTENT) - 1)[1]
    assert b"first" not in build(original(complete=False), failed())[1]


@pytest.mark.parametrize("odd", [b"a\nb\r\n", b"a\rb\r\n", b"\0\r\n", b"x" * 1500 + b"\r\n"])
def test_an_original_that_no_report_can_carry_comes_back_as_headers_only(odd: bytes) -> None:
    _, octets = build(original(content=CONTENT + odd), failed())
    assert parts(octets)[2].get_content_type() == "text/rfc822-headers"


def test_a_binary_original_comes_back_as_headers_only() -> None:
    _, octets = build(original(Envelope(SENDER, body=Body.BINARY)), failed())
    assert parts(octets)[2].get_content_type() == "text/rfc822-headers"


def test_endless_headers_are_cut_at_a_line() -> None:
    line = b"X-Long: " + b"y" * 90 + b"\r\n"
    _, octets = build(original(content=line * 1000 + b"\r\nbody\r\n"), failed())
    returned = raw_part(octets, 2).partition(b"\r\n\r\n")[2]
    assert 0 < len(returned) <= dsn.MAX_RETURNED_HEADER_BYTES
    assert returned == line * (len(returned) // len(line))


def test_a_boundary_that_the_original_guessed_is_not_used() -> None:
    guess = b"\r\n--report-FEDCBA9876543210--\r\nfake\r\n"
    _, octets = build(original(content=CONTENT + guess), failed())
    assert len(parts(octets)) == 3
    assert raw_part(octets, 2).endswith(guess)


def test_eight_bit_originals_are_declared_as_such() -> None:
    envelope, octets = build(original(content=CONTENT + b"gr\xfc\xdfe\r\n"), failed())
    assert envelope.body is Body.EIGHT_BIT
    assert not envelope.smtputf8
    assert parts(octets)[2]["Content-Transfer-Encoding"] == "8bit"


def test_an_internationalised_message_gets_an_internationalised_report() -> None:
    sender = parse_address("jürgen@bücher.example".encode(), utf8=True)
    envelope = Envelope(sender, smtputf8=True)
    out, octets = build(original(envelope), failed(to("用户@例え.example")), sender=sender)
    assert out.smtputf8
    types = [part.get_content_type() for part in parts(octets)]
    assert types == ["text/plain", "message/global-delivery-status", "message/global"]
    assert "Final-Recipient: utf-8;用户@例え.example\r\n".encode() in octets
    assert "To: <jürgen@bücher.example>\r\n".encode() in octets


def test_a_plain_report_escapes_what_it_cannot_say() -> None:
    _, octets = build(original(), failed(to("a@x.example", orcpt="utf-8;jürgen@x.example")))
    assert status_fields(octets)[1]["Original-Recipient"] == r"utf-8;j\x{FC}rgen@x.example"
    assert octets.isascii()


# -- hostile input

HOSTILE = st.text(st.characters(codec=None, categories=None), max_size=300) | st.text("\r\n\x00 \t:.-ab\x85\u2028\x1c")


def assert_well_formed(octets: bytes) -> None:
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", octets), "bare CR or LF"
    assert b"\0" not in octets
    assert max(map(len, octets.split(b"\r\n"))) <= dsn.MAX_LINE_OCTETS
    assert octets.endswith(b"--\r\n")


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.booleans())
def test_nothing_a_server_or_client_says_can_add_a_field(a: str, b: str, envid: str, orcpt: str, utf8: bool) -> None:
    sender = parse_address("ü@example.test".encode(), utf8=True) if utf8 else SENDER
    about = original(Envelope(sender, envid=envid, smtputf8=utf8))
    outcome = failed(to("who@remote.example", orcpt=orcpt), Reply(550, "5.1.1", a, b), remote_mta="mx.x.example")
    plain = replace(outcome, reply=REFUSED, recipient=to("who@remote.example", orcpt="x;y"))
    _, octets = build(about, outcome, sender=sender)
    _, expected = build(original(Envelope(sender, envid="x", smtputf8=utf8)), plain, sender=sender)
    assert_well_formed(octets)
    assert octets.isascii() or utf8
    names = re.compile(rb"(?m)^[A-Za-z-]+(?=:)")
    optional = {b"Original-Envelope-Id", b"Original-Recipient"}
    found, wanted = (
        [name for name in names.findall(raw_part(o, 1)) if name not in optional] for o in (octets, expected)
    )
    assert found == wanted
    assert len(parts(octets)) == 3


@given(st.binary(max_size=200) | st.text("\r\n.:a \t", max_size=60).map(str.encode), st.sampled_from(["", "HDRS"]))
def test_any_original_gives_a_well_formed_report(content: bytes, ret: str) -> None:
    _, octets = build(original(Envelope(SENDER, ret=ret), content), failed())
    assert_well_formed(octets)


@given(st.text("\r\n.a", max_size=60).map(str.encode))
def test_dot_stuffing_is_undone_exactly(octets: bytes) -> None:
    stuffed = dsn.dotted(octets)
    assert dsn.undotted(stuffed) == octets
    assert b"\r\n.\r\n" not in b"\r\n" + stuffed


@given(st.text(st.characters(codec="utf-8"), max_size=400), st.booleans())
def test_a_field_is_one_field(value: str, utf8: bool) -> None:
    octets = dsn.field("X-Test", value, utf8)
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert lines[0].startswith(b"X-Test:")
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
