"""Sending a stored message: the octets as they lie on disk, and a 250 for nobody whose message is not there."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.address import parse_address
from appliance.core.envelope import Body, Envelope, Recipient
from appliance.core.errors import SpoolTrouble
from appliance.delivery.connection import HopConnection
from appliance.delivery.endpoint import Endpoint
from appliance.delivery.send import send_stored
from appliance.spool.meta import EntryMeta
from tests.support.hop_bench import EXTENSIONS, FINAL_S, REPLY_S, Clock, opened, settle
from tests.support.queue_bench import in_loop

OK = b"250 ok\r\n"
CONTENT = b"Subject: hello\r\n\r\n..dots\r\n"


class StoredFile:
    """A message in extents of a file."""

    def __init__(self, path, content=CONTENT, extents=None):
        path.write_bytes(content)
        self.fd = os.open(path, os.O_RDONLY)
        self.extents = [(self.fd, *extent) for extent in extents or [(0, len(content))]]
        self.size_bytes = sum(length for _, _, length in self.extents)


@pytest.fixture
def stored(tmp_path):
    made = []

    def make(*args):
        made.append(StoredFile(tmp_path / str(len(made)), *args))
        return made[-1]

    yield make
    for each in made:
        os.close(each.fd)


def recipients(count):
    return [Recipient(parse_address(b"r%d@d.test" % number)) for number in range(count)]


def meta(count, **more):
    envelope = Envelope(sender=parse_address(b"a@b.test"), recipients=recipients(count), **more)
    return EntryMeta(id="X", envelope=envelope, received_at_s=0.0, dotted=True)


class Sending:
    """`send_stored` as a task, and the server played by the test."""

    def __init__(self, stored, count=1, *, url="smtp://192.0.2.1:25", extensions=EXTENSIONS, **more):
        self.clock = Clock()
        self.connection, self.transport = opened(self.clock, url, extensions)
        self.task = asyncio.create_task(send_stored(self.connection, meta(count, **more), recipients(count), stored))

    async def says(self, *lines):
        await settle()
        self.heard = self.transport.take()
        self.connection.data_received(b"".join(line + b"\r\n" for line in lines))
        await settle()

    async def codes(self):
        await settle()
        assert self.task.done(), "still waiting for the server"
        return [answer.code for answer in self.task.result()]


def test_a_message_is_sent_and_its_final_reply_is_every_recipients(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 2)
        await sending.says(b"250 ok", b"250 ok", b"250 ok")
        assert sending.heard == b"MAIL FROM:<a@b.test>\r\nRCPT TO:<r0@d.test>\r\nRCPT TO:<r1@d.test>\r\nDATA\r\n"
        await sending.says(b"354 go on")
        assert sending.heard == b"", "no octet of the body before the answer to DATA"
        await sending.says(b"250 2.0.0 taken")
        assert sending.heard == CONTENT + b".\r\n"
        assert await sending.codes() == [250, 250]
        assert sending.connection.engine.idle and sending.connection.transactions == 1

    run()


def test_a_server_without_pipelining_is_asked_line_by_line(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 2, extensions=())
        heard = []
        for said in (b"250 ok", b"550 5.1.1 nobody", b"250 ok", b"354 go on", b"250 taken"):
            await sending.says(said)
            heard.append(sending.heard.split(b" ")[0].strip())
        assert heard[:4] == [b"MAIL", b"RCPT", b"RCPT", b"DATA"]
        assert await sending.codes() == [550, 250]

    run()


def test_a_recipient_that_was_taken_before_the_connection_broke_has_no_message(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 3)
        await sending.says(b"250 ok", b"250 2.1.5 ok", b"550 5.1.1 nobody")
        sending.connection.connection_lost(None)
        assert await sending.codes() == [451, 550, 451]

    run()


def test_without_pipelining_too_a_250_to_rcpt_is_no_delivery_when_the_connection_breaks(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 2, extensions=())
        await sending.says(b"250 ok")
        await sending.says(b"250 2.1.5 ok")
        sending.connection.connection_lost(None)
        assert await sending.codes() == [451, 451]

    run()


@pytest.mark.parametrize("stage", range(5))
def test_no_250_comes_from_a_connection_that_breaks_before_the_final_reply(stored, stage):
    @in_loop
    async def run():
        sending = Sending(stored(), 2)
        for said in ([b"250 ok"], [b"250 2.1.5 ok"], [b"250 2.1.5 ok"], [b"354 go on"])[:stage]:
            await sending.says(*said)
        sending.connection.connection_lost(None)
        assert await sending.codes() == [451, 451] and sending.connection.trouble is not None

    run()


def test_a_refused_mail_is_everybodys_and_leaves_the_connection_fit(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 2)
        await sending.says(b"451 4.3.0 later", b"503 no", b"503 no", b"503 no")
        await sending.says(b"250 reset")
        assert sending.heard == b"RSET\r\n"
        assert await sending.codes() == [451, 451] and sending.connection.engine.idle

    run()


def test_refused_recipients_leave_the_connection_fit_for_the_next_message(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 2)
        await sending.says(b"250 ok", b"550 5.1.1 no", b"450 4.2.1 later", b"554 5.5.1 nobody to take it")
        await sending.says(b"250 reset")
        assert await sending.codes() == [550, 450] and sending.connection.engine.idle

    run()


def test_a_server_that_asks_for_a_message_for_nobody_gets_none(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 2)
        await sending.says(b"250 ok", b"550 5.1.1 no", b"450 4.2.1 later", b"354 go on")
        await sending.says(b"554 5.5.1 nobody to take it")
        assert sending.heard == b".\r\n"
        assert await sending.codes() == [550, 450] and sending.connection.engine.idle

    run()


@pytest.mark.parametrize(("said", "url"), [(b"354 go on", "lmtp://192.0.2.1:24"), (b"334 what", "smtp://192.0.2.1:25")])
def test_a_session_that_nobody_can_make_sense_of_is_cut(stored, said, url):
    @in_loop
    async def run():
        sending = Sending(stored(), url=url)
        await sending.says(b"250 ok", b"550 5.1.1 no", said)
        assert await sending.codes() == [550] and sending.transport.aborted

    run()


def test_refused_data_is_the_answer_of_those_who_were_taken(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 2)
        await sending.says(b"250 ok", b"550 5.1.1 no", b"250 ok")
        await sending.says(b"452 4.3.1 full")
        await sending.says(b"250 reset")
        assert await sending.codes() == [550, 452] and sending.connection.engine.idle

    run()


@pytest.mark.parametrize("said", [b"334 what", b"250 fine"])
def test_an_answer_to_data_that_means_nothing_is_temporary_and_costs_the_connection(stored, said):
    @in_loop
    async def run():
        sending = Sending(stored())
        await sending.says(b"250 ok", b"250 ok", said)
        assert await sending.codes() == [451] and sending.connection.trouble is not None

    run()


def test_lmtp_gives_each_recipient_its_own_reply(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), 3, url="lmtp://192.0.2.1:24")
        await sending.says(b"250 ok", b"250 ok", b"550 5.1.1 no", b"250 ok")
        await sending.says(b"354 go on")
        await sending.says(b"250 taken", b"452 4.2.2 full")
        assert await sending.codes() == [250, 550, 452]

    run()


def test_binary_octets_go_by_one_bdat_and_may_wait_long_for_the_answer(stored):
    @in_loop
    async def run():
        sending = Sending(stored(b"\0\r.\n"), body=Body.BINARY)
        await sending.says(b"250 ok", b"250 ok")
        await settle()
        assert sending.transport.take() == b"BDAT 4 LAST\r\n\0\r.\n"
        sending.connection.expire(sending.clock.now_s + REPLY_S + 1)
        assert sending.connection.trouble is None
        sending.connection.expire(sending.clock.now_s + FINAL_S + 1)
        assert await sending.codes() == [451]

    run()


def test_a_message_that_the_hop_cannot_take_is_refused_without_a_word(stored):
    @in_loop
    async def run():
        sending = Sending(stored(), extensions=("PIPELINING",), body=Body.BINARY)
        assert await sending.codes() == [554]
        assert sending.transport.take() == b"" and sending.connection.engine.idle

    run()


def test_octets_that_are_no_longer_there_cut_the_connection(stored):
    @in_loop
    async def run():
        sending = Sending(stored(CONTENT, [(0, len(CONTENT) + 1)]))
        await sending.says(b"250 ok", b"250 ok")
        await sending.says(b"354 go on")
        with pytest.raises(SpoolTrouble):
            await sending.codes()
        assert sending.transport.aborted and b"\r\n.\r\n" not in sending.transport.take()

    run()


def test_a_cancelled_delivery_cuts_the_connection(stored):
    @in_loop
    async def run():
        sending = Sending(stored())
        await sending.says(b"250 ok", b"250 ok")
        sending.task.cancel()
        await settle()
        assert sending.transport.aborted and sending.task.cancelled()

    run()


@given(data=st.data())
def test_extents_arrive_as_one_message_over_a_socket_that_takes_little_at_a_time(tmp_path_factory, data):
    lengths = data.draw(st.lists(st.integers(1, 300_000), min_size=1, max_size=4))
    content = os.urandom(sum(lengths)).hex()[: sum(lengths)].encode()
    places = [sum(lengths[:number]) for number in range(len(lengths))]
    stored = StoredFile(tmp_path_factory.getbasetemp() / "extents", content, list(zip(places, lengths, strict=True)))
    try:
        asyncio.run(_arrives_over_a_socket(stored, content))
    finally:
        os.close(stored.fd)


async def _arrives_over_a_socket(stored, content):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    connection = HopConnection(
        Endpoint("smtp", "192.0.2.1", 25), reply_timeout_s=60, final_timeout_s=60, now_s=loop.time
    )
    connection.expect_final([lambda answer: None])
    await loop.create_unix_connection(lambda: connection, sock=ours)
    connection.data_received(b"220 hop.test\r\n")
    connection.submit(connection.engine.hello("gate.test"), lambda answer: None)
    connection.data_received(b"250-hop.test\r\n250 PIPELINING\r\n")
    task = asyncio.create_task(send_stored(connection, meta(1), recipients(1), stored))
    heard = bytearray()

    async def hear(ending):
        while not heard.endswith(ending):
            heard.extend(await loop.sock_recv(theirs, 65536))

    await hear(b"RCPT TO:<r0@d.test>\r\nDATA\r\n")
    connection.data_received(OK + OK)
    connection.data_received(b"354 go on\r\n")
    heard.clear()
    await hear(b".\r\n")
    connection.data_received(OK)
    assert [answer.code for answer in await task] == [250]
    assert heard == content + b".\r\n"
    connection.quit()
    theirs.close()
