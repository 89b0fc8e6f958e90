"""The mail as it flows: a line every few seconds, until somebody presses Enter."""

from __future__ import annotations

from collections import Counter
from typing import Any

from appliance.console.desk import Desk
from appliance.console.terminal import Idle

EVERY_S = 5.0
_LONGEST_LINES = 720
_LINES_TO_THE_NEXT_HEAD = 20
_HEAD = f"{'OPEN':>5} {'MAIL/MIN':>9} {'ACCEPTED':>9} {'REFUSED':>8} {'OTHER':>6} {'KIB/S':>8} {'QUEUE':>7}"


def flow_page(desk: Desk) -> None:
    dialogue, terminal = desk.dialogue, desk.dialogue.terminal
    dialogue.say("A line every 5 s; Enter: back.")
    before, before_s = _Sample(desk.mail.stats()), terminal.now_s()
    for number in range(_LONGEST_LINES):
        if not number % _LINES_TO_THE_NEXT_HEAD:
            dialogue.say(_HEAD)
        if terminal.pressed(EVERY_S):
            return
        now, now_s = _Sample(desk.mail.stats()), terminal.now_s()
        dialogue.say(f"{now.since(before, max(0.1, now_s - before_s))} {desk.mail.queue(0)[1]:7}")
        before, before_s = now, now_s
    raise Idle


class _Sample:
    """The counters of all workers at one moment."""

    def __init__(self, workers: list[dict[str, Any]]) -> None:
        self._open = sum(int(worker.get("sessions_open", 0)) for worker in workers)
        self._octets = sum(int(worker.get("bytes_in", 0)) for worker in workers)
        self._actions: Counter[str] = Counter()
        for worker in workers:
            for _, action, count in worker.get("messages", []):
                self._actions[action] += int(count)

    def since(self, before: _Sample, seconds: float) -> str:
        """A line of what came in between; a worker that began anew counts from nothing."""
        came = {action: max(0, count - before._actions[action]) for action, count in self._actions.items()}
        accepted, refused = came.pop("accept", 0), came.pop("refuse", 0)
        other = sum(came.values())
        a_minute = (accepted + refused + other) * 60 / seconds
        kib_a_s = max(0, self._octets - before._octets) / 1024 / seconds
        return f"{self._open:5} {a_minute:9.1f} {accepted:9} {refused:8} {other:6} {kib_a_s:8.1f}"
