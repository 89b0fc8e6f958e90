"""Message tracking: one row a message and one a delivery attempt, in an SQLite file that `trace` reads.

Knows how to keep rows until they are on disk, and how to let go of them when the disk is in trouble; knows nothing of
what a row means, and never slows the mail: `record` appends to a queue, a thread of its own writes batches, and an
idle gateway writes nothing. The transaction and the queue's runner call it; one `Tracking` a worker process, all on
the same file.

The tables are ordered by transaction id. Ids begin with the time, so new rows go to the end, a span of time is a range
of ids, and no second index has to be kept up (measured: 4 µs a row instead of 7). Addresses are found by reading that
range.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from appliance.core.ids import earliest_id

MAX_WAITING_ROWS = 20_000
HURRY_ROWS = 2_000  # a batch this large is written before its time
ROWS_PER_STATEMENT = 32  # the interpreter's lock changes hands once a statement, not once a row
EXPIRE_EVERY_S = 600.0
EXPIRE_BITE_ROWS = 500
MAX_PAUSE_S = 30.0
CLOSE_WAIT_S = 20.0
BUSY_TIMEOUT_S = 5.0

Row = tuple[object, ...]

_log = logging.getLogger(__name__)


class MessageRow(NamedTuple):
    """One transaction: accepted, refused, deferred or held. A plain tuple in this order serves as well."""

    id: str
    at_s: float
    """When it was decided, seconds since the epoch."""
    client: str
    helo: str
    tls: str
    login: str
    sender: str
    recipients: Sequence[str]
    size_bytes: int
    path: str
    action: str
    rule: str
    reply: str
    hop: str
    duration_ms: float
    verdict: object = None
    """Rule, findings and what would have had to differ, where a scanner found something: anything that JSON can say."""


class DeliveryRow(NamedTuple):
    """One attempt of the queue for one recipient. A plain tuple in this order serves as well."""

    id: str
    at_s: float
    recipient: str
    outcome: str
    """`delivered`, `deferred`, `failed`, `expired`, ..."""
    hop: str
    reply: str
    attempt: int
    duration_ms: float


SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id TEXT PRIMARY KEY NOT NULL, at_s REAL, client TEXT, helo TEXT, tls TEXT, login TEXT, sender TEXT,
    recipients TEXT, size_bytes INTEGER, path TEXT, action TEXT, rule TEXT, reply TEXT, hop TEXT, duration_ms REAL,
    verdict TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
    id TEXT NOT NULL, at_s REAL NOT NULL, recipient TEXT NOT NULL, outcome TEXT, hop TEXT, reply TEXT,
    attempt INTEGER, duration_ms REAL, PRIMARY KEY (id, at_s, recipient)
) WITHOUT ROWID;
"""

_TABLES = ("message", "delivery")


class Tracking:
    """Takes rows on the loop's thread, writes them on its own."""

    def __init__(self, path: str, batch_s: float, keep_s: float = 30 * 86400.0, size_bytes: int = 0) -> None:
        """Opens nothing: the thread starts, and opens `path`, when the first row waits. Make it after a fork.

        Args:
            batch_s: seconds from the first waiting row to its transaction.
            keep_s: rows of older transactions are deleted, a bite at a time.
            size_bytes: so are the oldest rows while the file holds more than this; 0: no bound.
        """
        self.dropped = 0
        """Rows lost so far because the disk was in trouble and too many waited."""
        self._path = path
        self._batch_s = batch_s
        self._keep_s = keep_s
        self._size_bytes = size_bytes
        self._messages: deque[Row] = deque()
        self._attempts: deque[Row] = deque()
        self._armed = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None
        self._expired_at_s = 0.0
        self._trouble = ""

    def record(self, row: Row) -> None:
        """Takes a `MessageRow`; a second row of the same id replaces the first. About 0.2 µs; never raises."""
        if len(self._messages) >= HURRY_ROWS and not self._crowded(self._messages):
            return
        self._messages.append(row)
        if not self._armed:
            self._arm()

    def record_attempt(self, row: Row) -> None:
        """Takes a `DeliveryRow`."""
        if len(self._attempts) >= HURRY_ROWS and not self._crowded(self._attempts):
            return
        self._attempts.append(row)
        if not self._armed:
            self._arm()

    @property
    def waiting(self) -> int:
        """Rows not on disk yet."""
        return len(self._messages) + len(self._attempts)

    def close(self) -> None:
        """Writes what waits and ends the thread; blocks for at most `CLOSE_WAIT_S`. No row comes after this."""
        self._closing = True
        self._wake.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(CLOSE_WAIT_S)

    def _crowded(self, rows: deque[Row]) -> bool:
        if len(rows) >= MAX_WAITING_ROWS:
            self.dropped += 1
            return False
        if not self._trouble:
            self._hurry.set()
        return True

    def _arm(self) -> None:
        self._armed = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        pause_s = self._batch_s
        while True:
            self._wake.wait()
            if not self._closing:
                self._hurry.wait(pause_s)
            self._hurry.clear()
            self._wake.clear()
            # Before the queues are emptied: a row appended after this arms the next batch, one before is in this.
            self._armed = False
            try:
                self._write()
            except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on: rows wait, the log says why
                self._disconnect()
                pause_s = min(max(pause_s, self._batch_s, 0.05) * 2, MAX_PAUSE_S)
                self._armed = True
                self._wake.set()
                self._say(f"{type(error).__name__}: {error}")
            else:
                pause_s = self._batch_s
                self._say("")
            if self._closing:
                self._disconnect()
                self.dropped += self.waiting
                return

    def _say(self, trouble: str) -> None:
        if trouble and not self._trouble:
            _log.warning("tracking: %s: %s; rows wait in memory", self._path, trouble)
        elif self._trouble and not trouble:
            _log.warning("tracking: %s: works again; %d rows lost so far", self._path, self.dropped)
        self._trouble = trouble

    def _write(self) -> None:
        db = self._connection()
        for waiting, table in ((self._messages, "message"), (self._attempts, "delivery")):
            while waiting:
                rows = [waiting.popleft() for _ in range(min(len(waiting), HURRY_ROWS))]
                try:
                    self._insert(db, table, rows)
                except BaseException:
                    waiting.extendleft(reversed(rows))
                    raise
                self._shrink(db)
        self._expire(db)

    def _insert(self, db: sqlite3.Connection, table: str, rows: list[Row]) -> None:
        """All `rows` in one transaction, or none; those that SQLite cannot take are dropped and counted."""
        db.execute("BEGIN IMMEDIATE")
        try:
            try:
                _insert_all(db, table, rows)
            except _UNSTORABLE:
                db.execute("ROLLBACK")
                db.execute("BEGIN IMMEDIATE")
                self._insert_each(db, table, rows)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _insert_each(self, db: sqlite3.Connection, table: str, rows: list[Row]) -> None:
        for row in rows:
            try:
                _insert_all(db, table, [row])
            except _UNSTORABLE as error:  # one bad row must not stop all that follow
                self.dropped += 1
                _log.warning("tracking: row %s dropped: %s", row[:1], error)

    def _shrink(self, db: sqlite3.Connection) -> None:
        """Takes the oldest away while there is too much; what becomes free is used again, so the file grows no more."""
        while self._size_bytes and _held_bytes(db) > self._size_bytes:
            bite = f"SELECT id FROM message ORDER BY id LIMIT {EXPIRE_BITE_ROWS}"
            newest = db.execute(f"SELECT max(id) FROM ({bite})").fetchone()[0] or "~"
            gone = [db.execute(f"DELETE FROM {table} WHERE id <= ?", (newest,)).rowcount for table in _TABLES]
            if not any(gone):
                return

    def _expire(self, db: sqlite3.Connection) -> None:
        now_s = time.time()
        if 0 <= now_s - self._expired_at_s < EXPIRE_EVERY_S:
            return
        oldest = earliest_id(max(0, int((now_s - self._keep_s) * 1000)))
        more = False
        for table in _TABLES:
            bite = f"SELECT id FROM {table} WHERE id < ? ORDER BY id LIMIT {EXPIRE_BITE_ROWS}"
            more |= db.execute(f"DELETE FROM {table} WHERE id IN ({bite})", (oldest,)).rowcount >= EXPIRE_BITE_ROWS
        if not more:  # else the next batch takes the next bite
            self._expired_at_s = now_s

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            # Made before SQLite does, for the mode: its companions (-wal, -shm) get the same.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
            db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA cache_size = -1024")
                db.execute("PRAGMA journal_size_limit = 4194304")
                db.executescript(SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error as error:
                _log.warning("tracking: %s: closing: %s", self._path, error)


def _held_bytes(db: sqlite3.Connection) -> int:
    """Of pages in use."""
    pages, free, page_bytes = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_bytes)


# What a row can be guilty of, as opposed to the disk.
_UNSTORABLE = (
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
)


def _storable(row: Row) -> Row:
    """The `MessageRow` as SQLite takes it: recipients one a line, the verdict as JSON."""
    recipients, verdict = row[7], row[15]
    if not isinstance(recipients, str) and isinstance(recipients, Sequence):
        recipients = "\n".join(map(str, recipients))
    raw_verdict = orjson.dumps(verdict, default=str).decode() if verdict else ""
    return (*row[:7], recipients, *row[8:15], raw_verdict)


def _insert_all(db: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if table == "message":
        rows = [_storable(row) for row in rows]
    marks = f"({','.join('?' * len(rows[0]))})"
    whole = len(rows) - len(rows) % ROWS_PER_STATEMENT
    statement = f"INSERT OR REPLACE INTO {table} VALUES {','.join([marks] * ROWS_PER_STATEMENT)}"
    for start in range(0, whole, ROWS_PER_STATEMENT):
        db.execute(statement, [value for row in rows[start : start + ROWS_PER_STATEMENT] for value in row])
    if whole < len(rows):
        db.executemany(f"INSERT OR REPLACE INTO {table} VALUES {marks}", rows[whole:])
