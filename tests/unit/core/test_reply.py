"""Replies: one line or many, with and without enhanced code."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.core import reply
from appliance.core.reply import Reply


def test_a_single_line_has_code_enhanced_code_and_text():
    assert Reply(250, "2.1.0", "Sender ok").raw == b"250 2.1.0 Sender ok\r\n"


def test_all_lines_but_the_last_have_a_hyphen():
    assert Reply(250, "", "one", "two", "three").raw == b"250-one\r\n250-two\r\n250 three\r\n"


def test_a_reply_without_text_is_still_a_line():
    assert Reply(354, "").raw == b"354 \r\n"


def test_the_transaction_id_stands_behind_the_last_line():
    tagged = Reply(550, "5.7.1", "No", "Never").tagged("ID")
    assert tagged.raw == b"550-5.7.1 No\r\n550 5.7.1 Never [ID]\r\n"
    assert tagged.code == 550 and tagged.text == "No Never [ID]"


def test_the_first_digit_says_how_it_went():
    assert reply.OK.positive and not reply.OK.temporary and not reply.OK.permanent
    assert reply.START_INPUT.positive
    assert reply.TOO_MANY_RECIPIENTS.temporary and not reply.TOO_MANY_RECIPIENTS.positive
    assert reply.RELAY_DENIED.permanent and not reply.RELAY_DENIED.temporary


def test_replies_with_the_same_octets_are_equal():
    assert Reply(250, "2.0.0", "Ok") == reply.OK
    assert len({Reply(250, "2.0.0", "Ok"), reply.OK, reply.BYE}) == 2
    assert reply.OK != b"250 2.0.0 Ok\r\n"


def test_every_constant_agrees_with_its_enhanced_code_and_is_short_enough():
    constants = [value for value in vars(reply).values() if isinstance(value, Reply)]
    assert len(constants) > 50
    for constant in constants:
        if constant.enhanced:
            assert constant.enhanced[0] == str(constant.code)[0], constant
        assert len(constant.raw) <= 512 and constant.raw.isascii() and constant.raw.endswith(b"\r\n")


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_as_many_lines_come_out_as_went_in(lines):
    rendered = Reply(451, "4.3.0", *lines).raw
    assert rendered.count(b"\r\n") == len(lines)
    assert rendered.splitlines()[0].startswith(b"451")
