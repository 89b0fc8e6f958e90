"""Updates: what is in the slots, why one failed, an update from a stick, and the way back to the release before.

The stick is `sysd`'s to mount; here are only the questions.
"""

from __future__ import annotations

from appliance.console.desk import Desk, Updates
from appliance.console.dialogue import Offer
from appliance.console.pages.stick import plugged_in, size
from appliance.control.update_messages import StickBundle
from appliance.control.update_words import news_lines, slot_lines

_HELP = (
    "An update is written to the slot that does not run. The box then starts it, and",
    "keeps it if a test message goes through; else the old release comes back by",
    "itself. Configuration, queue and records stay. Mail waits for a minute or two.",
)


def update_page(desk: Desk) -> None:
    updates = desk.updates
    if updates is None:
        return  # and the menu has no such line
    status = updates.status()
    desk.dialogue.page([*slot_lines(status), *news_lines(status)])
    acts = [Offer("install an update from a USB stick", _install)]
    if any(not slot.booted and slot.state == "good" for slot in status.slots):
        acts.append(Offer("go back to the release in the other slot", _roll_back))
    desk.dialogue.choose(acts, explain=_HELP).value(desk, updates)


def _install(desk: Desk, updates: Updates) -> None:
    missing = "There is no stick with an update, *.raucb, in its top folder."
    found = plugged_in(desk, updates.stick_bundles, missing)
    chosen = desk.dialogue.choose_from(found, _bundle_words, "Update")
    updates.install_from_stick(chosen.device, chosen.name)
    status = None
    for status in updates.followed():
        desk.dialogue.say(f"{status.percent:3} % {status.activity}: {status.text}")
    if status is not None and status.activity == "installed" and desk.dialogue.yes("Restart with it now", default=True):
        desk.sysd.reboot()
        desk.dialogue.say("It restarts. Leave the power on: it may start up to three times.")


def _roll_back(desk: Desk, updates: Updates) -> None:
    if desk.dialogue.yes("Restart now with the release in the other slot"):
        desk.dialogue.say(f"Slot {updates.roll_back()} starts next. It restarts.")
        desk.sysd.reboot()


def _bundle_words(it: StickBundle) -> str:
    return f"{it.name} ({size(it.size_bytes)}, stick {it.device})"
