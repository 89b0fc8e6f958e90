"""The queue's requests, `queue.list` and the others: from arguments to calls of the store and back to plain values.

The one place that knows how these requests look; the store does the work, the command line shows the results. Made by
`daemon` for each worker, and given to its `ControlServer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from appliance.control.arguments import typed
from appliance.control.protocol import RequestRefused
from appliance.control.server import Handler

HOLD_REASON = "held by the operator"


class Store(Protocol):
    """What is needed of `queue.store`. All but `entry_ids` and `listing` raise KeyError for an id that is not there."""

    def hold(self, entry_id: str, reason: str) -> None: ...
    def release(self, entry_id: str) -> None: ...
    def retry_now(self, entry_id: str) -> None: ...
    def delete(self, entry_id: str) -> None: ...
    def describe(self, entry_id: str) -> dict[str, object]: ...
    def entry_ids(self) -> list[str]: ...
    def listing(self) -> list[dict[str, object]]: ...


class _ListArgs(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 1000


class _IdArgs(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[str] = []
    all: bool = False
    """Every entry of this worker; only `queue.retry` takes it."""


def queue_handlers(store: Store) -> Mapping[str, Handler]:
    """Handlers for `ControlServer`, all on the loop that owns `store`.

    `queue.list` {limit} gives {"entries": [...], "total": n} and `queue.show` {ids} {"entries": [...]}; `queue.retry`
    {ids, all}, `queue.hold`, `queue.release` and `queue.delete` {ids} give {"done": [ids]}. Ids that this worker does
    not have are left out of the result: another worker may have them.
    """

    async def listed(args: dict[str, Any]) -> object:
        limit = typed(args, _ListArgs).limit
        entries = store.listing()
        return {"entries": entries[: max(0, limit)], "total": len(entries)}

    async def shown(args: dict[str, Any]) -> object:
        entries = []
        for entry_id in typed(args, _IdArgs).ids:
            try:
                entries.append(store.describe(entry_id))
            except KeyError:
                continue
        return {"entries": entries}

    async def retried(args: dict[str, Any]) -> object:
        asked = typed(args, _IdArgs)
        ids = store.entry_ids() if asked.all else asked.ids
        return _done(store.retry_now, ids)

    return {
        "queue.list": listed,
        "queue.show": shown,
        "queue.retry": retried,
        "queue.hold": _on_each(lambda entry_id: store.hold(entry_id, HOLD_REASON)),
        "queue.release": _on_each(store.release),
        "queue.delete": _on_each(store.delete),
    }


def _on_each(act: Callable[[str], None]) -> Handler:
    async def handle(args: dict[str, Any]) -> object:
        asked = typed(args, _IdArgs)
        if asked.all:
            raise RequestRefused("this request takes ids only")
        return _done(act, asked.ids)

    return handle


def _done(act: Callable[[str], None], ids: list[str]) -> dict[str, list[str]]:
    done = []
    for entry_id in ids:
        try:
            act(entry_id)
        except KeyError:
            continue
        done.append(entry_id)
    return {"done": done}
