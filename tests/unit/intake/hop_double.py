"""Stands for `delivery.cutthrough.Relay` where only what a next hop is sent matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from appliance.core.reply import Reply


class HopDouble:
    """Takes every message; `chunk` or `data` is what it got, by whichever way it came."""

    def __init__(self, *, takes_chunks: bool) -> None:
        self.takes_chunks = takes_chunks
        self.chunk: bytes | None = None
        self.announced_bytes = 0
        self.data: bytes | None = None
        self.finals: list[list[Reply]] = []

    def begin_data(self, ready: Callable[[Reply], None]) -> None:
        ready(Reply(354, "", "Go ahead"))

    def finish(self, views: Sequence[Any], done: Callable[[list[Reply]], None]) -> None:
        self.data = b"".join(views)
        done([Reply(250, "2.0.0", "Ok")])

    def finish_chunk(self, views: Sequence[Any], size_bytes: int, done: Callable[[list[Reply]], None]) -> None:
        self.chunk = b"".join(views)
        self.announced_bytes = size_bytes
        done([Reply(250, "2.0.0", "Ok")])
