"""The box under trial as a process: QEMU with two taps and a disk that can lose power, its serial console, its shell.

The shell is on a second serial line and comes in by a systemd credential, of this virtual machine alone: the image has
none. Called by `trial_user` and `trial_power`.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pexpect

from firmware.builder.flaky_disk import FlakyDisk
from firmware.builder.peers import NETWORKS
from firmware.builder.trial import Shell, TrialFailed

BOOT_S = float(os.environ.get("MAILWEIR_BOOT_TIMEOUT_S", "600"))
ANSWER_S = BOOT_S / 3
READY = re.compile(r"Mailweir is ready: (?P<greeting>[^;]*); up (?P<up>[\d.]+) s, memory in use (?P<used>\d+) MiB")
_MOST_ANSWERS = 60
_OVMF = Path("/usr/share/OVMF")
# systemd.system-credentials(7).
_CREDENTIALS = {
    "systemd.unit-dropin.basic.target": "[Unit]\nWants=trial.service\n",
    "systemd.extra-unit.trial.service": "[Unit]\nDefaultDependencies=no\n[Service]\n"
    "ExecStart=/bin/sh -c 'stty -F /dev/ttyS1 -echo; cat /dev/ttyS1 | /bin/sh >/dev/ttyS1 2>&1'\n",
}


@dataclass(slots=True)
class Machine:
    """A QEMU that runs."""

    console: Any
    """A `pexpect.spawn`."""
    shell_path: Path

    def shell(self) -> Shell:
        """The root shell; wait until systemd is up before."""
        return Shell(self.shell_path)

    def expect(self, pattern: str | re.Pattern[str], timeout_s: float = ANSWER_S) -> Any:
        """The match.

        Raises:
            TrialFailed: not said in time, or QEMU ended; the text ends with what was said last.
        """
        return self.expect_any([pattern], timeout_s)[1]

    def expect_any(self, patterns: Sequence[str | re.Pattern[str]], timeout_s: float = ANSWER_S) -> tuple[int, Any]:
        """Which of them came first, and its match. Raises as `expect`."""
        try:
            place = self.console.expect(list(patterns), timeout=timeout_s)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            what = "the end of QEMU" if isinstance(error, pexpect.EOF) else f"{timeout_s:.0f} s"
            last = str(self.console.before)[-3000:]
            raise TrialFailed(f"until {what} none of {patterns} was said\n{last}") from error
        return place, self.console.match

    def converse(self, answers: Mapping[str, str], until: str) -> None:
        """Types the answer to each question, whatever their order, until `until` is said.

        Raises:
            TrialFailed: as `expect`, or it asks for ever.
        """
        questions = [until, *answers]
        for _ in range(_MOST_ANSWERS):
            place, _ = self.expect_any(questions)
            if not place:
                return
            self.type(answers[questions[place]])
        raise TrialFailed(f"{_MOST_ANSWERS} answers, and {until!r} was not said")

    def type(self, text: str) -> None:
        """A line; returns when it was echoed, so that a question that is drawn again is not taken for a new one."""
        self.console.send(f"{text}\r")
        self.expect("\n")

    def wait_for_the_end(self, timeout_s: float) -> None:
        """Raises TrialFailed: it runs on."""
        try:
            self.console.expect(pexpect.EOF, timeout=timeout_s)
        except pexpect.TIMEOUT as error:
            raise TrialFailed(f"it did not power off in {timeout_s:.0f} s") from error

    def kill(self) -> None:
        """The power is gone."""
        with suppress(pexpect.ExceptionPexpect):
            self.console.close(force=True)


@contextmanager
def running(disk: FlakyDisk, log: TextIO, uefi: bool) -> Iterator[Machine]:
    """QEMU with `disk`, ended when this is left."""
    shell_path = disk.address.with_suffix(".shell")
    words = [*_words(disk.address), "-serial", "stdio", *_shell_words(shell_path)]
    words += _uefi_words(disk.address.parent) if uefi else []
    console = pexpect.spawn(
        "qemu-system-x86_64", words, timeout=BOOT_S, encoding="utf-8", codec_errors="replace",
        dimensions=(24, 80), echo=False,
    )  # fmt: skip
    console.delaybeforesend = None
    console.logfile_read = log
    machine = Machine(console, shell_path)
    try:
        yield machine
    finally:
        machine.kill()


def _uefi_words(folder: Path) -> list[str]:
    variables = folder / "uefi.vars"
    if not variables.exists():
        shutil.copy(_OVMF / "OVMF_VARS_4M.fd", variables)
    code = f"if=pflash,format=raw,readonly=on,file={_OVMF / 'OVMF_CODE_4M.fd'}"
    return ["-drive", code, "-drive", f"if=pflash,format=raw,file={variables}"]


def _shell_words(path: Path) -> list[str]:
    words = ["-serial", f"unix:{path},server=on,wait=off"]
    for name, text in _CREDENTIALS.items():
        value = base64.b64encode(text.encode()).decode()
        words += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={value}"]
    return words


def _words(disk: Path) -> list[str]:
    accelerator = "kvm" if os.environ.get("MAILWEIR_KVM") == "1" else "tcg"
    words = ["-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", "512", "-M", "q35", "-display", "none"]
    words += ["-global", "ICH9-LPC.noreboot=false"]  # its watchdog bites
    words += ["-monitor", "none", "-no-reboot", "-device", "virtio-rng-pci"]
    # Its cache is the disk's own: what the guest flushes is flushed there, the rest may be lost.
    words += ["-drive", f"file=nbd+unix:///?socket={disk},format=raw,if=virtio,cache=writeback"]
    for number, name in enumerate(NETWORKS, 1):
        words += ["-netdev", f"tap,id={name},ifname={name},script=no,downscript=no"]
        # No boot from the network, hence no ROM.
        words += ["-device", f"virtio-net-pci,romfile=,netdev={name},mac=52:54:00:00:00:{number:02}"]
    return words
