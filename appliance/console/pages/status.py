"""How the box is: release, mail flow, queue, the last verdicts, memory, temperature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from appliance.console.desk import Desk
from appliance.console.times import age, local_time
from appliance.control.protocol import ControlError
from appliance.core.errors import ConfigError

_LAST_VERDICTS = 5


def status_page(desk: Desk) -> None:
    lines = [*_system(desk)]
    for part in (_flow, _verdicts):
        try:
            lines += part(desk)
        except (ControlError, ConfigError, OSError) as error:
            lines.append(f"Mail: {error}")
    desk.dialogue.page(lines)


def _system(desk: Desk) -> Iterator[str]:
    status = desk.sysd.status()
    yield f"Mailweir {status.release}, configuration revision {status.revision}, up {age(status.up_s)}"
    if status.trouble:
        yield f"Trouble: {status.trouble}"
    if status.resetting:
        yield "The next start erases everything."
    if not status.password_set:
        yield "No administrator's password is set."
    memory, temperature_c = desk.machine.memory_mib(), desk.machine.temperature_c()
    if memory is not None:
        yield f"Memory: {memory[0]} of {memory[1]} MiB in use"
    if temperature_c is not None:
        yield f"Temperature: {temperature_c:.0f} degrees C"


def _flow(desk: Desk) -> list[str]:
    workers = desk.mail.stats()
    actions: Counter[str] = Counter()
    for worker in workers:
        for _, action, count in worker.get("messages", []):
            actions[action] += int(count)
    counts = ", ".join(f"{action} {count}" for action, count in sorted(actions.items())) or "none"
    return [
        f"Sessions: {_sum(workers, 'sessions_open')} open, {_sum(workers, 'sessions_total')} since the start",
        f"Messages since the start: {counts}",
        f"Octets received: {_sum(workers, 'bytes_in')}",
        f"Queue: {desk.mail.queue(0)[1]} messages",
    ]


def _verdicts(desk: Desk) -> list[str]:
    found = desk.mail.trace(limit=_LAST_VERDICTS)
    lines = ["", "Last verdicts:"] if found else []
    for message in found:
        lines.append(f"  {local_time(message.get('at_s'))}  {message.get('action') or '-':7} {message['id']}")
        lines.append(f"      {message.get('sender') or '<>'}: {message.get('reply') or ''}")
    return lines


def _sum(workers: list[dict[str, Any]], name: str) -> int:
    return sum(int(worker.get(name, 0)) for worker in workers)
