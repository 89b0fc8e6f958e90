"""Cuts the power of the box under trial at random moments: it starts again each time, and no 250 was a lie.

Moments are counted in writes of the disk where they can be: in the middle of making the data partition, of a commit, of
the queue's journal. A cut takes what was not flushed with it. Called by `trial_user`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pexpect

from firmware.builder.machine import BOOT_S, READY, Machine
from firmware.builder.trial import TrialFailed
from firmware.builder.trial_user import World, say, send

_STARTS = r"mailweir: slot "
_NEW_WRITES = 60
"""About as many as making the data partition takes."""
_PATIENCE_S = 20.0
_BURST = 12


def cut_power(world: World, when: str, times: int) -> None:
    """`times` cuts, then one start that is left alone, where mail had been sent. Raises TrialFailed."""
    owed: list[str] = []
    kinds: list[Callable[[World, list[str]], str]] = [_under_load, _in_a_commit]
    if when == "first boot":
        kinds = [_in_the_first_boot]
    for number in range(1, times + 1):
        what = kinds[number % len(kinds)](world, owed)
        lost = world.disk.lose()
        say(f"power cut {number} of {times}, {when}: {what}; {lost} writes were not flushed")
    if owed:
        with world.started() as machine:
            machine.expect(READY, BOOT_S)
            missing = world.inside.missing(owed, BOOT_S / 2)
            if missing:
                raise TrialFailed(f"of {len(owed)} messages with a 250 these were lost: {missing}")
            failed = machine.shell().ask("systemctl --failed --no-legend --plain")
            if failed:
                raise TrialFailed(f"units failed after the power cuts:\n{failed}")
        world.disk.lose()
        say(f"all {len(owed)} messages with a 250 were delivered, {world.inside.twice()} of them twice")


def _in_the_first_boot(world: World, owed: list[str]) -> str:
    """From the first write of the initial RAM disk on: partition, file system, first files."""
    write = world.chance.randint(2, _NEW_WRITES)
    with world.started() as machine:
        machine.expect(_STARTS, BOOT_S)
        world.disk.cut_at(write)
        _wait_for_the_cut(world, machine, BOOT_S)
    return f"at write {write} after the boot loader" if world.disk.cut.is_set() else "when it was ready"


def _wait_for_the_cut(world: World, machine: Machine, timeout_s: float) -> None:
    """Until the disk is dead, or the box has started whole: then the power goes a random while later."""
    end_s = time.monotonic() + timeout_s
    while not world.disk.cut.wait(0.2):
        if time.monotonic() > end_s:
            raise TrialFailed(f"neither a write nor a whole start in {timeout_s:.0f} s\n{machine.console.before}")
        if machine.console.expect([READY, pexpect.TIMEOUT], timeout=1) == 0:
            world.disk.cut.wait(world.chance.uniform(0.0, _PATIENCE_S))
            return


def _under_load(world: World, owed: list[str]) -> str:
    """The mail server is away, messages come in; a write of the queue is the last."""
    world.inside.close()
    acknowledged: list[str] = []
    with world.started() as machine:
        machine.expect(READY, BOOT_S)
        world.disk.cut_at(world.chance.randint(1, 4 * _BURST))
        threads = [threading.Thread(target=_load, args=(world, acknowledged, line)) for line in range(3)]
        for thread in threads:
            thread.start()
        world.disk.cut.wait(_PATIENCE_S)
    for thread in threads:
        thread.join(60)
    owed += acknowledged
    world.inside.open()
    return f"while mail was queued, {len(acknowledged)} messages with a 250"


def _load(world: World, acknowledged: list[str], line: int) -> None:
    for number in range(_BURST):
        subject = f"owed {time.monotonic_ns()} {line} {number}"
        try:
            acknowledged += send("outside", "anna@example.test", [subject], timeout_s=10.0)
        except TrialFailed:
            return  # no 250: it is the client's still


def _in_a_commit(world: World, owed: list[str]) -> str:
    """A change of the configuration by sysd; it is the old one or the new one afterwards, never none."""
    with world.started() as machine:
        machine.expect(READY, BOOT_S)
        shell = machine.shell()
        write = world.chance.randint(1, 12)
        world.disk.cut_at(write)
        value = world.chance.randint(1000, 9000)
        shell.tell(f"mailweir config set limits.sessions {value} --commit && mailweir config confirm && echo do''ne")
        world.disk.cut.wait(BOOT_S / 4)
    return f"at write {write} of a commit" if world.disk.cut.is_set() else "after a commit"
