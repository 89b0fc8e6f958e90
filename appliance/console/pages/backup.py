"""Backup to a USB stick, and restore from one. `sysd` has the stick mounted for the moment that it takes."""

from __future__ import annotations

from appliance.console.change import commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Offer
from appliance.console.pages.stick import plugged_in, size
from appliance.console.times import local_time
from appliance.control.sysd_messages import Stick, StickFile

_HELP = (
    "The file holds the configuration with its secrets, not encrypted; not the mail.",
    "Keep the stick as safe as the keys of the house.",
    "It can be restored on another box, of another kind too.",
)


_ACTS = (
    Offer("backup: write configuration and secrets to a USB stick", True),
    Offer("restore: read them back from one", False),
)


def backup_page(desk: Desk) -> None:
    saves = desk.dialogue.choose(_ACTS, explain=_HELP).value
    stick = choose_stick(desk)
    if saves:
        _save(desk, stick)
    else:
        restore(desk, stick)


def choose_stick(desk: Desk) -> Stick:
    """The stick to use, which is plugged in now. Raises Back."""
    found = plugged_in(desk, desk.sysd.sticks, "There is no stick with vfat, exfat or ext4.")
    if len(found) == 1:
        desk.dialogue.say(f"  {_stick_words(found[0])}")
        return found[0]
    return desk.dialogue.choose_from(found, _stick_words, "Stick")


def restore(desk: Desk, stick: Stick) -> bool:
    """Whether a backup from the stick is in force for good. Raises Back."""
    files = desk.sysd.stick_files(stick.device)
    if not files:
        desk.dialogue.say("There is no backup on it; backups are files named *.mailweir.tar in the top folder.")
        return False
    chosen = desk.dialogue.choose_from(files, _file_words, "File")
    return commit(desk, desk.sysd.load_from_stick(stick.device, chosen.name))


def _save(desk: Desk, stick: Stick) -> None:
    made = desk.sysd.save_to_stick(stick.device)
    desk.dialogue.say(f"Revision {made.revision}, {made.size_bytes} octets, is in {made.name}.")
    for outside in made.outside:
        desk.dialogue.say(f"  Not in it, for it lies elsewhere: {outside}")
    desk.dialogue.say("The stick can be pulled out now.")


def _stick_words(it: Stick) -> str:
    return " ".join(filter(None, (f"{it.device}:", it.label, it.model, f"({it.kind}, {size(it.size_bytes)})")))


def _file_words(it: StickFile) -> str:
    return f"{it.name}  {local_time(it.at_s)}  {size(it.size_bytes)}"
