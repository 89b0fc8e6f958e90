"""An entry as the queue sees it: which recipients wait, which are out for delivery, and when the next is due.

Wraps the spool's entry; the spool keeps the states, here is only what need not survive a crash. Used by the store.
"""

from __future__ import annotations

import math

from appliance.spool.meta import Entry, Phase, RecipientState


class Queued:
    """An entry in memory. `scheduled_s` and `turn` are the store's."""

    __slots__ = ("entry", "out", "scheduled_s", "turn", "urged")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.out: set[int] = set()
        """Indices of recipients that a delivery has in hand."""
        self.scheduled_s = math.inf
        self.turn = -1
        """Its place in the store's heap; others of it there are stale."""
        self.urged: dict[int, float] = {}
        """Indices that an operator wants tried now, and when they would have been due, seconds since the epoch."""

    def due_s(self) -> float:
        """When it is next worth looking at, seconds since the epoch; infinity: not before something happens to it."""
        meta = self.entry.meta
        if meta.held:
            return math.inf
        waiting = [
            state.due_s
            for index, state in enumerate(self.entry.recipients)
            if state.phase is Phase.WAITING and index not in self.out
        ]
        if waiting:
            return min(waiting)
        # All recipients are final, but nobody is at work to report and remove it.
        return math.inf if self.out or self.is_waiting() else 0.0

    def take_due(self, now_s: float) -> list[int]:
        """Indices of recipients that are due; they are out for delivery from now on."""
        taken = [
            index
            for index, state in enumerate(self.entry.recipients)
            if state.phase is Phase.WAITING and state.due_s <= now_s and index not in self.out
        ]
        self.out.update(taken)
        return taken

    def is_waiting(self) -> bool:
        """Some recipient is not final."""
        return any(state.phase is Phase.WAITING for state in self.entry.recipients)

    def unreported(self) -> list[int]:
        """Indices of recipients that are final, and whose DSN nobody marked as made or not wanted."""
        return [
            index
            for index, state in enumerate(self.entry.recipients)
            if state.phase is not Phase.WAITING and not state.reported
        ]

    def describe(self) -> dict[str, object]:
        """What `queue list` and `queue show` tell: values that JSON can carry."""
        meta = self.entry.meta
        due_s = self.due_s()
        return {
            "id": meta.id,
            "state": "held" if meta.held else "active" if self.out else "waiting",
            "hold_reason": meta.hold_reason,
            "sender": meta.envelope.sender.raw,
            "size_bytes": meta.size_bytes,
            "received_at_s": meta.received_at_s,
            "due_s": None if math.isinf(due_s) else due_s,
            "client": dict(meta.client),
            "recipients": [
                _describe(recipient.address.raw, state, index in self.out)
                for index, (recipient, state) in enumerate(
                    zip(meta.envelope.recipients, self.entry.recipients, strict=True)
                )
            ],
        }


def _describe(address: str, state: RecipientState, out: bool) -> dict[str, object]:
    return {
        "address": address,
        "state": "active" if out else state.phase.name.lower(),
        "attempts": state.attempts,
        "reply": state.reply,
        "due_s": state.due_s,
        "warned": state.warned,
    }
