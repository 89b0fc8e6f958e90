"""`image test --only updates`: bundles installed, refused and rolled back, on one disk over several starts in QEMU.

In this order: two bundles that must be refused, one uploaded and one on a stick; a good one from the stick, into B,
which proves itself; a flipped byte in B, which costs it its three tries, so that A returns; a release whose gateway
cannot deliver, from a web server, into B, which is tried three times and falls, with its reason on the console of A; at
last the hardware's watchdog. A start ends where the box would start again: QEMU ends then.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from firmware.builder import keys, tree
from firmware.builder.board import Board
from firmware.builder.bundle import make_bundle
from firmware.builder.qemu import fresh_disk
from firmware.builder.slot import fat, make_root
from firmware.builder.trial import HERE, READY, Console, NextHop, Shell, TrialFailed, configuration, relay, running
from firmware.builder.trial_download import download, trust

BOOT_TIMEOUT_S = float(os.environ.get("MAILWEIR_BOOT_TIMEOUT_S", "400"))
GOOD, BROKEN = "2.0", "3.0"
_CHOSEN = re.compile(rb"mailweir: slot (?P<slot>[AB]), try (?P<try>\d)")
_STICK = "sda"
_BROKEN_MODULE = "usr/lib/mailweir/appliance/delivery/handshake.py"
_OPENS = b"    async def open(self, endpoint: Endpoint) -> HopConnection:\n"
_MENU = re.compile(rb"\d+  status.*?\d+  update of the box.*?Number: ", re.DOTALL)
_END_S = 240.0
_TYPING_S = 180.0
_INSTALL_S = 600.0


@dataclass(slots=True)
class Box:
    """The disk that all starts share, and the stick in it."""

    board: Board
    disk: Path
    stick: Path
    broken: Path
    """A bundle on a web server."""
    uefi: bool
    log: Path
    hop: NextHop
    starts: int = 0

    @contextmanager
    def started(self, slot: str, nth: int = 1) -> Iterator[tuple[Console, int]]:
        """A start, seen to take `slot` for the `nth` time; the console, and the port that leads to the box' port 25."""
        self.starts += 1
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        more = ["-drive", f"file={self.stick},format=raw,if=none,id=stick,readonly=on"]
        more += ["-device", "qemu-xhci", "-device", "usb-storage,drive=stick,removable=on"]
        log = self.log.with_name(f"{self.log.stem}-{self.starts}.log")
        begun_s = time.monotonic()
        with running(self.board, self.disk, self.uefi, port, configuration(self.hop.port), log, more) as console:
            found = console.wait_for(_CHOSEN, BOOT_TIMEOUT_S)
            if (found["slot"].decode(), int(found["try"])) != (slot, nth):
                instead = f"start {self.starts}: {found[0]!r} instead of slot {slot}, try {nth}"
                raise TrialFailed(f"{instead}\n{console.tail()}")
            yield console, port
        print(f"start {self.starts}: slot {slot}, try {nth}, {time.monotonic() - begun_s:.0f} s", flush=True)

    @contextmanager
    def healthy(self, slot: str, leave: str = "systemctl reboot") -> Iterator[tuple[Console, Shell]]:
        """A start that ends up good; the command `leave` makes it start again, unless what is done with it has."""
        with self.started(slot) as (console, port):
            console.wait_for(READY, BOOT_TIMEOUT_S)
            shell = Shell(self.disk.with_suffix(".shell"))
            shell.ask("u=mailweir-health; until systemctl is-active $u || systemctl is-failed $u; do sleep 1; done")
            status = status_of(shell)
            expect(status["booted"] == slot and status["health"] == "good", f"slot {slot} is not healthy: {status}")
            self.hop.arrived.clear()
            relay(port, self.hop)
            yield console, shell
            shell.tell(leave)
            console.wait_for_the_end(_END_S)


def expect(true: bool, otherwise: str) -> None:
    """Raises TrialFailed."""
    if not true:
        raise TrialFailed(otherwise)


def status_of(shell: Shell) -> dict[str, Any]:
    said = shell.ask("mailweir update status --json")
    try:
        return dict(json.loads(said))
    except ValueError as error:
        raise TrialFailed(f"no status: {said}") from error


def install(shell: Shell, source: str, *options: str) -> str:
    """What the command said; its exit status at the end."""
    said = shell.ask(f"mailweir update install {source} {' '.join(options)} 2>&1; echo status $?", _INSTALL_S)
    print(f"{source}: {said.splitlines()[-2] if said.count(chr(10)) else said}", flush=True)
    return said


def trial(board: Board, image: Path, uefi: bool) -> None:
    """Raises TrialFailed."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        stick = make_stick(board, folder)
        root = broken_root(board, folder)
        broken = make_bundle(board, BROKEN, keys.signer(None, None), folder / "broken.raucb", root)
        disk = fresh_disk(image, folder / "disk.img")
        box = Box(board, disk, stick, broken, uefi, board.cache / "updates.log", NextHop())
        refused_then_installed(box)
        flipped_byte(box)
        broken_release(box)
    print(f"updated, refused, rolled back: {box.starts} starts")


def refused_then_installed(box: Box) -> None:
    """From A as delivered to B."""
    with box.healthy("A") as (console, shell):
        configured_by_hand(shell)
        mounted = shell.ask(f"mkdir /run/stick && mount -o ro /dev/{_STICK} /run/stick && echo mounted")
        expect(mounted == "mounted", f"the stick cannot be read: {mounted}")
        said = install(shell, "/run/stick/stranger.raucb", "--upload")
        expect("status 1" in said and "signature" in said, f"a stranger's bundle was not refused: {said}")
        shell.ask("umount /run/stick")
        said = install(shell, "flipped.raucb", "--stick", _STICK)
        expect("status 1" in said, f"a damaged bundle was not refused: {said}")
        slots = {it["name"]: it for it in status_of(shell)["slots"]}
        expect(slots["A"]["wanted"] and not slots["B"]["wanted"], f"a refused bundle changed the choice: {slots}")
        install_by_the_menu(console, "good", GOOD)
        units = "mailweir-health mailweir-update mailweir-sysd"
        print(shell.ask(f"for u in {units}; do systemd-analyze security --no-pager $u.service | tail -1; done"))


def flipped_byte(box: Box) -> None:
    """B is good; a byte of it changes; three panics; A returns, and says so."""
    with box.healthy("B") as (_, shell):
        expect(status_of(shell)["version"] == GOOD, "B is not the release that was installed")
        flip = "f=open('/dev/mailweir/root_b','r+b'); b=f.read(4096); f.seek(40); f.write(bytes([b[40]^1])); f.close()"
        expect(shell.ask(f'python3 -c "{flip}" && sync && echo done') == "done", "the byte could not be flipped")
    for nth in (1, 2, 3):
        with box.started("B", nth) as (console, _):
            console.wait_for(re.compile(rb"corrupted|panic"), _END_S)
            console.wait_for_the_end(_END_S)


def broken_release(box: Box) -> None:
    """On A again; a release that cannot deliver goes into B, is tried, and falls."""
    with box.healthy("A") as (_, shell):
        reasons = [it["reason"] for it in status_of(shell)["failures"]]
        expect(any("no sign of life" in reason for reason in reasons), f"nobody says what became of B: {reasons}")
        with download(box.broken, HERE, box.broken.parent) as (url, certificate):
            trust(shell, certificate)
            said = install(shell, url)
        expect("status 0" in said, f"the broken release could not be installed: {said}")
    for nth in (1, 2, 3):
        with box.started("B", nth) as (console, _):
            console.wait_for(re.compile(rb"slot B, release 3\.0: .*Starting again"), BOOT_TIMEOUT_S + 300)
            console.wait_for_the_end(_END_S)
    with box.healthy("A", leave="") as (console, shell):
        status = status_of(shell)
        reasons = [it["reason"] for it in status["failures"] if it["version"] == BROKEN]
        expect(any("did not come out" in reason for reason in reasons), f"the reason is not kept: {reasons}")
        slots = {it["name"]: it for it in status["slots"]}
        expect(slots["A"]["wanted"] and slots["B"]["state"] == "failed", f"the broken slot is not given up: {slots}")
        console_shows_the_reason(console)
        if box.board.machine == "x86_64":
            freeze(console, shell)
        else:
            shell.tell("systemctl reboot")  # QEMU's board for these has no watchdog that the image knows


def freeze(console: Console, shell: Shell) -> None:
    """systemd stands still, its hold on the hardware's watchdog is gone, and that makes the box start again."""
    shell.tell("kill -SEGV 1")
    console.wait_for(re.compile(rb"watchdog did not stop"), _TYPING_S)  # the kernel's word


def configured_by_hand(shell: Shell) -> None:
    """So that the menu is no longer the first boot's."""
    text = "(mailweir config show; echo '# looked at') >/run/by-hand.toml"
    kept = "mailweir config propose /run/by-hand.toml --commit && mailweir config confirm"
    done = shell.ask(f"{text} && {kept}; echo $?")
    expect(done.endswith("0"), f"the configuration could not be confirmed: {done}")


def page_of_updates(console: Console) -> None:
    """As a person at the serial line comes there: Ctrl-C leaves whatever was begun."""
    console.forget()
    console.type("\x03")
    console.wait_for(re.compile(rb"Number: "), _TYPING_S)
    number = re.search(rb"(\d+)  update of the box", console.wait_for(_MENU, _TYPING_S)[0])
    assert number is not None
    console.forget()
    console.type(f"{number[1].decode()}\r")


def install_by_the_menu(console: Console, name: str, version: str) -> None:
    """A bundle from the stick, into B; the restart is left to the trial."""
    page_of_updates(console)
    console.wait_for(re.compile(rb"install an update from a USB stick.*Number: ", re.DOTALL), _TYPING_S)
    console.type("1\r")
    line = re.compile(rb"(\d+)  " + re.escape(f"{name}.raucb".encode()) + rb".*Update: ", re.DOTALL)
    console.type(f"{console.wait_for(line, _TYPING_S)[1].decode()}\r")
    done = f"100 % installed: release {version} is in slot B"
    console.wait_for(re.compile(re.escape(done.encode())), BOOT_TIMEOUT_S)
    console.type("n\r")


def console_shows_the_reason(console: Console) -> None:
    """Whoever looks at the page of updates reads why the broken release was given up."""
    page_of_updates(console)
    console.wait_for(re.compile(rb"release\s+3\.0.*did\s+not\s+come\s+out", re.DOTALL), _TYPING_S)


def make_stick(board: Board, folder: Path) -> Path:
    """A FAT file system with the bundles."""
    ours, stranger = keys.signer(None, None), keys.authority(folder / "stranger", "A stranger")
    theirs = keys.Signer(str(stranger / "signer.pem"), str(stranger / "signer.key"))
    files = {
        "good.raucb": make_bundle(board, GOOD, ours, folder / "good.raucb"),
        "stranger.raucb": make_bundle(board, GOOD, theirs, folder / "stranger.raucb"),
        "flipped.raucb": flipped(folder / "good.raucb", folder / "flipped.raucb"),
    }
    size_mib = sum(path.stat().st_size for path in files.values()) // 2**20 + 32
    return fat(folder / "stick.img", size_mib, files)


def flipped(bundle: Path, target: Path) -> Path:
    """One bit of the content, far from the signature, is another one."""
    octets = bytearray(bundle.read_bytes())
    octets[len(octets) // 2] ^= 1
    target.write_bytes(octets)
    return target


def broken_root(board: Board, folder: Path) -> tuple[Path, str]:
    """The built root, but its gateway finds no next hop: all else works."""
    work = folder / "broken"
    work.mkdir()
    whole = board.cache / "work" / "root.tar"
    source = tree.read_files(whole, lambda path: path == _BROKEN_MODULE)[_BROKEN_MODULE]
    assert isinstance(source, bytes)
    expect(source.count(_OPENS) == 1, f"{_BROKEN_MODULE} has changed: the trial does not know how to break it")
    broken = source.replace(_OPENS, _OPENS + b'        raise NextHopDown("broken on purpose")\n')
    replace_files(whole, {_BROKEN_MODULE: broken}, work / "root.tar")
    return make_root(work / "root.tar", work, board)


def replace_files(archive: Path, octets: dict[str, bytes], target: Path) -> None:
    """`target` is `archive`, but for what is in some modules, which lose their bytecode: it would be taken instead."""
    with tarfile.open(archive) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:
        for member in source:
            path = PurePosixPath(member.name.removeprefix("./"))
            if path.suffix == ".pyc" and str(path.parents[1] / f"{path.name.partition('.')[0]}.py") in octets:
                continue
            stream = source.extractfile(member) if member.isreg() else None
            new = octets.get(str(path))
            if new is not None:
                member.size, stream = len(new), io.BytesIO(new)
            out.addfile(member, stream)
