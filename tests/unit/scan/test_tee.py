from __future__ import annotations

import asyncio

import pytest

from appliance.config import schema
from appliance.core.errors import ConfigError
from appliance.core.verdict import FailPolicy, Finding
from appliance.scan.build import build_scanners
from appliance.scan.known_strings import GTUBE
from appliance.scan.tee import Tee
from tests.support.scan_feeding import findings_of


class Scripted:
    """A scanner whose scans do what the test says."""

    fail = FailPolicy.REFUSE

    def __init__(self, name, raises=""):
        self.name = name
        self.raises = raises
        self.takes = True
        self.seen = []
        self.done = None
        self.aborted = False

    def begin(self, *, dotted, on_drained):
        self.on_drained = on_drained
        self._act("begin")
        return self

    def feed(self, view):
        self._act("feed")
        self.seen.append(bytes(view))
        return self.takes

    def finish(self, done):
        self._act("finish")
        self.done = done

    def abort(self):
        self._act("abort")
        self.aborted = True

    async def close(self):
        self._act("close")

    def _act(self, step):
        if step == self.raises:
            raise RuntimeError(f"{self.name} broke")


@pytest.fixture
def drained():
    return []


def begun(drained, *scanners):
    return Tee(scanners).begin(dotted=True, on_drained=lambda: drained.append(1))


def test_one_scanner_is_used_directly(drained):
    only = Scripted("a")
    assert begun(drained, only) is only


def test_without_scanners_nothing_is_found():
    assert findings_of(Tee([]), b"abc") == ()


def test_every_scanner_sees_every_view_and_findings_come_in_the_order_of_the_scanners(drained):
    a, b = Scripted("a"), Scripted("b")
    scan, answers = begun(drained, a, b), []
    assert scan.feed(memoryview(b"one"))
    assert scan.feed(memoryview(b"two"))
    scan.finish(answers.append)
    b.done((Finding("b", "second"),))
    assert answers == []
    a.done((Finding("a", "first"),))
    assert [[finding.rule for finding in found] for found in answers] == [["first", "second"]]
    assert a.seen == b.seen == [b"one", b"two"]


def test_a_scanner_that_answers_twice_is_heard_once(drained):
    a, b = Scripted("a"), Scripted("b")
    scan, answers = begun(drained, a, b), []
    scan.finish(answers.append)
    a.done(())
    a.done((Finding("a", "late"),))
    b.done(())
    assert answers == [()]


def test_the_tee_is_full_until_the_last_full_scanner_has_drained(drained):
    a, b = Scripted("a"), Scripted("b")
    scan = begun(drained, a, b)
    a.takes = b.takes = False
    assert not scan.feed(memoryview(b"x"))
    a.on_drained()
    assert drained == []
    b.on_drained()
    b.on_drained()
    assert drained == [1]


def test_a_full_scanner_that_is_fed_again_drains_once(drained):
    a, b = Scripted("a"), Scripted("b")
    scan = begun(drained, a, b)
    a.takes = False
    assert not scan.feed(memoryview(b"x"))
    assert not scan.feed(memoryview(b"y"))
    a.on_drained()
    assert drained == [1]


@pytest.mark.parametrize("step", ["begin", "feed", "finish"])
def test_a_scanner_that_raises_becomes_trouble_and_the_others_go_on(drained, caplog, step):
    broken, sound = Scripted("broken", step), Scripted("sound")
    scan, answers = begun(drained, broken, sound), []
    assert scan.feed(memoryview(b"x"))
    assert scan.feed(memoryview(b"y"))
    scan.finish(answers.append)
    sound.done((Finding("sound", "rule"),))
    ((trouble, found),) = answers
    assert trouble.trouble
    assert (trouble.scanner, trouble.rule, trouble.fail) == ("broken", "scanner-failed", FailPolicy.REFUSE)
    assert found.rule == "rule"
    assert sound.seen == [b"x", b"y"]
    assert len(caplog.records) == 1


def test_a_full_scanner_that_raises_holds_the_client_no_longer(drained):
    a, b = Scripted("a"), Scripted("b")
    scan = begun(drained, a, b)
    a.takes = False
    assert not scan.feed(memoryview(b"x"))
    a.raises = "feed"
    assert scan.feed(memoryview(b"y"))
    assert drained == [1]


def test_a_single_scanner_that_cannot_begin_is_trouble(caplog):
    (trouble,) = findings_of(Tee([Scripted("broken", "begin")]), b"abc")
    assert trouble.trouble
    assert len(caplog.records) == 1


def test_an_error_of_the_caller_s_own_callback_is_the_caller_s(drained):
    class Immediate(Scripted):
        def finish(self, done):
            done(())

    scan = begun(drained, Immediate("a"), Immediate("b"))

    def refuse(findings):
        raise ValueError("caller")

    with pytest.raises(ValueError, match="caller"):
        scan.finish(refuse)


def test_abort_reaches_all_and_no_answer_comes_after_it(drained):
    a, b = Scripted("a", "abort"), Scripted("b")
    scan, answers = begun(drained, a, b), []
    scan.finish(answers.append)
    scan.abort()
    a.done(())
    b.done(())
    assert b.aborted
    assert answers == []


def test_close_closes_all(caplog):
    asyncio.run(Tee([Scripted("a", "close"), Scripted("b")]).close())
    assert len(caplog.records) == 1


def test_a_configuration_gives_its_scanners_in_order(tmp_path):
    file = tmp_path / "list"
    file.write_bytes(b"x\tli\tspam\tbuy this\n")
    scan = schema.Scan(
        patterns=schema.Patterns(files=[str(file)]),
        digest=schema.Digest(enabled=True),
        clamd=schema.Clamd(enabled=True),
    )
    scanners = build_scanners(schema.Config(hostname="mx.example.test", scan=scan))
    assert [scanner.name for scanner in scanners] == ["patterns", "digest", "clamd"]
    found = findings_of(Tee(scanners[:2]), b"Buy ", b"this ", GTUBE)
    assert [finding.rule for finding in found] == ["x", "GTUBE", "sha256"]


def test_scanners_that_are_off_are_not_built():
    scan = schema.Scan(patterns=schema.Patterns(enabled=False))
    assert build_scanners(schema.Config(hostname="mx.example.test", scan=scan)) == []


@pytest.mark.parametrize("address", ["/run/clamd", "unix:", "tcp:localhost", "tcp:localhost:0", "tcp::3310", "udp:a:1"])
def test_an_address_that_is_none_is_a_configuration_error(address):
    scan = schema.Scan(clamd=schema.Clamd(enabled=True, address=address))
    with pytest.raises(ConfigError, match=r"scan\.clamd\.address"):
        build_scanners(schema.Config(hostname="mx.example.test", scan=scan))
