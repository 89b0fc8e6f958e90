"""The structured log: one event, one line, whatever is in it; and a reader that does not read stops nothing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Log
from appliance.core.address import parse_address
from appliance.core.errors import ConfigError
from appliance.core.verdict import Action
from appliance.observe import events
from appliance.observe.events import EventLog
from appliance.observe.lines import LineSink

NOW_S = 1763780000.25


class FakeLoop:
    """Keeps timers until the test lets them fire."""

    def __init__(self) -> None:
        self.timers: list[FakeTimer] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(delay_s, callback))
        return self.timers[-1]

    def is_closed(self) -> bool:
        return False

    @property
    def armed(self) -> list[FakeTimer]:
        return [timer for timer in self.timers if not timer.done]

    def fire(self) -> None:
        for timer in self.armed:
            timer.done = True
            timer.callback()


class FakeTimer:
    def __init__(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.delay_s, self.callback, self.done = delay_s, callback, False

    def cancel(self) -> None:
        self.done = True


class Pipe:
    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)

    def read(self) -> bytes:
        chunks = []
        while True:
            try:
                chunk = os.read(self.read_fd, 1 << 20)
            except BlockingIOError:
                break
            if not chunk:
                break
            chunks.append(chunk)
        return b"".join(chunks)

    def fill(self) -> int:
        """Fills the pipe to the brim, and returns by how much."""
        other = os.open(f"/proc/self/fd/{self.write_fd}", os.O_WRONLY | os.O_NONBLOCK)
        total = 0
        try:
            while True:
                total += os.write(other, b"-" * 4096)
        except BlockingIOError:
            return total
        finally:
            os.close(other)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.read_fd)
    os.close(pipe.write_fd)


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


def attached(sink: events.Sink, loop: Any, level: int = events.INFO) -> EventLog:
    log = EventLog(sink, level, clock=lambda: NOW_S)
    log.attach(loop)
    return log


def lines(raw: bytes) -> list[dict[str, Any]]:
    assert raw.endswith(b"\n")
    return [json.loads(line) for line in raw[:-1].split(b"\n")]


def test_an_event_is_one_line_with_time_level_and_name_first(pipe: Pipe) -> None:
    log = EventLog(LineSink(pipe.write_fd), clock=lambda: NOW_S)
    log.event("accepted", {"id": "0123", "size_bytes": 7})
    assert pipe.read() == (
        b'{"at":"2025-11-22T02:53:20.250Z","level":"info","event":"accepted","id":"0123","size_bytes":7}\n'
    )
    log.close()


def test_an_event_without_fields_is_a_whole_line_too(pipe: Pipe) -> None:
    log = EventLog(LineSink(pipe.write_fd), clock=lambda: NOW_S)
    log.event("started", {}, events.WARNING)
    assert lines(pipe.read()) == [{"at": "2025-11-22T02:53:20.250Z", "level": "warning", "event": "started"}]
    log.close()


def test_events_wait_for_the_timer_that_the_first_one_arms(pipe: Pipe, loop: FakeLoop) -> None:
    log = attached(LineSink(pipe.write_fd), loop)
    assert loop.armed == []
    log.event("one", {})
    log.event("two", {})
    assert pipe.read() == b""
    assert [timer.delay_s for timer in loop.armed] == [events.FLUSH_AFTER_S]
    loop.fire()
    assert [line["event"] for line in lines(pipe.read())] == ["one", "two"]
    assert loop.armed == []
    log.close()


def test_64_kib_are_written_without_waiting_for_the_timer(tmp_path: Path, loop: FakeLoop) -> None:
    path = tmp_path / "log"
    log = EventLog.open(Log(to=str(path)))
    log.attach(loop)  # type: ignore[arg-type]
    for _ in range(70):
        log.event("large", {"text": "x" * 1000})
    assert path.stat().st_size >= events.FLUSH_BYTES
    log.close()
    assert len(lines(path.read_bytes())) == 70


def test_events_under_the_level_are_not_written(pipe: Pipe) -> None:
    log = EventLog(LineSink(pipe.write_fd), events.WARNING)
    log.event("chatter", {}, events.INFO)
    log.event("trouble", {}, events.ERROR)
    assert [line["event"] for line in lines(pipe.read())] == ["trouble"]
    log.close()


@pytest.mark.parametrize("name", ["password", "secret", "token"])
def test_a_secret_is_an_assertion_in_tests_and_withheld_in_service(
    pipe: Pipe, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(LineSink(pipe.write_fd))
    monkeypatch.setattr(EventLog, "strict", True)
    with pytest.raises(AssertionError, match=name):
        log.event("login", {"login": "alice", name: "hunter2"})
    monkeypatch.setattr(EventLog, "strict", False)
    log.event("login", {"login": "alice", name: "hunter2"})
    raw = pipe.read()
    assert b"hunter2" not in raw and lines(raw)[0][name] == "(withheld)"
    log.close()


def test_a_field_cannot_pose_as_the_name_of_the_event(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventLog, "strict", False)
    log = EventLog(LineSink(pipe.write_fd))
    log.event("refused", {"event": "accepted"})
    raw = pipe.read()
    assert lines(raw)[0]["event"] == "refused" and lines(raw)[0]["field_event"] == "accepted"
    log.close()


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.sampled_from(Action),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
SURROGATES = st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Lu"]))


@given(st.dictionaries(st.text() | SURROGATES, VALUES | SURROGATES, max_size=4))
def test_whatever_the_values_are_an_event_is_one_printable_line_of_json(fields: dict[str, object]) -> None:
    fd = os.memfd_create("log")
    sink = LineSink(fd)
    try:
        raw = sink.encode(NOW_S, events.INFO, "any", fields)
        assert raw.endswith(b"\n") and raw[:-1].decode("utf-8").isprintable()
        assert json.loads(raw)["event"] == "any"
    finally:
        sink.close()
        os.close(fd)


def test_text_comes_back_from_the_line_as_it_was(pipe: Pipe) -> None:
    log = EventLog(LineSink(pipe.write_fd))
    hostile = 'a\r\n{"event":"accepted"}\x1b[2J\x7f\x9b31m\u202e\u2028\U000e0041 é 漢'
    log.event("refused", {"helo": hostile})
    raw = pipe.read()
    assert raw.count(b"\n") == 1 and lines(raw)[0]["helo"] == hostile
    assert "é 漢" in raw.decode()
    log.close()


def test_addresses_octets_and_objects_are_told_as_text(pipe: Pipe) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise ValueError

    log = EventLog(LineSink(pipe.write_fd))
    log.event("x", {"sender": parse_address(b"a@example.org"), "raw": b"\xff\x00", "large": 1 << 70})
    log.event("y", {"odd": Unprintable()})
    first, second = lines(pipe.read())
    assert (first["sender"], first["raw"], first["large"]) == ("a@example.org", "\\xff\x00", str(1 << 70))
    assert second["odd"] == "<Unprintable: ValueError>"
    log.close()


def test_a_full_pipe_neither_blocks_nor_loses_while_there_is_room(pipe: Pipe, loop: FakeLoop) -> None:
    log = attached(LineSink(pipe.write_fd), loop)
    filled_bytes = pipe.fill()
    log.event("kept", {"n": 1})
    loop.fire()
    assert [timer.delay_s for timer in loop.armed] == [events.RETRY_AFTER_S]
    assert len(pipe.read()) == filled_bytes
    loop.fire()
    assert [line["event"] for line in lines(pipe.read())] == ["kept"]
    assert log.dropped == 0
    log.close()


def test_the_descriptor_that_we_were_given_stays_blocking_for_those_who_share_it(pipe: Pipe) -> None:
    sink = LineSink(pipe.write_fd)
    assert not fcntl.fcntl(pipe.write_fd, fcntl.F_GETFL) & os.O_NONBLOCK
    sink.close()


def test_what_is_dropped_is_counted_and_the_next_line_says_so(pipe: Pipe, loop: FakeLoop) -> None:
    log = attached(LineSink(pipe.write_fd), loop)
    pipe.fill()
    kept = 0
    while log.dropped < 3:
        log.event("many", {"text": "x" * 10_000})
        kept += 1
    kept -= log.dropped
    pipe.read()
    raw = b""
    while loop.armed:
        loop.fire()
        if not raw and pipe_has_room(log):
            log.event("after", {})
        raw += pipe.read()
    names = [(line["event"], line.get("dropped")) for line in lines(raw)]
    assert names == [("many", None)] * kept + [("log-dropped", 3), ("after", None)]
    log.close()


def pipe_has_room(log: EventLog) -> bool:
    return log._waiting_bytes < events.BACKLOG_BYTES


def test_a_pipe_that_may_not_be_opened_anew_is_asked_before_each_write(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", refuse)
    sink = LineSink(pipe.write_fd)
    monkeypatch.undo()
    filled_bytes = pipe.fill()
    entries = deque([b"one\n", b"two\n"])
    assert sink.write(entries) == 0 and len(entries) == 2
    assert len(pipe.read()) == filled_bytes
    assert sink.write(entries) == 8 and pipe.read() == b"one\ntwo\n"
    sink.close()


def refuse(*_: object) -> int:
    raise PermissionError


def test_a_socket_that_is_full_keeps_the_torn_line_for_the_next_try() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    sink = LineSink(ours.fileno())
    entries = deque(b"%07d\n" % n for n in range(200_000))
    whole = b"".join(entries)
    got = b""
    while entries:
        sink.write(entries)
        while True:
            try:
                got += theirs.recv(1 << 20)
            except BlockingIOError:
                break
    assert got == whole
    sink.close()
    ours.close()
    theirs.close()


def test_lines_leave_in_writes_that_the_kernel_does_not_tear(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = LineSink(pipe.write_fd)
    sizes: list[int] = []
    write = os.write

    def noted(fd: int, chunk: bytes) -> int:
        sizes.append(len(chunk))
        assert chunk.endswith(b"\n")
        return write(fd, chunk)

    monkeypatch.setattr(os, "write", noted)
    sink.write(deque([b"x" * 999 + b"\n"] * 12))
    assert sizes == [4000, 4000, 4000]
    sink.close()


def test_close_writes_the_rest_to_a_reader_that_comes_late(pipe: Pipe, loop: FakeLoop) -> None:
    log = attached(LineSink(pipe.write_fd), loop)
    pipe.fill()
    log.event("last", {})
    os.set_blocking(pipe.read_fd, True)
    got = bytearray()

    def read() -> None:
        while not got.endswith(b'"last"}\n'):
            got.extend(os.read(pipe.read_fd, 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    log.close()
    reader.join()
    assert got.endswith(b'"event":"last"}\n')


def test_close_does_not_wait_for_a_reader_that_is_gone(loop: FakeLoop) -> None:
    read_fd, write_fd = os.pipe()
    log = attached(LineSink(write_fd), loop)
    os.close(read_fd)
    log.event("last", {})
    log.close()
    os.close(write_fd)


def test_after_a_rotation_the_log_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = EventLog.open(Log(to=str(path)))
    log.event("before", {})
    path.rename(tmp_path / "log.1")
    log.reopen()
    log.event("after", {})
    log.close()
    assert [line["event"] for line in lines((tmp_path / "log.1").read_bytes())] == ["before"]
    assert [line["event"] for line in lines(path.read_bytes())] == ["after"]
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("config", [Log(to="/nowhere/at/all"), Log(to="stdout", level="loud")])
def test_a_log_that_cannot_be_is_an_error_of_the_configuration(config: Log) -> None:
    with pytest.raises(ConfigError, match=r"\[log\] "):
        EventLog.open(config)


def test_records_of_logging_become_events_with_their_trace_in_one_line(pipe: Pipe) -> None:
    log = EventLog(LineSink(pipe.write_fd))
    log.bridge()
    logger = logging.getLogger("appliance.somewhere")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logger.exception("went %s", "wrong")
    log.close()
    logger.error("after the end")
    (line,) = lines(pipe.read())
    assert (line["event"], line["level"], line["logger"]) == ("log", "error", "appliance.somewhere")
    assert line["text"] == "went wrong" and "ValueError: first\nsecond" in line["trace"]


def test_records_of_other_threads_are_written_by_the_loop(pipe: Pipe) -> None:
    async def scenario() -> None:
        log = EventLog(LineSink(pipe.write_fd))
        log.attach(asyncio.get_running_loop())
        log.bridge()
        await asyncio.to_thread(logging.getLogger("appliance.thread").warning, "hello")
        await asyncio.sleep(0)
        log.close()

    asyncio.run(scenario())
    assert [line["text"] for line in lines(pipe.read())] == ["hello"]
