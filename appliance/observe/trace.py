"""Answers "what became of this message?" from the tracking file, while the gateway writes to it.

Reads only, and opens the file so that it can do no more. Called by the command line and the control room.
"""

from __future__ import annotations

import json
import os
import sqlite3
from urllib.parse import quote

from appliance.core.ids import earliest_id

LONGEST_TRANSACTION_S = 2 * 3600.0
BUSY_TIMEOUT_S = 5.0

_ATTEMPTS = "SELECT * FROM delivery WHERE id = ? ORDER BY at_s"


class TrackingUnreadable(Exception):
    """The tracking file cannot be read. `str()` names the file and a remedy, for a person."""


def search(
    db_path: str,
    *,
    transaction_id: str | None = None,
    sender: str | None = None,
    recipient: str | None = None,
    since_s: float | None = None,
    limit: int = 100,
) -> list[dict[str, object]]:
    """The transactions that match all that is given, newest first; each a dict of the columns of `MessageRow`.

    `recipients` is a list, `verdict` what JSON made of it or None, and `deliveries` the list of the queue's attempts,
    oldest first. An id of which only attempts are known (the message row has expired, or waits for its batch) gives a
    dict of `id` and `deliveries`.

    Args:
        sender: `user@domain`, `@domain`, or a part of the address; `<>` is the null sender. Case does not matter.
        recipient: likewise; one recipient of several is enough.
        since_s: seconds since the epoch.

    Raises:
        TrackingUnreadable: no such file, no permission, or no tracking file.
    """
    where, values = ["1"], list[object]()
    if transaction_id is not None:
        where.append("id = ?")
        values.append(transaction_id.strip().upper())
    for column, wanted in (("sender", sender), ("recipients", recipient)):
        if wanted is not None:
            where.append(f"char(10) || {column} || char(10) LIKE ? ESCAPE '\\'")
            values.append(_pattern(wanted))
    if since_s is not None:
        # The id tells when a transaction began, `at_s` when it was decided.
        where.append("id >= ? AND at_s >= ?")
        values += [earliest_id(max(0, int((since_s - LONGEST_TRANSACTION_S) * 1000))), since_s]
    try:
        db = _open(db_path)
        try:
            query = f"SELECT * FROM message WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
            found = [dict(row) for row in db.execute(query, [*values, limit])]
            if transaction_id is not None and not found:
                found = [{"id": transaction_id.strip().upper()}]
            for message in found:
                message["deliveries"] = [dict(row) for row in db.execute(_ATTEMPTS, [message["id"]])]
        finally:
            db.close()
    except sqlite3.Error as error:
        raise TrackingUnreadable(f"{db_path}: {error}; is it the tracking file, and may you read it?") from error
    for message in found:
        if "recipients" in message:
            message["at_s"] = round(float(str(message["at_s"])), 6)  # as in the log
            message["recipients"] = str(message["recipients"]).split("\n")
            message["verdict"] = json.loads(str(message["verdict"])) if message["verdict"] else None
    return [message for message in found if len(message) > 2 or message["deliveries"]]


def counts(db_path: str, since_s: float) -> dict[str, int]:
    """How many messages were decided since then, by action.

    Raises:
        TrackingUnreadable: as `search`.
    """
    begin = earliest_id(max(0, int((since_s - LONGEST_TRANSACTION_S) * 1000)))
    query = "SELECT action, COUNT(*) FROM message WHERE id >= ? AND at_s >= ? GROUP BY action ORDER BY action"
    try:
        db = _open(db_path)
        try:
            return {str(action or "none"): int(count) for action, count in db.execute(query, [begin, since_s])}
        finally:
            db.close()
    except sqlite3.Error as error:
        raise TrackingUnreadable(f"{db_path}: {error}; is it the tracking file, and may you read it?") from error


def _open(db_path: str) -> sqlite3.Connection:
    if not os.path.exists(db_path):
        raise TrackingUnreadable(f"{db_path}: no such file; nothing recorded yet, or [tracking] enabled = false")
    db = sqlite3.connect(f"file:{quote(db_path)}?mode=ro", timeout=BUSY_TIMEOUT_S, uri=True)
    db.row_factory = sqlite3.Row
    return db


def _pattern(wanted: str) -> str:
    """A LIKE pattern over addresses that stand between newlines."""
    wanted = wanted.strip()
    if wanted == "<>":
        return "\n\n"
    wanted = wanted.removeprefix("<").removesuffix(">")
    escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    local, at, domain = wanted.rpartition("@")
    start = "%\n" if at and local and domain else "%"
    end = "\n%" if at and domain else "%"
    return start + escaped + end
