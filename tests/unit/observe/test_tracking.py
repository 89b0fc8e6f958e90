"""Tracking rows reach the file, from several processes, and disk trouble costs rows at most."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from appliance.core.ids import IdSource, earliest_id
from appliance.core.verdict import Finding
from appliance.observe import tracking
from appliance.observe.trace import TrackingUnreadable, search
from appliance.observe.tracking import DeliveryRow, MessageRow, Tracking

NOW_S = time.time()
IDS = IdSource()


def row(sender: str = "alice@example.org", *recipients: str, at_s: float = NOW_S, **changed: object) -> MessageRow:
    made = MessageRow(
        IDS.next(int(at_s * 1000)), at_s, "192.0.2.1", "mail.example.org", "TLSv1.3/X", "", sender,
        recipients or ("bob@example.test",), 4096, "ram", "accept", "default", "250 2.0.0 Ok", "inside", 1.5,
    )  # fmt: skip
    return made._replace(**changed)  # type: ignore[arg-type]


def written(path: Path, *rows: MessageRow) -> str:
    store = Tracking(str(path), 0.0)
    for one in rows:
        store.record(one)
    store.close()
    return str(path)


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "never came true"
        threading.Event().wait(0.005)


def test_a_row_comes_back_with_all_that_was_said(tmp_path: Path) -> None:
    fact = Finding("patterns", "GTUBE", offset=5)
    one = row("alice@example.org", "bob@example.test", "eve@example.test", verdict=[fact])
    (found,) = search(written(tmp_path / "db", one), transaction_id=one.id)
    assert found["recipients"] == ["bob@example.test", "eve@example.test"] and found["deliveries"] == []
    assert found["verdict"][0]["rule"] == "GTUBE" and found["verdict"][0]["offset"] == 5
    for name in MessageRow._fields:
        assert name in found
        if name not in ("recipients", "verdict"):
            assert found[name] == (round(one.at_s, 6) if name == "at_s" else getattr(one, name))


def test_a_plain_tuple_in_the_same_order_serves_too(tmp_path: Path) -> None:
    store = Tracking(str(tmp_path / "db"), 0.0)
    store.record(tuple(row()))
    store.close()
    assert len(search(str(tmp_path / "db"))) == 1


def test_attempts_stand_under_their_message_oldest_first(tmp_path: Path) -> None:
    one = row()
    store = Tracking(str(tmp_path / "db"), 0.0)
    store.record_attempt(DeliveryRow(one.id, NOW_S + 60, "bob@example.test", "delivered", "inside", "250 Ok", 2, 4.0))
    store.record_attempt(DeliveryRow(one.id, NOW_S, "bob@example.test", "deferred", "inside", "451 No", 1, 3.0))
    store.record(one)
    store.close()
    (found,) = search(str(tmp_path / "db"), transaction_id=one.id.lower())
    deliveries = found["deliveries"]
    assert isinstance(deliveries, list)
    assert [attempt["outcome"] for attempt in deliveries] == ["deferred", "delivered"]


def test_attempts_of_a_message_that_is_not_there_are_still_found_by_id(tmp_path: Path) -> None:
    store = Tracking(str(tmp_path / "db"), 0.0)
    store.record_attempt(DeliveryRow("X" * 16, NOW_S, "bob@example.test", "delivered", "inside", "250", 2, 4.0))
    store.close()
    (found,) = search(str(tmp_path / "db"), transaction_id="X" * 16)
    assert found["id"] == "X" * 16 and found["deliveries"]
    assert search(str(tmp_path / "db"), transaction_id="Y" * 16) == []


@pytest.mark.parametrize(
    ("sender", "found"),
    [
        ("bob@example.org", ["bob@example.org"]),
        ("BOB@Example.org", ["bob@example.org"]),
        ("@example.org", ["jimbob@example.org", "bob@example.org"]),
        ("bob", ["jimbob@example.org", "bob@example.org"]),
        ("<bob@example.org>", ["bob@example.org"]),
        ("b_b@example.org", []),
        ("b%@example.org", []),
        ("<>", [""]),
        ("a\\b@example.net", ["a\\b@example.net"]),
    ],
)
def test_senders_are_found_whole_by_domain_or_in_part(tmp_path: Path, sender: str, found: list[str]) -> None:
    senders = ["bob@example.org", "jimbob@example.org", "", "a\\b@example.net"]
    path = written(tmp_path / "db", *[row(one, at_s=NOW_S + n) for n, one in enumerate(senders)])
    assert [message["sender"] for message in search(path, sender=sender)] == found


def test_one_recipient_of_several_is_enough(tmp_path: Path) -> None:
    path = written(tmp_path / "db", row("a@b.example", "x@example.test", "yx@example.test"), row())
    assert len(search(path, recipient="x@example.test")) == 1
    assert len(search(path, recipient="yx@example.test")) == 1
    assert search(path, recipient="y@example.test") == []
    assert len(search(path, recipient="@example.test")) == 2


def test_since_looks_at_the_decision_and_limit_keeps_the_newest(tmp_path: Path) -> None:
    old, slow, new = row(at_s=NOW_S - 9000), row(at_s=NOW_S - 3600), row(at_s=NOW_S)
    slow = slow._replace(at_s=NOW_S - 60)
    path = written(tmp_path / "db", old, slow, new)
    assert [message["id"] for message in search(path, since_s=NOW_S - 120)] == [new.id, slow.id]
    assert [message["id"] for message in search(path, limit=1)] == [new.id]


def test_the_file_can_be_read_while_the_gateway_writes_and_only_read(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    store = Tracking(path, 0.0)
    store.record(row())
    eventually(lambda: os.path.exists(path) and store.waiting == 0 and len(search(path)) == 1)
    store.record(row())
    eventually(lambda: len(search(path)) == 2)
    store.close()
    assert os.stat(path).st_mode & 0o007 == 0


def test_no_file_and_no_tracking_file_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnreadable, match="no such file"):
        search(str(tmp_path / "absent"))
    (tmp_path / "text").write_text("this is no data base, but it is long enough to look like one\n" * 20)
    with pytest.raises(TrackingUnreadable, match="not a database"):
        search(str(tmp_path / "text"))


def test_an_idle_gateway_opens_and_writes_nothing(tmp_path: Path) -> None:
    store = Tracking(str(tmp_path / "db"), 0.0)
    store.close()
    assert list(tmp_path.iterdir()) == []


def write_many(path: str, count: int) -> None:
    ids = IdSource()
    store = Tracking(path, 0.001)
    for n in range(count):
        store.record(row()._replace(id=ids.next(int(NOW_S * 1000) + n)))
    store.close()


def test_several_processes_write_to_one_file_and_no_row_is_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_many, args=(path, 3000)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(search(path, limit=100_000)) == 9000


def test_rows_recorded_while_batches_are_written_are_all_there(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    store = Tracking(path, 0.0)
    for _ in range(10_000):
        store.record(row())
    store.close()
    assert len(search(path, limit=100_000)) + store.dropped == 10_000 and store.dropped == 0


def test_disk_trouble_keeps_rows_up_to_a_bound_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "MAX_WAITING_ROWS", 50)
    monkeypatch.setattr(tracking, "HURRY_ROWS", 10)
    monkeypatch.setattr(tracking, "MAX_PAUSE_S", 0.01)
    path = tmp_path / "later" / "db"
    store = Tracking(str(path), 0.0)
    store.record(row())
    eventually(lambda: bool(store._trouble) and store.waiting == 1)
    while store.dropped < 30:
        store.record(row())
    assert store.waiting <= 50 + 1
    path.parent.mkdir()
    eventually(lambda: store.waiting == 0)
    store.close()
    assert len(search(str(path), limit=1000)) in (50, 51)
    assert ["rows wait" in message for message in caplog.messages] == [True, False]


def test_a_row_that_cannot_be_stored_does_not_hold_up_the_others(tmp_path: Path) -> None:
    store = Tracking(str(tmp_path / "db"), 0.2)
    good = [row() for _ in range(40)]
    bad = [row("\udc80"), row(size_bytes=1 << 80), row(client=object()), ("short",)]
    for one in [*good[:20], *bad, *good[20:]]:
        store.record(one)
    store.close()
    assert store.dropped == 4
    assert {message["id"] for message in search(str(tmp_path / "db"))} == {one.id for one in good}


def test_what_could_not_be_written_at_the_end_is_counted(tmp_path: Path) -> None:
    store = Tracking(str(tmp_path / "absent" / "db"), 0.0)
    store.record(row())
    store.close()
    assert store.dropped == 1


def holds(path: str, count: int) -> bool:
    return len(search(path, limit=100)) == count


def test_rows_older_than_they_are_kept_go_in_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "EXPIRE_BITE_ROWS", 10)
    path = written(tmp_path / "db", *[row(at_s=NOW_S - 5000) for _ in range(25)], row())
    store = Tracking(path, 0.0, keep_s=4000.0)
    for wanted in (17, 8, 4, 5):
        store.record(row())
        eventually(lambda: store.waiting == 0)
        # `waiting` falls before the bite is taken; the count of rows settles when it is.
        eventually(partial(holds, path, wanted))
    store.close()


def test_the_earliest_id_bounds_the_ids_of_its_millisecond() -> None:
    ids = IdSource()
    assert all(earliest_id(ms) <= ids.next(ms) < earliest_id(ms + 1) for ms in (0, 1, 1763780000123, 2**48 - 2))


def test_no_second_index_is_kept_up(tmp_path: Path) -> None:
    path = written(tmp_path / "db", row())
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'index' AND sql NOT NULL").fetchone() == (0,)
    db.close()


def test_the_oldest_rows_go_when_the_file_would_be_too_large(tmp_path: Path) -> None:
    store = Tracking(str(tmp_path / "db"), 0.0, size_bytes=200_000)
    first, last = row(at_s=NOW_S - 100), row()
    store.record(first)
    for _ in range(10):
        for _ in range(500):
            store.record(row(at_s=NOW_S - 50, helo="h" * 100))
        eventually(lambda: store.waiting == 0)
    store.record(last)
    store.close()
    assert search(str(tmp_path / "db"), transaction_id=last.id)
    assert not search(str(tmp_path / "db"), transaction_id=first.id)
    assert (tmp_path / "db").stat().st_size < 1_000_000
