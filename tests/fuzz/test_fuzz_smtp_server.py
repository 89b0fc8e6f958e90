"""Soup of SMTP fragments, in any split and with answers at any time: the session is what it is in one piece.

MAILWEIR_FUZZ_EXAMPLES sets how many dialogues are tried; the default keeps the test suite short.
"""

from __future__ import annotations

import itertools
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.wire.data_stream import END
from appliance.wire.smtp_server import State
from tests.fuzz.recording import Owner

_EXAMPLES = int(os.environ.get("MAILWEIR_FUZZ_EXAMPLES", "150"))
_LINES = [
    b"EHLO client.test", b"HELO client.test", b"EHLO", b"EHLO \xff", b"MAIL FROM:<a@b.test>",
    b"MAIL FROM:<late@b.test>",
    b"MAIL FROM:<no@b.test>", b"MAIL FROM:<lateno@b.test>", b"MAIL FROM:<>", b"MAIL FROM:<a@b.test> BODY=BINARYMIME",
    b"MAIL FROM:<a@b.test> SMTPUTF8", b"MAIL FROM:a", b"rcpt to:<yes@x.test>", b"RCPT TO:<late@x.test>",
    b"RCPT TO:<lateno@x.test>", b"RCPT TO:<no@x.test>", b"RCPT TO:<soon@x.test>", b"RCPT TO:<\xc3\xa4@x.test>",
    b"RCPT TO:<>", b"RCPT", b"DATA", b"DATA now", b"BDAT 5", b"BDAT 0", b"BDAT 0 LAST", b"BDAT 12 LAST", b"BDAT -1",
    b"BDAT 99999999999999999999", b"BDAT", b"RSET", b"NOOP", b"NOOP \n", b"VRFY a", b"VRFY", b"HELP", b"EXPN x",
    b"XCLIENT ADDR=1.2.3.4", b"AUTH PLAIN", b"BOGUS", b"", b"x" * 250, b"RSET \0", b"hello", b"LATE", b"REFUSE", b".",
    b"..", b".\n", b"a\rb", b"MAIL FROM:<a@b.test>\r\nRCPT TO:<late@x.test>\r\nRCPT TO:<yes@x.test>\r\nDATA",
    b"BDAT 3 LAST\r\na.",
]  # fmt: skip
_ENDING = [b"QUIT", b"STARTTLS", b"GET / HTTP/1.1", b"BDAT 100001"]
_LINE = st.sampled_from([line + b"\r\n" for line in _LINES])
_PIECE = st.one_of(_LINE, _LINE, _LINE, st.sampled_from([b"\r", b"\n", b".", b"RC", b"BDAT ", b" "]))
_MIDDLE = st.sampled_from([*([b"NOOP"] * 6), *_ENDING])
_SOUP = st.tuples(st.lists(_PIECE, max_size=25), _MIDDLE, st.lists(_PIECE, max_size=3))
_CUTS = st.lists(st.integers(1, 40), max_size=40)


def soup(parts):
    before, ending, behind = parts
    opening = b"EHLO client.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<yes@x.test>\r\n"
    return opening + b"".join(before) + ending + b"\r\n" + b"".join(behind)


def cut(octets, cuts):
    places = [0, *(place for place in itertools.accumulate(cuts) if place < len(octets)), len(octets)]
    return [octets[start:stop] for start, stop in itertools.pairwise(places)]


def outcome(owner):
    return owner.output, owner.handler.log, owner.handler.body, owner.engine.state, owner.engine.in_body


@settings(max_examples=_EXAMPLES, deadline=None)
@given(_SOUP, _CUTS, st.lists(st.integers(0, 2), max_size=20), st.booleans())
def test_any_split_and_any_time_of_the_answers_give_the_same_session(parts, cuts, answers, binary):
    octets = soup(parts)
    whole, split, singly = Owner(), Owner(), Owner()
    for owner in (whole, split, singly):
        owner.engine.binary_offered = binary
    whole.converse([octets])
    split.converse(cut(octets, cuts), answers)
    singly.converse([octets[place : place + 1] for place in range(len(octets))])
    assert outcome(split) == outcome(whole)
    assert outcome(singly) == outcome(whole)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(_SOUP, _CUTS)
def test_no_message_that_is_accepted_holds_an_end_of_data_or_a_bare_newline(parts, cuts):
    owner = Owner(passes_bare_newlines=False).converse(cut(soup(parts), cuts))
    for body, bare_newlines in owner.handler.messages:
        assert bare_newlines or (END not in b"\r\n" + body and b"\r" not in body.replace(b"\r\n", b""))
        assert bare_newlines or (body == b"" or body.endswith(b"\r\n"))


@settings(max_examples=_EXAMPLES, deadline=None)
@given(st.lists(st.one_of(_PIECE, st.binary(max_size=40)), max_size=25), _CUTS, st.integers(0, 5))
def test_no_input_breaks_the_engine_or_gets_it_to_hold_more_than_it_may(pieces, cuts, errors_limit):
    owner = Owner(errors_limit=errors_limit, command_limit=60)
    for piece in cut(b"".join(pieces), cuts):
        while owner.engine.waiting:
            owner.answer()
        owner.feed(piece)
        assert len(owner.engine._line) <= 60 and len(owner.engine._held) <= len(piece)
        if owner.engine.state is State.CLOSED:
            owner.handler.owed.clear()
            assert owner.output.endswith(b"\r\n")
    owner.settle()
    assert owner.codes.count(421) <= 1 and owner.codes.count(221) <= 1
    assert all(code not in (221, 421) for code in owner.codes[:-1])
