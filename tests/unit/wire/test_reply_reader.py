"""Replies of other servers: single and multi-line, split anywhere, and bounded."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.wire.reply_reader import MAX_LINE_OCTETS, MAX_LINES, MAX_REPLY_OCTETS, ReplyError, ReplyReader


def read(*chunks):
    reader = ReplyReader()
    return [answer for chunk in chunks for answer in reader.feed(chunk)]


def parts(answer):
    return (answer.code, answer.enhanced, answer.lines, answer.raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"250 2.1.5 Ok\r\n", (250, "2.1.5", ("Ok",))),
        (b"250 Ok\r\n", (250, "", ("Ok",))),
        (b"250\r\n", (250, "", ("",))),
        (b"250 \r\n", (250, "", ("",))),
        (b"550 5.7.1\r\n", (550, "5.7.1", ("",))),
        (b"250 5.7.1 odd\r\n", (250, "", ("5.7.1 odd",))),
        (b"250 2.0 Ok\r\n", (250, "", ("2.0 Ok",))),
        (b"250 2.0.0Ok\r\n", (250, "", ("2.0.0Ok",))),
        (b"250 gr\xc3\xbc\xc3\x9f \xff\r\n", (250, "", ("grüß \ufffd",))),
        (b"250-one\r\n250-\r\n250 three\r\n", (250, "", ("one", "", "three"))),
        (b"550-5.1.1 one\r\n550 5.1.1 two\r\n", (550, "5.1.1", ("one", "two"))),
        (b"550-5.1.1 one\r\n550 5.2.1 two\r\n", (550, "5.1.1", ("one", "5.2.1 two"))),
        (b"250-one\r\n250\r\n", (250, "", ("one", ""))),
    ],
)
def test_a_reply_has_its_parts_and_keeps_its_octets(raw, expected):
    (answer,) = read(raw)
    assert parts(answer) == (*expected, raw)
    assert [parts(again) for again in read(raw)] == [(*expected, raw)]  # from memory this time


def test_a_reply_may_be_handed_on_and_tagged():
    (answer,) = read(b"550-5.1.1 No\r\n550 5.1.1 such user\r\n")
    assert isinstance(answer, Reply) and answer.permanent and answer.text == "No such user"
    assert answer.tagged("ID").raw == b"550-5.1.1 No\r\n550 5.1.1 such user [ID]\r\n"


def test_equal_octets_are_equal_replies():
    assert read(b"250 2.0.0 Ok\r\n") == [reply.OK]


@pytest.mark.parametrize(
    "raw",
    [
        b"hello\r\n", b"\r\n", b"250_Ok\r\n", b"25\r\n", b"2500 Ok\r\n", b"150 Ok\r\n", b"600 Ok\r\n", b"250 Ok\n",
        b"250 O\rk\r\n", b"250 O\nk\r\n", b"250 O\0k\r\n", b" 250 Ok\r\n", b"250-a\r\n251 b\r\n", b"250-a\r\n\r\n",
        b"250-a\r\n550 b\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"\xd9\xa2\xd9\xa5\xd9\xa0 Ok\r\n",
    ],
)  # fmt: skip
def test_what_is_no_reply_is_babble(raw):
    with pytest.raises(ReplyError) as trouble:
        read(raw)
    assert trouble.value.reply is reply.NEXT_HOP_BABBLE
    with pytest.raises(ReplyError):
        read(*(raw[place : place + 1] for place in range(len(raw))))


def test_a_line_has_its_bound_finished_or_not():
    assert len(read(b"250 " + b"x" * (MAX_LINE_OCTETS - 6) + b"\r\n")) == 1
    with pytest.raises(ReplyError):
        read(b"250 " + b"x" * (MAX_LINE_OCTETS - 5) + b"\r\n")
    with pytest.raises(ReplyError):
        read(b"250 " + b"x" * MAX_LINE_OCTETS)
    with pytest.raises(ReplyError):
        read(b"250 ", *[b"x" * 100] * 100)


def test_a_reply_has_its_bound_in_lines_and_octets():
    assert len(read(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")) == 1
    with pytest.raises(ReplyError):
        read(b"250-x\r\n" * (MAX_LINES + 1))
    with pytest.raises(ReplyError):
        read((b"250-" + b"x" * 1_000 + b"\r\n") * (MAX_REPLY_OCTETS // 1_000 + 1))


def test_an_unfinished_reply_is_pending():
    reader = ReplyReader()
    assert not reader.pending
    for chunk in (b"25", b"0-a\r\n", b"250 b\r"):
        assert reader.feed(chunk) == () and reader.pending
    assert len(reader.feed(b"\n")) == 1 and not reader.pending


def test_memory_of_seen_replies_is_bounded():
    from appliance.wire import reply_reader

    reader = ReplyReader()
    for number in range(5_000):
        reader.feed(b"250 queued as %d\r\n" % number)
    assert len(reply_reader._seen) <= 512


_TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
_REPLY = st.tuples(
    st.integers(200, 599), st.sampled_from(["", ".1.5", ".7.25"]), st.lists(_TEXT, min_size=1, max_size=4)
)


@given(st.lists(_REPLY, max_size=5), st.lists(st.integers(0, 300), max_size=6))
def test_what_was_rendered_is_read_whatever_the_splits(specs, cuts):
    sent = [Reply(code, f"{code // 100}{detail}" if detail else "", *lines) for code, detail, lines in specs]
    raw = b"".join(one.raw for one in sent)
    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    answers = read(*(raw[a:b] for a, b in itertools.pairwise(bounds)))
    assert answers == sent and [one.code for one in answers] == [one.code for one in sent]
    assert [parts(one) for one in answers] == [parts(one) for one in read(raw)]


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b"250 ", b"250-", b"\r\n", b"x"])), max_size=20))
def test_splits_make_no_difference_to_garbage(chunks):
    def outcome(*pieces):
        reader, answers = ReplyReader(), []
        try:
            for piece in pieces:
                answers += reader.feed(piece)
        except ReplyError:
            return "babble"
        return answers, reader.pending

    raw = b"".join(chunks)
    assert outcome(*chunks) == outcome(raw) == outcome(*(raw[place : place + 1] for place in range(len(raw))))
