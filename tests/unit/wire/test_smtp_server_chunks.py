"""BDAT at the server engine: sizes, refused chunks, what may stand between chunks; and bare newlines in any form."""

from __future__ import annotations

import pytest

from appliance.core import reply
from appliance.wire.smtp_server import State
from tests.fuzz.recording import Owner, opened

_MAIL = b"MAIL FROM:<a@b.test>\r\n"
_RCPT = b"RCPT TO:<yes@x.test>\r\n"
_OPEN = _MAIL + _RCPT


def replies(owner, *expected):
    assert owner.output == b"".join(answer.raw for answer in expected)


# -- BDAT


@pytest.mark.parametrize(
    "arguments", [b"", b"-1", b"-1 LAST", b"x", b"5 FIRST", b"1e3", b"99999999999999999999", b"5 LAST 5", b"0x5"]
)
def test_after_a_bdat_of_unknown_size_only_rset_leads_to_a_message(arguments):
    owner = opened(_OPEN)
    owner.feed(b"BDAT " + arguments + b"\r\nDATA\r\n" + _RCPT + _MAIL + b"BDAT 2\r\nhi" + b"RSET\r\n" + _MAIL)
    replies(owner, reply.BAD_BDAT_SIZE, *[reply.BDAT_ABORTED] * 4, reply.RESET_OK, reply.SENDER_OK)
    assert owner.handler.said("BODY") == []


@pytest.mark.parametrize("before", [b"", _MAIL, _OPEN, _OPEN + b"BDAT 0\r\n", _OPEN + b"BDAT x\r\n"])
def test_a_huge_chunk_is_not_waited_for(before):
    owner = opened(before)
    owner.feed(b"BDAT 9223372036854775807 LAST\r\nNOOP\r\n")
    assert owner.output.endswith(reply.TOO_BIG.raw) and owner.engine.state is State.CLOSED


@pytest.mark.parametrize("before", [b"", _MAIL, _MAIL + b"RCPT TO:<no@x.test>\r\n", _OPEN + b"BDAT x\r\n"])
def test_the_octets_of_a_refused_chunk_are_swallowed(before):
    owner = opened(before)
    owner.converse([b"BDAT 6 LAST\r\nQU", b"IT\r\nNOOP\r\n"])
    assert len(owner.codes) == 2 and owner.codes[0] >= 500 and owner.codes[1] == 250


def test_before_ehlo_the_octets_of_a_chunk_are_swallowed_too():
    owner = Owner()
    owner.feed(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    replies(owner, reply.NEED_HELLO, reply.OK)


def test_a_message_whose_first_chunk_the_handler_refuses_is_swallowed_and_aborted():
    owner = opened(_OPEN)
    owner.handler.on_data = lambda stream: reply.NO_MEMORY
    owner.feed(b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n")
    replies(owner, reply.NO_MEMORY, reply.BDAT_ABORTED, reply.RESET_OK)
    assert owner.handler.log == [("RESET",), ("RESET",)]


def test_between_chunks_only_bdat_and_what_ends_the_message_is_taken():
    owner = opened(_OPEN + b"BDAT 2\r\nhi")
    owner.feed(_MAIL + _RCPT + b"DATA\r\nSTARTTLS\r\nXCLIENT ADDR=1.2.3.4\r\nNOOP\r\nBDAT 2 LAST\r\n\r\n")
    replies(owner, *[reply.BAD_SEQUENCE] * 5, reply.OK, reply.OK)
    assert owner.handler.messages == [(b"hi\r\n", False)]


def test_rset_between_chunks_forgets_what_came():
    owner = opened(_OPEN)
    owner.feed(b"BDAT 2\r\nhiRSET\r\nBDAT 2 LAST\r\nho" + _OPEN + b"BDAT 4 LAST\r\nhe\r\n")
    assert owner.codes == [250, 250, 503, 250, 250, 250]
    assert owner.handler.messages == [(b"he\r\n", False)]


def test_a_last_chunk_without_octets_ends_the_message():
    owner = opened(_OPEN)
    owner.feed(b"BDAT 2\r\nhiBDAT 0 LAST\r\n" + _OPEN + b"BDAT 0 LAST\r\n")
    assert owner.codes == [250, 250, 250, 250, 250]
    assert owner.handler.messages == [(b"hi\r\n", False), (b"", False)]


def test_chunks_are_stuffed_also_where_they_meet():
    owner = opened(_OPEN)
    owner.feed(b"BDAT 3\r\n.a\rBDAT 2\r\n\n.BDAT 3 LAST\r\n\r\n.")
    assert owner.handler.messages == [(b"..a\r\n..\r\n..\r\n", False)]


def test_data_behind_chunks_that_ended_is_a_new_message_only_behind_mail():
    owner = opened(_OPEN)
    owner.feed(b"BDAT 2 LAST\r\nhiDATA\r\nBDAT 2 LAST\r\nho")
    assert owner.codes == [250, 503, 503] and len(owner.handler.messages) == 1


class Counting(bytearray):
    """Counts octets that are copied out of it."""

    copied = 0

    def __getitem__(self, key):
        got = super().__getitem__(key)
        if isinstance(key, slice):
            Counting.copied += len(got)
        return got


def test_a_hundred_thousand_chunks_of_one_octet_cost_no_more_than_their_number():
    owner = opened(_OPEN, size_limit=1 << 20)
    views = []
    owner.handler.on_body = lambda view: views.append(len(view))
    octets = Counting(b"BDAT 1\r\nx" * 100_000 + b"BDAT 0 LAST\r\n")
    for start in range(0, len(octets), 65_536):
        owner.engine.receive(octets, start, min(start + 65_536, len(octets)))
    assert sum(views) == 100_002 and len(views) == 100_001
    assert Counting.copied < 2 * len(octets)
    assert owner.engine.take_output() == reply.OK.raw * 100_001


# -- bare newlines


@pytest.mark.parametrize(
    "body", [b"a\nb", b"a\rb", b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\r\n.\r\r\n", b".\r.\n"]
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_a_second_message_behind_a_look_alike_is_content_and_refused(body, piece):
    octets = b"DATA\r\nhi" + body + b"\r\n" + _OPEN + b"DATA\r\nevil\r\n.\r\nNOOP\r\n"
    for passes in (True, False):
        owner = opened(_OPEN, passes_bare_newlines=passes)
        owner.converse([octets[start : start + piece] for start in range(0, len(octets), piece)])
        replies(owner, reply.START_INPUT, reply.BARE_NEWLINE, reply.OK)
        assert passes or b"evil" not in owner.handler.messages[0][0]


def test_in_body_is_true_from_the_354_to_the_end_and_between_chunks():
    owner = opened(_OPEN)
    assert not owner.engine.in_body
    owner.feed(b"DATA\r\n")
    assert owner.engine.in_body
    owner.feed(b".\r\n" + _OPEN + b"BDAT 2\r\n")
    assert owner.engine.in_body
    owner.feed(b"hi")
    assert owner.engine.in_body
    owner.feed(b"BDAT 0 LAST\r\n")
    assert not owner.engine.in_body
