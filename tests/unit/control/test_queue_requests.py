"""The queue's requests call the store and leave out what this worker does not have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from appliance.control.protocol import RequestRefused
from appliance.control.queue_requests import queue_handlers


class FakeStore:
    def __init__(self, *ids: str) -> None:
        self.ids = list(ids)
        self.calls: list[tuple[str, ...]] = []

    def _known(self, *call: str) -> None:
        if call[1] not in self.ids:
            raise KeyError(call[1])
        self.calls.append(call)

    def hold(self, entry_id: str, reason: str) -> None:
        self._known("hold", entry_id, reason)

    def release(self, entry_id: str) -> None:
        self._known("release", entry_id)

    def retry_now(self, entry_id: str) -> None:
        self._known("retry", entry_id)

    def delete(self, entry_id: str) -> None:
        self._known("delete", entry_id)
        self.ids.remove(entry_id)

    def describe(self, entry_id: str) -> dict[str, object]:
        self._known("describe", entry_id)
        return {"id": entry_id}

    def entry_ids(self) -> list[str]:
        return list(self.ids)

    def listing(self) -> list[dict[str, object]]:
        return [{"id": entry_id} for entry_id in self.ids]


def request(store: FakeStore, name: str, args: dict[str, Any]) -> Any:
    async def handled() -> object:
        return await queue_handlers(store)[name](args)

    return asyncio.run(handled())


def test_the_list_is_cut_at_its_limit_and_says_how_many_there_are() -> None:
    assert request(FakeStore("A", "B", "C"), "queue.list", {"limit": 2}) == {
        "entries": [{"id": "A"}, {"id": "B"}],
        "total": 3,
    }


def test_ids_of_other_workers_are_left_out() -> None:
    store = FakeStore("A", "B")
    assert request(store, "queue.show", {"ids": ["X", "B"]}) == {"entries": [{"id": "B"}]}
    assert request(store, "queue.retry", {"ids": ["X", "B"]}) == {"done": ["B"]}


def test_all_retries_every_message() -> None:
    store = FakeStore("A", "B")
    assert request(store, "queue.retry", {"ids": [], "all": True}) == {"done": ["A", "B"]}
    assert store.calls == [("retry", "A"), ("retry", "B")]


@pytest.mark.parametrize("action", ["hold", "release", "delete"])
def test_each_action_reaches_the_store_and_takes_no_all(action: str) -> None:
    store = FakeStore("A")
    assert request(store, f"queue.{action}", {"ids": ["A", "B"]}) == {"done": ["A"]}
    assert store.calls[0][:2] == (action, "A")
    with pytest.raises(RequestRefused, match="ids only"):
        request(FakeStore("A"), f"queue.{action}", {"all": True})


@pytest.mark.parametrize("args", [{"ids": "A"}, {"ids": [1]}, {"id": "A"}, {"ids": None}])
def test_wrong_arguments_are_refused_in_words(args: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused, match="wrong arguments"):
        request(FakeStore("A"), "queue.delete", args)
