"""journald's native protocol, against a socket that stands in for the journal."""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Log
from appliance.observe import events, journal
from appliance.observe.events import EventLog
from appliance.observe.journal import JournalSink


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.setblocking(False)
        yield server


def sink_to(server: socket.socket) -> JournalSink:
    return JournalSink(server.getsockname())


def fields(raw: bytes) -> dict[str, str]:
    assert raw.endswith(b"\n")
    pairs = [line.split("=", 1) for line in raw.decode()[:-1].split("\n")]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_an_event_is_one_datagram_of_upper_case_fields(journald: socket.socket) -> None:
    log = EventLog(sink_to(journald), clock=lambda: 1763780000.25)
    log.event("refused", {"id": "0123", "reply": 'said "no"', "size_bytes": 7, "tls": True}, events.WARNING)
    assert fields(journald.recv(65536)) == {
        "MESSAGE": 'refused id="0123" reply="said \\"no\\"" size_bytes=7 tls=true',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mailweir",
        "EVENT": "refused",
        "AT": "2025-11-22T02:53:20.250Z",
        "ID": "0123",
        "REPLY": 'said "no"',
        "SIZE_BYTES": "7",
        "TLS": "true",
    }
    log.close()


@pytest.mark.parametrize(
    ("level", "priority"),
    [(events.DEBUG, "7"), (events.INFO, "6"), (events.WARNING, "4"), (events.ERROR, "3"), (50, "2")],
)
def test_levels_become_syslog_priorities(journald: socket.socket, level: int, priority: str) -> None:
    sink = sink_to(journald)
    assert fields(sink.encode(0, level, "x", {}))["PRIORITY"] == priority
    sink.close()


FIXED = ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "EVENT", "AT"]
ANYTHING = st.text() | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp"])) | st.binary() | st.integers()


@given(st.dictionaries(st.text(max_size=80), ANYTHING | st.lists(ANYTHING, max_size=2), max_size=3))
def test_no_value_or_name_can_begin_a_field_of_its_own(content: dict[str, object]) -> None:
    sink = JournalSink("/nowhere")
    raw = sink.encode(0, events.INFO, "x", content)
    sink.close()
    assert raw.endswith(b"\n")
    names = [line.split(b"=", 1)[0].decode("ascii") for line in raw[:-1].split(b"\n")]
    assert len(names) == 5 + len(content)
    assert [*names[:4], names[-1]] == FIXED
    for name in names[4:-1]:
        assert name[0].isalpha() and len(name) <= 64 and name.isupper()
        assert name not in FIXED


class Untemplated(JournalSink):
    """Takes the long way each time."""

    def _new_template(self, kind: object) -> str:
        del kind
        return ""


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.text() | st.integers() | st.sampled_from([0.5, -12.25]) | st.sampled_from(["", "a b", "50%s"]),
    )
)
def test_what_the_template_makes_is_what_the_long_way_makes(content: dict[str, object]) -> None:
    quick, slow = JournalSink("/nowhere"), Untemplated("/nowhere")
    for _ in range(2):  # the second time from the cache
        one, two = (sink.encode(0, events.INFO, "x%d", dict(content)) for sink in (quick, slow))
        assert one == two
    quick.close()
    slow.close()


def test_a_field_cannot_take_a_name_that_the_journal_gives_meaning_to(journald: socket.socket) -> None:
    sink = sink_to(journald)
    told = fields(sink.encode(0, events.INFO, "x", {"message": "a", "priority": 0, "_uid": 0, "syslog_pid": 1}))
    assert told["PRIORITY"] == "6" and told["MESSAGE"].startswith("x ")
    assert {"FIELD_MESSAGE", "FIELD_PRIORITY", "FIELD__UID", "FIELD_SYSLOG_PID"} <= told.keys()
    sink.close()


def test_an_entry_too_large_for_a_datagram_goes_as_a_sealed_memory_file(journald: socket.socket) -> None:
    sink = sink_to(journald)
    entry = sink.encode(0, events.INFO, "large", {"text": "x" * 3_000_000})
    entries = deque([entry])
    assert sink.write(entries) == len(entry) and not entries
    content, ancillary, _, _ = journald.recvmsg(16, socket.CMSG_SPACE(4))
    assert content == b""
    fds = array.array("i", ancillary[0][2])
    try:
        assert os.pread(fds[0], len(entry) + 1, 0) == entry
        with pytest.raises(PermissionError):
            os.write(fds[0], b"more")
    finally:
        os.close(fds[0])
    sink.close()


def test_a_journal_that_is_full_or_restarts_gets_the_rest_later(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    sink = JournalSink(path)
    entries = deque([b"MESSAGE=%d\n" % n for n in range(5000)])
    assert sink.write(entries) == 0
    got = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.setblocking(False)
        rounds = 0
        while entries:
            sink.write(entries)
            rounds += 1
            while True:
                try:
                    got.append(server.recv(100))
                except BlockingIOError:
                    break
    assert got == [b"MESSAGE=%d\n" % n for n in range(5000)] and rounds > 1
    sink.close()


def test_auto_means_the_journal_only_where_our_own_output_is_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "socket"
    there.touch()
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not journal.present(str(there))
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert journal.present(str(there))
    assert not journal.present(str(tmp_path / "absent"))
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert not journal.present(str(there))


def test_a_configured_journal_is_opened_even_before_it_listens() -> None:
    log = EventLog.open(Log(to="journal"))
    assert isinstance(log._sink, JournalSink)
    log.close()
