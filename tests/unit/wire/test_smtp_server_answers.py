"""The server engine when answers come late, when the session ends, and when its handler fails."""

from __future__ import annotations

import pytest

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.wire.smtp_server import State
from tests.fuzz.recording import Owner, Recorder, opened

_MAIL = b"MAIL FROM:<a@b.test>\r\n"
_RCPT = b"RCPT TO:<yes@x.test>\r\n"
_OPEN = _MAIL + _RCPT


def replies(owner, *expected):
    assert owner.output == b"".join(answer.raw for answer in expected)


# -- late answers


def test_recipients_are_handed_out_while_answers_are_open_and_nothing_else_is():
    owner = opened(_MAIL)
    owner.feed(b"RCPT TO:<late@x.test>\r\nrcpt TO:<no@x.test>\r\nRCPT TO:<late@y.test>\r\nDATA\r\nhi\r\n.\r\n")
    assert [entry[1] for entry in owner.handler.said("RCPT")] == ["late@x.test", "no@x.test", "late@y.test"]
    assert owner.codes == [] and owner.engine.pending == 2 and owner.engine.waiting
    owner.answer()
    assert owner.codes == [250, 550] and owner.handler.said("DATA") == []
    owner.answer()
    assert owner.codes == [250, 550, 250, 354, 250] and not owner.engine.waiting


def test_a_recipient_that_is_split_over_two_reads_does_not_wait_either():
    owner = opened(_MAIL)
    owner.feed(b"RCPT TO:<late@x.test>\r\nRCPT TO:<late@")
    owner.feed(b"y.test>\r\n")
    assert len(owner.handler.said("RCPT")) == 2 and owner.engine.pending == 2 and not owner.engine.waiting


def test_what_is_behind_an_open_recipient_never_overtakes_it():
    owner = opened(_MAIL)
    owner.feed(b"RCPT TO:<late@x.test>\r\nRCPT garbage\r\nNOOP\r\n")
    assert owner.codes == []
    owner.answer()
    replies(owner, reply.RECIPIENT_OK, reply.BAD_SYNTAX, reply.OK)


def test_only_so_many_recipients_are_handed_out_while_answers_are_open():
    owner = opened(_MAIL)
    owner.feed(b"RCPT TO:<late@x.test>\r\n" + b"RCPT TO:<soon@x.test>\r\n" * 3000)
    assert len(owner.handler.log) == 100 and owner.engine.waiting
    owner.settle()
    assert owner.codes == [250] + [450] * 3000


@pytest.mark.parametrize(("local", "codes"), [(b"late", [250, 250, 354, 250]), (b"lateno", [550, 503, 503, 500, 500])])
def test_everything_waits_for_a_late_answer_to_mail(local, codes):
    owner = opened()
    owner.feed(b"MAIL FROM:<" + local + b"@b.test>\r\n" + _RCPT + b"DATA\r\nhi\r\n.\r\n")
    assert owner.codes == [] and owner.handler.said("RCPT") == []
    owner.answer()
    assert owner.codes == codes


@pytest.mark.parametrize(("answer", "codes"), [(reply.START_INPUT, [354, 250]), (reply.NEXT_HOP_DOWN, [451, 500, 500])])
def test_a_body_is_no_body_before_the_354(answer, codes):
    owner = opened(_OPEN)
    owner.handler.on_data = lambda stream: None
    owner.feed(b"DATA\r\nRCPT TO:<evil@x.test>\r\n.\r\n" if answer.code == 354 else b"DATA\r\nhi\r\n.\r\n")
    assert owner.handler.log == [] and owner.engine.waiting
    owner.handler.owed.append(answer)
    owner.answer()
    assert owner.codes == codes


@pytest.mark.parametrize(("answer", "codes"), [(reply.START_INPUT, [250, 250]), (reply.NEXT_HOP_DOWN, [451, 503])])
def test_a_chunk_waits_for_a_late_answer_and_is_swallowed_if_it_is_a_refusal(answer, codes):
    owner = opened(_OPEN)
    owner.handler.on_data = lambda stream: None
    owner.feed(b"BDAT 6\r\nRCPT T")
    owner.feed(b"BDAT 0 LAST\r\n")
    assert owner.codes == [] and owner.handler.log == [] and owner.engine.waiting
    owner.handler.owed.append(answer)
    owner.answer()
    assert owner.codes == codes
    assert owner.handler.messages == ([(b"RCPT T\r\n", False)] if answer.code == 354 else [])


def test_a_late_answer_to_an_empty_last_chunk_ends_the_message_at_once():
    owner = opened(_OPEN)
    owner.handler.on_data = lambda stream: None
    owner.feed(b"BDAT 0 LAST\r\n")
    owner.handler.owed.append(reply.START_INPUT)
    owner.answer()
    assert owner.codes == [250] and owner.handler.messages == [(b"", False)]


def test_everything_waits_for_the_verdict_on_a_body():
    owner = opened(_OPEN)
    owner.feed(b"DATA\r\nLATE\r\n.\r\n" + _OPEN + b"DATA\r\nREFUSE LATE\r\n.\r\nQUIT\r\n")
    assert owner.codes == [354] and len(owner.handler.messages) == 1
    owner.answer()
    assert owner.codes == [354, 250, 250, 250, 354]
    owner.answer()
    assert owner.codes == [354, 250, 250, 250, 354, 554, 221]


def test_an_answer_that_nobody_waits_for_is_a_mistake():
    with pytest.raises(RuntimeError):
        opened().engine.answer(reply.OK)


def test_a_421_is_the_last_thing_said_whatever_is_still_open():
    for late in (False, True):
        owner = opened(_MAIL)
        owner.feed(b"RCPT TO:<late@x.test>\r\nRCPT TO:<no@x.test>\r\nRCPT TO:<late@y.test>\r\nDATA\r\n")
        if late:
            owner.engine.answer(reply.TIMEOUT)
        else:
            owner.engine.close(reply.TIMEOUT)
        owner.engine.answer(reply.RECIPIENT_OK)  # too late: ignored
        owner.engine.resume()
        assert owner.engine.take_output() == reply.TIMEOUT.raw
        assert owner.engine.pending == 0 and not owner.engine.waiting


def test_replies_that_are_due_go_out_before_the_last_one():
    owner = opened(_MAIL)
    owner.engine.receive(_RCPT + b"RCPT TO:<late@x.test>\r\n", 0, len(_RCPT) + 23)
    owner.engine.close(reply.SHUTTING_DOWN)
    assert owner.engine.take_output() == reply.RECIPIENT_OK.raw + reply.SHUTTING_DOWN.raw


# -- the end


@pytest.mark.parametrize("separate", [False, True])
def test_nothing_is_heard_after_quit(separate):
    owner = opened()
    for piece in (b"QUIT\r\n", _OPEN) if separate else (b"QUIT\r\n" + _OPEN,):
        owner.feed(piece)
    replies(owner, reply.BYE)
    assert owner.handler.log == [("RESET",)]


@pytest.mark.parametrize("callback", ["on_hello", "on_mail", "on_rcpt", "on_data", "on_body_end", "on_starttls"])
def test_nothing_is_heard_after_a_421_of_the_handler(callback):
    owner = opened()
    setattr(owner.handler, callback, lambda *given, **named: reply.SHUTTING_DOWN)
    owner.feed(b"EHLO c.test\r\n" + _OPEN + b"DATA\r\n.\r\nSTARTTLS\r\nNOOP\r\n")
    assert owner.codes[-1] == 421 and owner.codes.count(421) == 1
    assert owner.engine.state is State.CLOSED and owner.handler.log[-1] == ("RESET",)


def test_a_greeting_that_turns_away_is_all_that_is_said():
    owner = Owner()
    owner.engine.state = State.START
    owner.engine.greet(reply.TOO_MANY_SESSIONS)
    owner.feed(b"EHLO c.test\r\n" + _OPEN)
    replies(owner, reply.TOO_MANY_SESSIONS)


class Closing(Recorder):
    """Closes the session from within `where`, and then answers as if nothing were."""

    def __init__(self, where):
        super().__init__()
        self.where = where
        self.after = []

    def __getattribute__(self, name):
        got = super().__getattribute__(name)
        if not name.startswith("on_"):
            return got

        def call(*given, **named):
            engine = super(Closing, self).__getattribute__("engine")
            if engine.state is State.CLOSED and name != "on_reset":
                self.after.append(name)
            answer = got(*given, **named)
            if name == self.where:
                engine.close(Reply(421, "4.0.0", "closed by the handler"))
            return answer

        return call


@pytest.mark.parametrize(
    ("pieces", "last_view"),
    [
        ([b"DATA\r\nhi\r\n.", b".more\r\n.\r\n"], b"."),
        ([b"DATA\r\nhi\r\n.\r", b".\r\n.\r\n"], b".\r"),
        ([b"BDAT 9 LAST\r\nhi\r\n.you\r"], b"hi\r\n"),
        ([b"BDAT 3\r\n.hi", b"BDAT 0 LAST\r\n"], b"."),
        ([b"BDAT 2 LAST\r\nhi"], b"\r\n"),
    ],
)
def test_a_view_that_makes_the_handler_close_is_the_last_one(pieces, last_view):
    owner = opened(_OPEN)
    views = []

    def see(view):
        views.append(bytes(view))
        if view == last_view:
            owner.engine.close(reply.SHUTTING_DOWN)

    owner.handler.on_body = see
    owner.converse(pieces)
    assert views[-1] == last_view and owner.handler.messages == []
    assert owner.engine.state is State.CLOSED and owner.codes[-1] == 421


_BODIES = [b"DATA\r\nhi\r\n.\r\n", b"BDAT 9 LAST\r\nhi\r\n.\r\n.x", b"BDAT 9\r\nhi\r\n.\r\n.xBDAT 0 LAST\r\n"]


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize("body", _BODIES)
@pytest.mark.parametrize(
    "where", ["on_hello", "on_mail", "on_rcpt", "on_data", "on_body", "on_body_end", "on_reset", "on_starttls"]
)
def test_a_handler_that_has_closed_sees_and_says_nothing_more(where, body, piece):
    owner = Owner(handler=Closing(where))
    octets = b"EHLO c.test\r\n" + _OPEN + body + b"RSET\r\nSTARTTLS\r\nNOOP\r\n"
    owner.converse([octets[start : start + piece] for start in range(0, len(octets), piece)])
    assert owner.handler.after == [] and owner.engine.state is State.CLOSED
    assert owner.output.endswith(b"421 4.0.0 closed by the handler\r\n") and owner.codes.count(421) == 1


@pytest.mark.parametrize("body", _BODIES)
@pytest.mark.parametrize(
    "where", ["on_hello", "on_mail", "on_rcpt", "on_data", "on_body", "on_body_end", "on_starttls"]
)
def test_what_a_handler_raises_reaches_the_owner_who_can_say_the_last_word(where, body):
    class Broken(Exception):
        pass

    def broken(*given, **named):
        raise Broken(where)

    owner = Owner()
    setattr(owner.handler, where, broken)
    with pytest.raises(Broken):
        owner.feed(b"NOOP\r\nEHLO c.test\r\n" + _OPEN + body + b"STARTTLS\r\nNOOP\r\n")
    said = owner.codes
    owner.feed(b"NOOP\r\n" + _OPEN)
    assert owner.engine.state is State.FAILED and owner.codes == said and 451 not in said
    owner.engine.close(reply.LOCAL_ERROR)
    assert owner.engine.take_output() == reply.LOCAL_ERROR.raw and owner.handler.log[-1] == ("RESET",)


def test_what_a_handler_raises_behind_a_late_answer_reaches_the_owner_as_well():
    owner = opened(_OPEN)
    owner.handler.on_data = lambda stream: None
    owner.feed(b"BDAT 0 LAST\r\n")
    owner.handler.on_body_end = None
    with pytest.raises(TypeError):
        owner.engine.answer(reply.START_INPUT)
    assert owner.engine.state is State.FAILED
