"""`image test`: the image boots in QEMU, takes a message at port 25, delivers it to a mail server here, and powers off.

What it prints of time and memory is under emulation where there is no KVM: the time is no box's, the memory is.
"""

from __future__ import annotations

import base64
import json
import os
import re
import selectors
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from firmware.builder.board import Board
from firmware.builder.qemu import command, fresh_disk, second_line

READY = re.compile(rb"Mailweir is ready: (?P<greeting>.*); up (?P<up>[\d.]+) s, memory in use (?P<used>\d+) MiB")
_BOOT_TIMEOUT_S = float(os.environ.get("MAILWEIR_BOOT_TIMEOUT_S", "400"))
HERE = "10.0.2.2"
"""How user-mode networking calls this machine."""
MEMORY_MIB = 160
_LOOKS, _BETWEEN_LOOKS_S, _STEADY_KIB = 3, 5, 512
_BODY = "From: you@sender.test\r\nTo: anna@example.test\r\nSubject: through the image\r\n\r\nHello\r\n"


# A root shell on the second serial line, of this virtual machine alone: the image has none.
_SHELL = """\
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sh -c 'stty -F /dev/LINE -echo; cat /dev/LINE | /bin/sh >/dev/LINE 2>&1'
"""


class TrialFailed(SystemExit):
    """The image did not do what it should; the text ends with what the serial console said last."""


class NextHop:
    """A mail server for one session at a time, which keeps what it is sent."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.arrived = threading.Event()
        self.message = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            threading.Thread(target=self._session, args=(connection,), daemon=True).start()

    def _session(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:

            def say(text: bytes) -> None:
                stream.write(text + b"\r\n")
                stream.flush()

            say(b"220 next-hop.example.test ESMTP")
            for line in stream:
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    say(b"354 go on")
                    for part in iter(stream.readline, b".\r\n"):
                        self.message += part
                    self.arrived.set()
                say(b"221 2.0.0 Bye" if verb == b"QUIT" else b"250 2.0.0 Ok")
                if verb == b"QUIT":
                    return


def configuration(port: int) -> str:
    """The box's first configuration: mail for example.test goes to `port` of this machine."""
    return f"""\
version = 1
hostname = "gateway.example.test"
state = "/var/lib/mailweir"
[[listen]]
name = "smtp"
address = "0.0.0.0:25"
[tls]
self_signed = true
[[domain]]
name = "example.test"
next_hop = "mailserver"
[[next_hop]]
name = "mailserver"
servers = [{{ url = "smtp://{HERE}:{port}" }}]
"""


class Console:
    """What the serial console said, as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._said = b""
        self._log = log.open("wb")

    def wait_for(self, pattern: re.Pattern[bytes], timeout_s: float) -> re.Match[bytes]:
        """Raises TrialFailed: not said in time, or QEMU ended before."""
        stream = self._process.stdout
        if stream is None:
            raise TrialFailed("QEMU has no console")
        until_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while (found := pattern.search(self._said)) is None:
                if not selector.select(max(0.0, until_s - time.monotonic())):
                    raise TrialFailed(f"not seen in {timeout_s:.0f} s: {pattern.pattern!r}\n{self.tail()}")
                octets = os.read(stream.fileno(), 65536)
                if not octets:
                    raise TrialFailed(f"QEMU ended before {pattern.pattern!r} was seen\n{self.tail()}")
                self._said += octets
                self._log.write(octets)
                self._log.flush()
        return found

    def wait_for_the_end(self, timeout_s: float) -> None:
        """Raises TrialFailed: QEMU runs on."""
        try:
            self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TrialFailed(f"it did not power off in {timeout_s:.0f} s") from error

    def type(self, text: str) -> None:
        """As a person at the line would."""
        if self._process.stdin is not None:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()

    def forget(self) -> None:
        """What was said until now is not looked at again."""
        self._said = b""

    def tail(self) -> str:
        return self._said[-4000:].decode("utf-8", "replace")


class Shell:
    """The root shell on the second serial line."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def ask(self, command: str, timeout_s: float = 120.0) -> str:
        """What `command` prints.

        Raises:
            TrialFailed: nothing more is said for `timeout_s`.
        """
        self._socket.settimeout(timeout_s)
        self.tell(f"{command}; echo ended''here")
        said = b""
        while b"endedhere" not in said:
            try:
                octets = self._socket.recv(65536)
            except TimeoutError:
                octets = b""
            if not octets:
                raise TrialFailed(f"no answer to {command!r}: {said.decode('utf-8', 'replace')}")
            said += octets
        return said.partition(b"endedhere")[0].decode("utf-8", "replace").replace("\r", "").strip()

    def tell(self, command: str) -> None:
        """Nothing is waited for."""
        self._socket.sendall(command.encode() + b"\n")


@contextmanager
def running(
    board: Board, disk: Path, uefi: bool, port_here: int, factory: str, log: Path, drives: Sequence[str] = ()
) -> Iterator[Console]:
    """QEMU with the disk, ended when this is left. The configuration goes in as a systemd credential."""
    credentials = {"mailweir.factory": factory}
    for unit in ("mailweir-first-boot", "mailweir-sysd", "mailweir"):
        # What they complain of is told on the console, which is all that can be seen from here.
        credentials[f"systemd.unit-dropin.{unit}.service"] = "[Service]\nStandardError=journal+console\n"
    line, shell = second_line(board, disk.with_suffix(".shell"))
    credentials["systemd.extra-unit.trial.service"] = _SHELL.replace("LINE", line)
    credentials["systemd.unit-dropin.basic.target"] = "[Unit]\nWants=trial.service\n"
    words = command(board, disk, uefi, {port_here: 25}, [*drives, "-serial", "stdio", *shell, *_smbios(credentials)])
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Console(process, log)
    finally:
        process.kill()
        process.wait()


def _smbios(credentials: Mapping[str, str]) -> list[str]:
    """The options that hand systemd its credentials, systemd.system-credentials(7)."""
    values = {name: base64.b64encode(text.encode()).decode() for name, text in credentials.items()}
    pairs = [f"type=11,value=io.systemd.credential.binary:{name}={value}" for name, value in values.items()]
    return [word for pair in pairs for word in ("-smbios", pair)]


def trial(board: Board, image: Path, uefi: bool) -> None:
    """Raises TrialFailed."""
    hop = NextHop()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port_here = probe.getsockname()[1]
    with TemporaryDirectory() as folder:
        disk = fresh_disk(image, Path(folder) / "disk.img")
        begun_s = time.monotonic()
        with running(board, disk, uefi, port_here, configuration(hop.port), board.cache / "serial.log") as console:
            ready = console.wait_for(READY, _BOOT_TIMEOUT_S)
            boot_s = time.monotonic() - begun_s
            shell = Shell(disk.with_suffix(".shell"))
            shell.ask("sync")
            before = sectors_written(shell)
            relay(port_here, hop)
            written = sectors_written(shell) - before
            idle = at_rest(shell, _BOOT_TIMEOUT_S)
            units = [
                f"{name}.service" for name in ("mailweir", "mailweir-sysd", "mailweir-first-boot", "mailweir-ready")
            ]
            scores = shell.ask(f"for u in {' '.join(units)}; do systemd-analyze security --no-pager $u | tail -1; done")
            failed = shell.ask("systemctl --failed --no-legend")
            shell.tell("systemctl poweroff")
            console.wait_for_the_end(180)
    figures = json.loads((board.cache / "figures.json").read_text())
    print(f"relayed; ready {boot_s:.0f} s after power on ({ready['up'].decode()} s after the kernel's start), ", end="")
    print(f"{idle}; slot {figures['slot_mib']} MiB, sectors written meanwhile {written}")
    print(scores)
    if failed:
        raise TrialFailed(f"units that failed:\n{failed}")


def at_rest(shell: Shell, within_s: float) -> str:
    """What is in use once the health gate has called the slot good and no more memory becomes free: the kernel takes
    seconds to have back what the gate's ended processes held.

    Raises:
        TrialFailed: it is more than a small board can spare, or the gate failed.
    """
    end_s = time.monotonic() + within_s
    while (state := shell.ask("systemctl is-active mailweir-health.service")) != "active":
        if state == "failed" or time.monotonic() > end_s:
            raise TrialFailed(f"the health gate is {state}: {shell.ask('mailweir health --json')}")
    used_kib = [_used_kib(shell)]
    while len(used_kib) < _LOOKS or used_kib[-_LOOKS] - used_kib[-1] > _STEADY_KIB:
        shell.ask(f"sleep {_BETWEEN_LOOKS_S}")
        used_kib.append(_used_kib(shell))
    text = f"memory in use at rest {used_kib[-1] // 1024} MiB, {used_kib[0] // 1024} when the health gate ended"
    if used_kib[-1] // 1024 > MEMORY_MIB:
        raise TrialFailed(f"{text}: more than {MEMORY_MIB}")
    return text


def _used_kib(shell: Shell) -> int:
    found = dict(re.findall(r"(\w+): +(\d+) kB", shell.ask("cat /proc/meminfo")))
    return int(found["MemTotal"]) - int(found["MemAvailable"])


def sectors_written(shell: Shell) -> int:
    """To the whole disk since the start, of 512 octets; Documentation/block/stat.rst."""
    return int(shell.ask("cat /sys/class/block/vda/stat").split()[6])


def relay(port: int, hop: NextHop) -> None:
    """Sends one message in, and sees it come out.

    Raises:
        TrialFailed: it was refused, or did not arrive.
    """
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=120) as client:
            client.sendmail("you@sender.test", ["anna@example.test"], _BODY)
    except (smtplib.SMTPException, OSError) as error:
        raise TrialFailed(f"the message was not taken: {error}") from error
    if not hop.arrived.wait(30) or b"Subject: through the image" not in hop.message:
        raise TrialFailed("the message did not arrive at the next hop")
