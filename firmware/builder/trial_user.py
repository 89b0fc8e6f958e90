"""`image test` of a PC's image, as its user would do it: from the card and the serial console to mail, and no power.

Boots, answers the first boot's questions by the console, relays from one NIC to the mail server on the other and back,
looks at memory, writes, ports, units and their security scores, then lets `trial_power` cut the power. Every figure is
printed; one that is over its limit ends the trial, and a goal that is missed is named. Times are under emulation where
there is no KVM.
"""

from __future__ import annotations

import json
import re
import smtplib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TextIO

from firmware.builder.board import Board
from firmware.builder.flaky_disk import FlakyDisk
from firmware.builder.machine import BOOT_S, READY, Machine, running
from firmware.builder.peers import MailServer, box, here, lay_cables, serve_leases
from firmware.builder.qemu import fresh_disk
from firmware.builder.trial import Shell, TrialFailed, at_rest

SCORE = 2.5
MESSAGES = 300
PORTS = {25}
"""What the first configuration of the mode needs."""
PASSWORD = "violet anchor drumming kettle"
SERVER_PORT = 2525
_SCAN = (*range(1, 1025), 2525, 5353, 5355, 8080, 8443, 9125, 10026)
_SCAN_S, _SCAN_AT_ONCE = 5.0, 128
ANSWERS = {
    r"(?i)keyboard[^\n]*\[.*\]: ": "",
    r"Mode \[1\]: ": "",
    r"Port for the mail[^\n]*: ": "2",
    r"VLAN \[[^\n]*\]: ": "",
    r"Number \[1\]: ": "2",
    r"IPv4 address/prefix [^\n]*: ": f"{box('inside')}/24",
    r"IPv4 router [^\n]*: ": "none",
    r"IPv6 address/prefix [^\n]*: ": "none",
    r"DNS servers \[[^\n]*\]: ": "",
    r"Time servers \[[^\n]*\]: ": "",
    r"Name of this box[^\n]*: ": "mx.example.test",
    r"Administrator's password: ": PASSWORD,
    r"The same again: ": PASSWORD,
    r"Protected domain[^\n]*: ": "example.test",
    r"Mail server of example.test[^\n]*: ": f"{here('inside')}:{SERVER_PORT}",
    r"Use it all the same \[[^\n]*\]: ": "y",
    r"Put this in force \[[^\n]*\]: ": "y",
    r"keep\? \[y/N\] ": "y",
    r"Send a test message [^\n]*: ": "y",
}
# KiB that a process has for itself, and its share of what it shares.
_LARGEST = (
    "for p in /proc/[0-9]*; do echo $(sed -n 's/^Pss: *\\([0-9]*\\).*/\\1/p' $p/smaps_rollup) KiB "
    "$(tr '\\0' ' ' <$p/cmdline | cut -c1-60); done 2>/dev/null | sort -rn | head -8"
)
_OTHER_PORT = f'{{name = "enp0s3", addresses = ["{box("outside")}/24"]}}'
MENU = r"Mailweir on mx\.example\.test"
MORE = {
    r"Password: ": PASSWORD,
    r"Protected domain[^\n]*: ": "outside.test",
    r"Mail server of outside.test[^\n]*: ": f"{here('outside')}:{SERVER_PORT}",
    r"Put this in force \[[^\n]*\]: ": "y",
    r"keep\? \[y/N\] ": "y",
}


@dataclass(slots=True)
class World:
    """What all parts of the trial share."""

    disk: FlakyDisk
    log: TextIO
    inside: MailServer
    outside: MailServer
    chance: Random
    uefi: bool

    @contextmanager
    def started(self) -> Iterator[Machine]:
        """A start of the box; the power is gone when this is left."""
        with running(self.disk, self.log, self.uefi) as machine:
            yield machine


def trial(board: Board, image: Path, uefi: bool, power_cuts: int) -> None:
    """Raises TrialFailed."""
    from firmware.builder.trial_power import cut_power

    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    lay_cables()
    serve_leases("inside")
    inside, outside = MailServer(here("inside"), SERVER_PORT), MailServer(here("outside"), SERVER_PORT)
    log = board.cache / "serial.log"
    with TemporaryDirectory(dir=board.cache) as folder, log.open("w", encoding="utf-8") as stream:
        path = fresh_disk(image, Path(folder) / "disk.img")
        disk = FlakyDisk(path, Path(folder) / "disk.nbd", Random(seed))
        world = World(disk, stream, inside, outside, Random(seed), uefi)
        if power_cuts:
            cut_power(world, "first boot", power_cuts - power_cuts * 3 // 5)
        with world.started() as machine:
            use(world, machine, json.loads((board.cache / "figures.json").read_text()))
        with world.started() as machine:
            rest(machine)
        if power_cuts:
            cut_power(world, "with mail", power_cuts * 3 // 5)
        disk.close()
    print(f"all went well; the console's words are in {log}")


def use(world: World, machine: Machine, figures: dict[str, float]) -> None:
    """One start, from the power button to power off by the menu."""
    begun_s = time.monotonic()
    ready = machine.expect(READY, BOOT_S)
    say(f"ready {time.monotonic() - begun_s:.0f} s after power on, {ready['up']} s after the kernel's start")
    # The question that the line was printed over is drawn anew.
    machine.converse(ANSWERS, MENU)
    say("configured by the serial console")
    domains = machine.expect(r"(\d+)  mail domains")[1]
    shell = machine.shell()
    # The menu knows one port; the other one comes by the command line.
    said = shell.ask(f"mailweir config set 'network.interface[+]' '{_OTHER_PORT}' --commit && mailweir config confirm")
    if "onfirmed" not in said and "in force" not in said:
        raise TrialFailed(f"the second port could not be configured: {said}")
    machine.expect(r"Number: ")
    machine.type(domains)
    machine.converse({r"Password: ": PASSWORD}, r"add a domain")
    machine.expect(r"Number: ")
    machine.type("1")
    machine.converse(MORE, r"Kept: revision")
    relay(world, "there", world.inside, "outside", "anna@example.test")
    relay(world, "back", world.outside, "inside", "bob@outside.test")
    say("a message went from the outside to the mail server on the inside, and one back")
    look(world, shell, figures)
    machine.expect(r"Number: ")
    shell.tell("systemctl poweroff")
    machine.wait_for_the_end(BOOT_S / 2)


def rest(machine: Machine) -> None:
    """A start of the configured box: what is in use once nothing is done but waiting. Raises TrialFailed."""
    machine.expect(READY, BOOT_S)
    shell = machine.shell()
    say(at_rest(shell, BOOT_S))
    for line in shell.ask(_LARGEST).splitlines():
        say(f"  {line.strip()}")
    shell.tell("systemctl poweroff")
    machine.wait_for_the_end(BOOT_S / 2)


def relay(world: World, subject: str, server: MailServer, network: str, recipient: str) -> None:
    """One message from `network` to where its recipient lives. Raises TrialFailed."""
    send(network, recipient, [subject])
    if server.missing([subject], 60):
        raise TrialFailed(f"the message {subject!r} was taken and did not arrive")


def send(network: str, recipient: str, subjects: list[str], timeout_s: float = 180.0) -> list[str]:
    """Sends the messages in one session; those for which there was a 250. Raises TrialFailed for a refusal."""
    acknowledged: list[str] = []
    try:
        with smtplib.SMTP(box(network), 25, timeout=timeout_s, source_address=(here(network), 0)) as client:
            for subject in subjects:
                body = f"From: you@sender.test\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\n{'Hello ' * 200}\r\n"
                client.sendmail("you@sender.test", [recipient], body)
                acknowledged.append(subject)
    except (smtplib.SMTPException, OSError) as error:
        raise TrialFailed(f"message {len(acknowledged) + 1} of {len(subjects)} was not taken: {error!r}") from error
    return acknowledged


def look(world: World, shell: Shell, figures: dict[str, float]) -> None:
    """Everything that has a limit. Raises TrialFailed with all that are over theirs."""
    wrong = [*_writes(world, shell), *_scores(shell)]
    failed = shell.ask("systemctl --failed --no-legend --plain")
    if failed:
        wrong.append(f"units failed:\n{failed}")
    for network in ("outside", "inside"):
        found = open_ports(box(network))
        say(f"ports open from {network}: {sorted(found)}")
        if found != PORTS:
            wrong.append(f"ports open from {network}: {sorted(found)}, not {sorted(PORTS)}")
    say(f"slot {figures['slot_mib']} MiB; built in {figures['build_s']} s")
    if wrong:
        raise TrialFailed("\n".join(wrong))


def _writes(world: World, shell: Shell) -> list[str]:
    shell.ask("sync")
    before, requests = sectors_written(shell), world.disk.writes
    subjects = [f"clean {number}" for number in range(MESSAGES)]
    begun_s = time.monotonic()
    send("outside", "anna@example.test", subjects)
    took_s = time.monotonic() - begun_s
    missing = world.inside.missing(subjects, 60)
    shell.ask("sync")
    written = sectors_written(shell) - before
    say(f"{MESSAGES} clean messages in {took_s:.0f} s: {written} sectors written to the disk")
    wrong = [f"{written} sectors were written while clean mail flowed"] if written else []
    if world.disk.writes != requests:
        wrong.append(f"the disk saw {world.disk.writes - requests} writes while clean mail flowed")
    return wrong + ([f"{len(missing)} clean messages did not arrive"] if missing else [])


def sectors_written(shell: Shell) -> int:
    """To all disks since the start, of 512 octets; Documentation/block/stat.rst."""
    lines = shell.ask("cat /sys/block/vd*/stat").splitlines()
    return sum(int(line.split()[6]) for line in lines)


def _scores(shell: Shell) -> list[str]:
    units = shell.ask("systemctl list-units --all --full --plain --no-legend 'mailweir*.service'")
    names = [line.split()[0] for line in units.splitlines() if line.strip()]
    wrong = []
    for name in names:
        said = shell.ask(f"systemd-analyze security --no-pager {name} 2>&1 | tail -1")
        found = re.search(r": (\d+\.\d)", said)
        score = float(found[1]) if found else 99.0
        say(f"security score of {name}: {score}")
        if score > SCORE:
            wrong.append(f"{name} has the security score {score}, more than {SCORE}: {said}")
    return wrong if names else ["there is none of our units"]


def open_ports(address: str) -> set[int]:
    """Ports that take a connection; the default of the box is to be silent at all others."""

    def is_open(port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(_SCAN_S)
            return not probe.connect_ex((address, port))

    with ThreadPoolExecutor(_SCAN_AT_ONCE) as pool:
        return {port for port, found in zip(_SCAN, pool.map(is_open, _SCAN), strict=True) if found}


def say(text: str) -> None:
    """A line of the trial's own report."""
    print(text, flush=True)
