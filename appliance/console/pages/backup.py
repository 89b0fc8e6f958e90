"""Backup to a USB stick, and restore from one. `sysd` has the stick mounted for the moment that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.console.change import commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Back
from appliance.console.times import local_time
from appliance.control.sysd_messages import Stick, StickFile

_HELP = (
    "The file holds the configuration with its secrets, not encrypted; not the mail.",
    "Keep the stick as safe as the keys of the house.",
    "It can be restored on another box, of another kind too.",
)


@dataclass(frozen=True, slots=True)
class _Act:
    title: str
    saves: bool


@dataclass(frozen=True, slots=True)
class _Choice:
    stick: Stick

    @property
    def title(self) -> str:
        it = self.stick
        return " ".join(filter(None, (f"{it.device}:", it.label, it.model, f"({it.kind}, {_size(it.size_bytes)})")))


@dataclass(frozen=True, slots=True)
class _File:
    file: StickFile

    @property
    def title(self) -> str:
        return f"{self.file.name}  {local_time(self.file.at_s)}  {_size(self.file.size_bytes)}"


def backup_page(desk: Desk) -> None:
    acts = (
        _Act("backup: write configuration and secrets to a USB stick", True),
        _Act("restore: read them back from one", False),
    )
    saves = desk.dialogue.choose(acts, explain=_HELP).saves
    stick = choose_stick(desk)
    if saves:
        _save(desk, stick)
    else:
        restore(desk, stick)


def choose_stick(desk: Desk) -> Stick:
    """The stick to use, which is plugged in now. Raises Back."""
    while not (found := desk.sysd.sticks()):
        if not desk.dialogue.yes("There is no stick with vfat, exfat or ext4. Plug one in. Look again", default=True):
            raise Back
    if len(found) == 1:
        desk.dialogue.say(f"  {_Choice(found[0]).title}")
        return found[0]
    return desk.dialogue.choose([_Choice(stick) for stick in found], "Stick").stick


def restore(desk: Desk, stick: Stick) -> bool:
    """Whether a backup from the stick is in force for good. Raises Back."""
    files = [_File(file) for file in desk.sysd.stick_files(stick.device)]
    if not files:
        desk.dialogue.say("There is no backup on it; backups are files named *.mailweir.tar in the top folder.")
        return False
    chosen = desk.dialogue.choose(files, "File", 1 if len(files) == 1 else 0).file
    return commit(desk, desk.sysd.load_from_stick(stick.device, chosen.name))


def _save(desk: Desk, stick: Stick) -> None:
    made = desk.sysd.save_to_stick(stick.device)
    desk.dialogue.say(f"Revision {made.revision}, {made.size_bytes} octets, is in {made.name}.")
    for outside in made.outside:
        desk.dialogue.say(f"  Not in it, for it lies elsewhere: {outside}")
    desk.dialogue.say("The stick can be pulled out now.")


def _size(octets: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if octets >= unit:
            return f"{octets / unit:.1f} {name}"
    return f"{octets} octets"
