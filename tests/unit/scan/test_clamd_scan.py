"""clamd's side of the protocol is played by a small server, so that it can misbehave."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.schema import Clamd, Duration, Size
from appliance.core.verdict import FailPolicy
from appliance.scan.clamd import ClamdScanner
from tests.support.scan_feeding import cut

NO_TIME = Duration(0.02)  # for what is sure not to come
LONG = Duration(60)


class FakeClamd:
    """Takes one INSTREAM a connection and answers as told; `reads` False: it takes connections and reads nothing."""

    def __init__(self, answer=b"stream: OK\0", reads=True, hang_up_after=None):
        self.answer = answer
        self.reads = reads
        self.hang_up_after = hang_up_after
        self.messages = []
        self.connections = 0
        self.release = asyncio.Event()
        self.hung_up = asyncio.Event()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            if not self.reads:
                await self.release.wait()
            await self.converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    async def converse(self, reader, writer):
        assert await reader.readexactly(10) == b"zINSTREAM\0"
        message = b""
        while size := struct.unpack(">I", await reader.readexactly(4))[0]:
            message += await reader.readexactly(size)
            if self.hang_up_after is not None and len(message) >= self.hang_up_after:
                writer.write(self.answer)
                return
        self.messages.append(message)
        writer.write(self.answer)
        await writer.drain()
        if not self.answer.endswith(b"\0"):
            await reader.read()


@asynccontextmanager
async def serving(fake, tmp_path, **settings_):
    path = str(tmp_path / "clamd.ctl")
    server = await asyncio.start_unix_server(fake.serve, path)
    fields = {"enabled": True, "address": f"unix:{path}", "budget": LONG, "connect": LONG, **settings_}
    try:
        yield ClamdScanner(Clamd(**fields))
    finally:
        fake.release.set()
        server.close()
        await server.wait_closed()


async def scanned(scanner, *pieces, dotted=True):
    drained = asyncio.Event()
    scan = scanner.begin(dotted=dotted, on_drained=drained.set)
    for piece in pieces:
        buffer = bytearray(piece)
        drained.clear()
        more = scan.feed(memoryview(buffer))
        buffer[:] = b"~" * len(buffer)
        if not more:
            await drained.wait()
    answer = asyncio.get_running_loop().create_future()
    scan.finish(answer.set_result)
    return await answer


def run(fake_settings, tmp_path, *pieces, dotted=True, **settings_):
    """(the findings, the fake) of one message."""

    async def main():
        fake = FakeClamd(**fake_settings)
        async with serving(fake, tmp_path, **settings_) as scanner:
            return await scanned(scanner, *pieces, dotted=dotted), fake

    return asyncio.run(main())


def test_a_clean_message_arrives_without_its_stuffing_and_gives_no_findings(tmp_path):
    found, fake = run({}, tmp_path, b"..a\r\n", b".", b".b\r\nc")
    assert found == ()
    assert fake.messages == [b".a\r\n.b\r\nc"]


def test_octets_that_are_not_stuffed_arrive_as_they_are(tmp_path):
    _, fake = run({}, tmp_path, b"..a\r\n..b", dotted=False)
    assert fake.messages == [b"..a\r\n..b"]


def test_the_wait_is_told_once_a_message_that_clamd_was_asked_about_and_ended(tmp_path):
    async def main():
        waits = []
        async with serving(FakeClamd(), tmp_path) as scanner:
            scanner.waited = waits.append
            await scanned(scanner, b"a", b"b")
            assert len(waits) == 1 and waits[0] >= 0
            await scanned(scanner)  # an empty message is nobody's affair
            scan = scanner.begin(dotted=True, on_drained=list)
            scan.feed(memoryview(b"never ended"))
            scan.abort()
            assert len(waits) == 1

    asyncio.run(main())


def test_a_virus_is_a_finding_with_its_name(tmp_path):
    (found,), _ = run({"answer": b"stream: Win.Test.EICAR_HDB-1 FOUND\0"}, tmp_path, b"abc")
    assert (found.scanner, found.rule, found.tags, found.trouble) == (
        "clamd", "Win.Test.EICAR_HDB-1", ("virus",), False,
    )  # fmt: skip


def test_an_empty_message_is_not_asked_about(tmp_path):
    found, fake = run({}, tmp_path)
    assert found == ()
    assert fake.connections == 0


@settings(max_examples=20, deadline=None)
@given(places=st.lists(st.integers(0, 300_000), max_size=20))
def test_a_message_arrives_whole_however_it_is_cut(tmp_path_factory, places):
    message = b"0123456789abcde\r\n" * 17_000
    found, fake = run({}, tmp_path_factory.mktemp("c"), *cut(message, places), buffer=Size(65536))
    assert found == ()
    assert fake.messages == [message]


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (b"INSTREAM size limit exceeded. ERROR\0", "error"),
        (b"stream: Access denied. ERROR\0", "error"),
        (b"UNKNOWN COMMAND\0", "garbled"),
        (b"stream:  FOUND\0", "garbled"),
        (b"stream: OK", "timeout"),
        (b"\0", "garbled"),
        (b"x" * 5000, "garbled"),
    ],
)
def test_an_answer_that_is_none_is_trouble_with_the_fail_policy(tmp_path, answer, rule):
    (found,), _ = run({"answer": answer}, tmp_path, b"abc", fail=FailPolicy.REFUSE, budget=Duration(0.2))
    assert found.trouble
    assert (found.scanner, found.rule, found.fail) == ("clamd", rule, FailPolicy.REFUSE)


def test_what_clamd_writes_cannot_forge_a_log_line(tmp_path):
    (found,), _ = run({"answer": b"stream: a\r\nb\xff FOUND\0"}, tmp_path, b"abc")
    assert found.rule == "a??b?"


def test_an_ok_before_the_end_is_not_believed(tmp_path):
    async def main():
        fake = FakeClamd(answer=b"stream: OK\0", hang_up_after=1)
        async with serving(fake, tmp_path) as scanner:
            scan = scanner.begin(dotted=True, on_drained=lambda: None)
            scan.feed(memoryview(b"abc"))
            while scan._result is None:
                await asyncio.sleep(0)
            assert scan.feed(memoryview(b"def"))
            answers = []
            scan.finish(answers.append)
            return answers

    ((found,),) = asyncio.run(main())
    assert found.trouble
    assert found.rule == "garbled"


def test_a_clamd_that_hangs_up_early_is_trouble_and_the_message_goes_on(tmp_path):
    pieces = [b"x" * 65536] * 40
    (found,), _ = run({"answer": b"", "hang_up_after": 1}, tmp_path, *pieces, buffer=Size(4096))
    assert found.trouble
    assert found.rule == "closed-early"


def test_a_clamd_that_does_not_listen_is_trouble(tmp_path):
    async def main():
        scanner = ClamdScanner(Clamd(address=f"unix:{tmp_path}/none"))
        return await scanned(scanner, b"a" * 3_000_000, b"b")

    (found,) = asyncio.run(main())
    assert found.trouble
    assert found.rule == "unreachable"


def test_a_clamd_that_does_not_answer_is_trouble_after_the_budget(tmp_path):
    (found,), _ = run({"reads": False}, tmp_path, b"abc", budget=NO_TIME)
    assert found.trouble
    assert found.rule == "timeout"


def test_a_clamd_that_stops_reading_slows_the_client_and_then_is_given_up(tmp_path):
    pieces = [b"x" * 262_144] * 8
    (found,), _ = run({"reads": False}, tmp_path, *pieces, buffer=Size(65536), budget=NO_TIME)
    assert found.rule == "stalled"


def test_a_connection_that_does_not_come_about_is_trouble(tmp_path, monkeypatch):
    async def never(scanner, protocol):
        await asyncio.Event().wait()

    monkeypatch.setattr(ClamdScanner, "connect", never)
    (found,), _ = run({}, tmp_path, b"abc", connect=NO_TIME)
    assert found.rule == "connect-timeout"


def test_a_slow_clamd_holds_the_client_and_lets_it_go_on(tmp_path):
    async def main():
        fake = FakeClamd(reads=False)
        async with serving(fake, tmp_path, buffer=Size(65536)) as scanner:
            drained = asyncio.Event()
            scan = scanner.begin(dotted=True, on_drained=drained.set)
            fed = 0
            while scan.feed(memoryview(b"x" * 100_000)):
                fed += 1
                await asyncio.sleep(0)
                assert fed < 100
            fake.release.set()
            await drained.wait()
            assert scan.feed(memoryview(b"end"))
            answer = asyncio.get_running_loop().create_future()
            scan.finish(answer.set_result)
            return await answer, fake, fed + 1

    found, fake, feeds = asyncio.run(main())
    assert found == ()
    assert fake.messages == [b"x" * 100_000 * feeds + b"end"]


def test_the_rest_of_a_message_over_the_size_limit_is_not_sent_and_a_finding_says_so(tmp_path):
    (found,), fake = run({}, tmp_path, b"x" * 60, b"y" * 60, b"z" * 60, max_size=Size(100))
    assert fake.messages == [b"x" * 60 + b"y" * 40]
    assert found.trouble
    assert found.rule == "max-size"


def test_a_virus_within_the_size_limit_is_reported_before_the_limit(tmp_path):
    (found,), _ = run({"answer": b"stream: Bad FOUND\0"}, tmp_path, b"x" * 200, max_size=Size(100))
    assert found.rule == "Bad"


def test_an_aborted_scan_hangs_up_and_never_answers(tmp_path):
    async def main():
        fake = FakeClamd()
        async with serving(fake, tmp_path) as scanner:
            answers = []
            scan = scanner.begin(dotted=True, on_drained=lambda: None)
            scan.feed(memoryview(b"abc"))
            while not fake.connections:
                await asyncio.sleep(0)
            scan.abort()
            scan.finish(answers.append)
            await fake.hung_up.wait()
            early = scanner.begin(dotted=True, on_drained=lambda: None)
            early.feed(memoryview(b"abc"))
            early.finish(answers.append)
            early.abort()
            assert fake.messages == []
            return answers

    assert asyncio.run(main()) in ([], [()])


def test_tcp_addresses_of_both_families_are_taken():
    for address, host in (("tcp:127.0.0.1:3310", "127.0.0.1"), ("tcp:[::1]:3310", "::1")):
        scanner = ClamdScanner(Clamd(address=address))
        assert (scanner._host, scanner._port) == (host, 3310)
