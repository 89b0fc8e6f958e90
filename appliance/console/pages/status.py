"""How the box is: release, ports, update slots, mail flow, queue, the last verdicts, memory, temperature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from appliance.console.desk import Desk
from appliance.console.modes import mode_of
from appliance.console.ports import speed_in_words
from appliance.console.times import age, local_time
from appliance.control.protocol import ControlError
from appliance.control.update_words import slot_lines
from appliance.core.errors import ConfigError

_LAST_VERDICTS = 5
_HOUR_S = 3600.0


def status_page(desk: Desk) -> None:
    """What anybody who stands before the box may know: whose mail it is, is not in it."""
    _page(desk, is_open=False)


def whole_status_page(desk: Desk) -> None:
    """For who has given the password."""
    _page(desk, is_open=True)


def _page(desk: Desk, *, is_open: bool) -> None:
    lines = [*_system(desk)]
    lines += _tried("Network", lambda: _place(desk))
    lines += _tried("Updates", lambda: _slots(desk))
    lines += _tried("Mail", lambda: [*_flow(desk), *_last_hour(desk), *_verdicts(desk, is_open)])
    desk.dialogue.page(lines)


def _system(desk: Desk) -> Iterator[str]:
    status = desk.sysd.status()
    yield f"Mailweir {status.release}, configuration revision {status.revision}, up {age(status.up_s)}"
    if status.trouble:
        yield f"Trouble: {status.trouble}"
    if status.resetting:
        yield "The next start erases everything."
    if status.unconfirmed:
        yield f"A change waits to be kept; in {status.confirm_left_s:.0f} s what was before returns."
    if not status.password_set:
        yield "No administrator's password is set: whoever sits here may change everything."
    memory, temperature_c = desk.machine.memory_mib(), desk.machine.temperature_c()
    if memory is not None:
        yield f"Memory: {memory[0]} of {memory[1]} MiB in use"
    if temperature_c is not None:
        yield f"Temperature: {temperature_c:.0f} degrees C"


def _place(desk: Desk) -> list[str]:
    """Where it stands in the network."""
    config = desk.config()
    lines = [f"Mode: {mode_of(config.mode).mode.value}; name: {config.hostname}"]
    for port in desk.sysd.ports():
        speed = speed_in_words(port)
        link = f"link{speed and f', {speed}'}" if port.get("link") else "no link"
        lines.append(f"Port {port['name']}: {link} {' '.join(map(str, port.get('addresses') or []))}".rstrip())
    kept = f"up to {config.log.keep_mib} MiB on the disk" if config.log.keep_mib else "in memory only"
    return [*lines, f"Journal: {kept}"]


def _slots(desk: Desk) -> list[str]:
    """What is in the slots, and how the running one was found; nothing on a machine without."""
    if desk.updates is None:
        return []
    found = desk.updates.status()
    health = [f"Health: {found.health}" + (f" ({found.health_reason})" if found.health_reason else "")]
    return [*slot_lines(found), *(health if found.health else [])]


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


def _last_hour(desk: Desk) -> list[str]:
    counts = desk.mail.counts(_HOUR_S)
    if not counts:
        return []
    total = sum(counts.values())
    each = ", ".join(f"{action} {count}" for action, count in counts.items())
    return [f"Last hour: {total / 60:.1f} messages a minute ({each})"]


def _verdicts(desk: Desk, is_open: bool) -> list[str]:
    found = desk.mail.trace(limit=_LAST_VERDICTS)
    lines = ["", "Last verdicts:"] if found else []
    for message in found:
        lines.append(f"  {local_time(message.get('at_s'))}  {message.get('action') or '-':7} {message['id']}")
        if is_open:
            lines.append(f"      {message.get('sender') or '<>'}: {message.get('reply') or ''}")
    return lines


def _tried(what: str, part: Callable[[], list[str]]) -> list[str]:
    """One part's trouble must not hide the others."""
    try:
        return part()
    except (ControlError, ConfigError, OSError) as error:
        return [f"{what}: {error}"]


def _sum(workers: list[dict[str, Any]], name: str) -> int:
    return sum(int(worker.get(name, 0)) for worker in workers)
