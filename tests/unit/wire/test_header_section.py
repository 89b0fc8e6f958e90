"""The header section as it streams by: its end, its limits, its facts, whatever the splits."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.core import reply
from appliance.wire.header_section import MAX_VALUE_OCTETS, HeaderLimits, HeaderSection

_LIMITS = HeaderLimits()
_MESSAGE = (
    b"Received: from a by b; today\r\nReceived-SPF: pass\r\nDelivered-To: x@y.test\r\n"
    b"Received: from c\r\n\tby d; then\r\n"
    b"Message-ID: <1@example.test>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: Alice <alice@example.test>\r\n"
    b"Subject: a long\r\n one\r\n\r\nReceived: in the body\r\n"
)


def scan(*chunks, limits=_LIMITS):
    section = HeaderSection(limits)
    for chunk in chunks:
        section.feed(memoryview(bytearray(chunk)))
    section.finish()
    return section


def facts(section):
    return (
        section.raw, section.refusal, section.headless, section.hops, section.fields, section.delivered_to,
        section.nul, section.controls, section.eight_bit, section.well_formed, section.subject, section.message_id,
    )  # fmt: skip


def test_the_section_ends_at_the_blank_line_and_the_body_is_not_looked_at():
    section = HeaderSection(_LIMITS)
    assert section.feed(_MESSAGE)
    assert _MESSAGE[len(section.raw) :] == b"Received: in the body\r\n"
    assert (section.hops, section.delivered_to, section.fields) == (2, 1, 8)
    assert section.refusal is None and section.well_formed and not section.headless


def test_values_for_the_log_are_unfolded():
    section = scan(_MESSAGE)
    assert section.subject == b"a long one"
    assert section.message_id == b"<1@example.test>"
    assert section.sender == b"Alice <alice@example.test>"
    assert section.date == b"Mon, 1 Jan 2024 00:00:00 +0000"
    assert section.value(b"cc") == b""


def test_a_value_is_cut_where_it_is_too_long_for_a_log():
    assert len(scan(b"Subject: " + b"x" * 5_000 + b"\r\n\r\n").subject) <= MAX_VALUE_OCTETS


def test_names_are_found_in_any_case_and_before_an_obsolete_blank():
    section = scan(b"SUBJECT : one\r\nrEcEiVeD:x\r\nFrom: a\r\nfrom\t: b\r\n\r\n")
    assert section.subject == b"one"
    assert section.hops == 1
    assert section.count(b"from") == 2 and section.sender == b"a"


@given(st.lists(st.integers(0, len(_MESSAGE)), max_size=8))
def test_splits_make_no_difference(places):
    bounds = [0, *sorted(places), len(_MESSAGE)]
    chunks = [_MESSAGE[a:b] for a, b in itertools.pairwise(bounds)]
    assert facts(scan(*chunks)) == facts(scan(_MESSAGE))


_PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b":",
        b"a",
        b"Received:",
        b" ",
        b"\t",
        b"x" * 40,
        b"\0",
        b"\x1c",
        b"\xff",
        b"Subject: s\r\n",
    ]
)
_TIGHT = HeaderLimits(section_octets=400, fields=6, line_octets=100, hops=2)


@given(st.lists(_PIECES, max_size=40), st.data())
@example([b"a", b":", b"\r\n", b"\r\n"], None)
def test_splits_make_no_difference_to_hostile_sections(pieces, data):
    message = b"".join(pieces)
    whole = facts(scan(message, limits=_TIGHT))
    assert facts(scan(*(message[place : place + 1] for place in range(len(message))), limits=_TIGHT)) == whole
    if data is not None:
        cut = data.draw(st.integers(0, len(message)))
        assert facts(scan(message[:cut], message[cut:], limits=_TIGHT)) == whole
    assert message.startswith(whole[0])


@pytest.mark.parametrize(
    "message",
    [
        b"hello world\r\n\r\nmore",
        b" folded: x\r\n\r\n",
        b"From alice Mon Jan 1\r\nSubject: x\r\n\r\n",
        b"\xff: x\r\n\r\n",
        b"hi",
        b"",
    ],
)
def test_a_message_that_begins_with_no_field_is_all_body(message):
    section = scan(message)
    assert section.headless and section.raw == b"" and section.refusal is None and section.fields == 0


def test_a_message_that_begins_with_a_blank_line_has_an_empty_section():
    for chunks in ((b"\r\nReceived: x\r\n\r\n",), (b"\r", b"\nReceived: x")):
        section = scan(*chunks)
        assert section.headless and section.raw == b"\r\n" and section.hops == 0 and section.fields == 0


def test_a_section_without_a_blank_line_is_one_all_the_same():
    section = scan(b"Subject: x\r\nFrom: y\r\n")
    assert section.raw == b"Subject: x\r\nFrom: y\r\n" and section.fields == 2 and section.sender == b"y"


def test_a_line_that_is_no_field_is_a_fact():
    assert not scan(b"Subject: x\r\nnonsense\r\nFrom: y\r\n\r\n").well_formed
    assert scan(b"Subject: x\r\n nonsense\r\nFrom: y\r\n\r\n").well_formed


def test_controls_nul_and_eight_bit_are_facts_and_tabs_are_none():
    assert not scan(b"Subject: x\ty\r\n\r\n").controls
    for control in b"\x00\x01\x0b\x0c\x1b\x1c\x1e\x7f":
        section = scan(b"Subject: a" + bytes((control,)) + b"b\r\n\r\n")
        assert section.controls and section.nul is (control == 0)
        assert section.fields == 1
    assert scan(b"Subject: \xc3\xa9\r\n\r\n").eight_bit and not scan(b"Subject: e\r\n\r\n").eight_bit


def test_too_many_hops_are_a_loop():
    assert scan(b"Received: x\r\n" * 50 + b"\r\n").refusal is None
    assert scan(b"Received: x\r\n" * 51 + b"\r\n").refusal is reply.MAIL_LOOP


def test_too_many_fields_are_refused():
    assert scan(b"A: x\r\n" * 1_000 + b"\r\n").refusal is None
    assert scan(b"A: x\r\n" * 1_001 + b"\r\n").refusal is reply.BAD_HEADER
    assert scan(b"A:\r\n" * 1_001 + b"\r\n").refusal is reply.BAD_HEADER


def test_too_long_a_line_is_refused():
    limits = HeaderLimits(line_octets=100)
    assert scan(b"A: " + b"x" * 95 + b"\r\n\r\n", limits=limits).refusal is None
    assert scan(b"A: " + b"x" * 96 + b"\r\n\r\n", limits=limits).refusal is reply.BAD_HEADER
    assert scan(b"A: x\r\n " + b"x" * 97 + b"\r\n" + b"\r\n", limits=limits).refusal is None


def test_a_section_of_just_the_limit_passes():
    limits = HeaderLimits(section_octets=500)
    message = b"A: " + b"x" * 493 + b"\r\n\r\n"
    assert len(message) == 500
    assert scan(message + b"body", limits=limits).refusal is None
    assert scan(b"A: x" + message[3:] + b"body", limits=limits).refusal is reply.BAD_HEADER


@pytest.mark.parametrize("filling", [b" x\r\n", b"x" * 8_192, b"x: y\r\n", b" \r\n", b"(,<"])
def test_an_endless_section_is_cut_off_at_the_limit(filling):
    section = HeaderSection(_LIMITS)
    assert not section.feed(b"Subject: x")
    fed = 0
    while not section.feed(filling * 64):
        fed += len(filling) * 64
        assert fed < 10 << 20
    assert section.refusal is reply.BAD_HEADER and len(section.raw) == _LIMITS.section_octets


def test_an_endless_first_word_is_taken_for_body_at_once():
    section = HeaderSection(_LIMITS)
    assert sum(not section.feed(b"x") for _ in range(10_000)) <= 400
    assert section.headless


def test_nothing_is_kept_of_the_callers_view():
    view = bytearray(b"Subject: x\r\nFrom: y\r\n\r\nbody")
    section = HeaderSection(_LIMITS)
    section.feed(memoryview(view)[:15])
    section.feed(memoryview(view)[15:])
    view[:] = bytes(len(view))
    view += b"resizable again, for no export is left"
    assert section.sender == b"y"
