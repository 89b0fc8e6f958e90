"""Feeds a message to a scanner, whole or cut at given places."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from appliance.core.verdict import Finding
from appliance.scan.contract import Scanner


def cut(message: bytes, places: Iterable[int]) -> list[bytes]:
    """`message` in the pieces that lie between `places`."""
    edges = sorted({0, len(message), *(min(place, len(message)) for place in places)})
    return [message[start:end] for start, end in itertools.pairwise(edges)]


def findings_of(scanner: Scanner, *pieces: bytes, dotted: bool = True) -> tuple[Finding, ...]:
    """What `scanner`, one that answers at once, finds in `pieces`, whose buffers are overwritten after each feed."""
    answers: list[tuple[Finding, ...]] = []
    scan = scanner.begin(dotted=dotted, on_drained=lambda: None)
    for piece in pieces:
        buffer = bytearray(piece)
        assert scan.feed(memoryview(buffer))
        buffer[:] = b"~" * len(buffer)
    scan.finish(answers.append)
    assert len(answers) == 1
    return answers[0]
