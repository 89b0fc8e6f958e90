"""Makes the kernel's network as it is wanted: reads, plans, does the steps, and undoes them where one fails.

The way back is on disk before the first step, so that an apply that broke off (killed, watchdog) is undone at the next
start: nobody was told that it was done. Afterwards the state is read again, until there is nothing left to do.
Blocking, for pyroute2's synchronous API runs a loop of its own: an asyncio role calls it in a thread. Called by `sysd`
through `bring_up`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from appliance.network import journal, link_modes, requests, steps
from appliance.network.netlink import IPRoute, NetlinkError
from appliance.network.plan import Unplannable, plan, way_back
from appliance.network.read import read
from appliance.network.steps import Step
from appliance.network.values import State, Wanted

Watch = Callable[[Step], None]
"""Hears of each step before it is done: for the log, or to stop there by raising."""

_MAX_ROUNDS = 4


class ApplyFailed(Exception):
    """The wanted state was not reached; `str()` says why, and whether the old one is back."""

    def __init__(self, text: str, *, undone: bool) -> None:
        super().__init__(text)
        self.undone = undone


def apply(wanted: Wanted, journal_file: Path = journal.FILE, watch: Watch = lambda step: None) -> list[Step]:
    """The steps that were done until the network was as `wanted`; none if it was so already.

    Raises:
        ApplyFailed: the old state is back, or as much of it as could be had.
        Unplannable: nothing was done.
        OSError: the journal cannot be written; nothing was done.
    """
    with IPRoute() as ip:
        note = journal_file.with_name(link_modes.NOTE)
        before = _look(ip, wanted, note)
        if not plan(before, wanted):
            return []
        back = way_back(before, wanted)
        journal.begin(journal_file, back)
        try:
            done = _reach(ip, wanted, watch, note)
        except Exception as error:  # noqa: BLE001 whatever it was, the network must not stay half done
            _undo(ip, back, error, journal_file, note)
        journal.end(journal_file)
        return done


def recover(journal_file: Path = journal.FILE, watch: Watch = lambda step: None) -> bool:
    """Undoes an apply that broke off, before anything else is applied; False if none did.

    Raises:
        ApplyFailed: the old state could not be had back in full. The journal is gone all the same: what follows
            must be the apply of the configuration in force.
    """
    back = journal.left_over(journal_file)
    try:
        if back is not None:
            with IPRoute() as ip:
                _reach(ip, back, watch, journal_file.with_name(link_modes.NOTE))
    except (NetlinkError, OSError, Unplannable, Stuck) as error:
        raise ApplyFailed(f"an apply broke off, and cannot be undone: {_reason(error)}", undone=False) from error
    finally:
        journal.end(journal_file)
    return back is not None


class Stuck(Exception):
    """The kernel refused a step, or shows something else than what was set."""


def _look(ip: IPRoute, wanted: Wanted, note: Path) -> State:
    return link_modes.with_modes(read(ip), wanted, note)


def _reach(ip: IPRoute, wanted: Wanted, watch: Watch, note: Path) -> list[Step]:
    done: list[Step] = []
    for _ in range(_MAX_ROUNDS):
        todo = plan(_look(ip, wanted, note), wanted)
        if not todo:
            return done
        for step in todo:
            watch(step)
            try:
                if isinstance(step, steps.HoldMode):
                    link_modes.hold(step.name, step.mode, note)
                else:
                    requests.perform(ip, step)
            except (NetlinkError, OSError) as error:
                raise Stuck(f"cannot {step}: {_reason(error)}") from error
            done.append(step)
    raise Stuck("the kernel does not keep what was set: " + "; ".join(map(str, todo[:3])))


def _undo(ip: IPRoute, back: Wanted, cause: Exception, journal_file: Path, note: Path) -> None:
    """Raises `ApplyFailed` in any case. The journal stays where the undo fails, for the next start to try."""
    try:
        _reach(ip, back, lambda step: None, note)
    except (NetlinkError, OSError, Unplannable, Stuck) as error:
        text = f"{_reason(cause)}; the old state could not be had back: {_reason(error)}"
        raise ApplyFailed(text, undone=False) from cause
    journal.end(journal_file)
    raise ApplyFailed(f"{_reason(cause)}; the old state is back", undone=True) from cause


def _reason(error: Exception) -> str:
    if isinstance(error, NetlinkError):
        return str(error.args[1]) if len(error.args) > 1 else f"error {error.code}"
    return str(error) or type(error).__name__
