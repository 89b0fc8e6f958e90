from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from appliance.core.verdict import FailPolicy
from appliance.scan.digest import DigestScanner
from appliance.scan.unstuff import Unstuffer
from tests.support.scan_feeding import cut, findings_of

PARTS = [b"\r\n", b".", b"..", b"\r\n..", b"a", b"text of a line"]
BODIES = st.lists(st.sampled_from(PARTS), max_size=300).map(b"".join)


def stuffed(body):
    """RFC 5321 §4.5.2, the slow way."""
    lines = body.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


def unstuffed(pieces):
    unstuffer = Unstuffer()
    return b"".join(part for piece in pieces for part in unstuffer.feed(memoryview(piece)))


@given(BODIES, st.lists(st.integers(0, 2000)))
def test_what_was_stuffed_comes_out_as_it_was_however_it_is_cut(body, places):
    assert unstuffed(cut(stuffed(body), places)) == body


def test_a_dot_at_the_start_of_the_message_is_stuffed_too():
    assert unstuffed([b"..a\r\n"]) == b".a\r\n"


def test_a_dot_split_from_its_line_end_is_left_out():
    assert unstuffed([b"a\r\n", b"", b".", b".b"]) == b"a\r\n.b"


def test_the_pieces_are_views_of_what_came():
    buffer = bytearray(b"a\r\n..b\r\n")
    pieces = Unstuffer().feed(memoryview(buffer))
    assert all(piece.obj is buffer for piece in pieces)


def test_a_body_of_nothing_but_dots_gives_few_pieces():
    body = b".\r\n" * 100_000
    pieces = Unstuffer().feed(memoryview(stuffed(body)))
    assert len(pieces) < 100
    assert b"".join(pieces) == body


@given(BODIES, st.lists(st.integers(0, 2000)))
def test_the_digest_is_that_of_the_message_without_stuffing(body, places):
    (found,) = findings_of(DigestScanner(FailPolicy.OPEN), *cut(stuffed(body), places))
    assert (found.scanner, found.rule, found.value) == ("digest", "sha256", hashlib.sha256(body).hexdigest())
    assert found.tags == ("info",)


def test_octets_that_are_not_stuffed_are_hashed_as_they_are():
    (found,) = findings_of(DigestScanner(FailPolicy.OPEN), b"..a\r\n..", b"b", dotted=False)
    assert found.value == hashlib.sha256(b"..a\r\n..b").hexdigest()
