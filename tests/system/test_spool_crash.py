"""Real processes on a real file system: killed at random, and with a disk that fails and recovers.

`MAILWEIR_KILLS` says how many kills.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.spool.spool import Spool
from tests.support.spool_child import CONFIG, flood, octets_of

KILLS = int(os.environ.get("MAILWEIR_KILLS", "200"))
SOURCE = Path(__file__).parent.parent / "support" / "faulty_disk.c"
ROOT = Path(__file__).parent.parent.parent
NURSERY = multiprocessing.get_context("forkserver")  # a process is born there in milliseconds
NURSERY.set_forkserver_preload(["tests.support.spool_child"])


class Ledger:
    """What the processes said, over all their lives."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.gone: set[str] = set()
        self.acknowledged = 0

    def note(self, line: str) -> None:
        entry_id = line[1:]
        if line[0] == "+":
            self.kept.add(entry_id)
            self.acknowledged += 1
        elif line[0] == "?":
            self.kept.discard(entry_id)
        elif line[0] == "-":
            self.kept.discard(entry_id)
            self.gone.add(entry_id)

    def check(self, directory: Path) -> None:
        spool = Spool(directory, CONFIG, loop_call_soon=lambda call: None)
        found = {entry.id for entry in spool.open()}
        try:
            assert self.kept <= found, f"acknowledged and lost: {self.kept - found}"
            assert not self.gone & found, f"removed and back: {self.gone & found}"
            for entry_id in found:
                with spool.read(entry_id) as reading:
                    digest = hashlib.sha256(b"".join(reading.chunks())).digest()
                assert digest == hashlib.sha256(octets_of(entry_id)).digest(), entry_id
        finally:
            spool.close()
        # Whose removal was under way may be back; then it is kept again.
        self.kept = set(found)


def live_and_die(directory: Path, seed: int, messages_until_death: int, ledger: Ledger) -> None:
    """One life of the process: killed when it has acknowledged so many messages, wherever it is then."""
    hearing, saying = NURSERY.Pipe(duplex=False)
    process = NURSERY.Process(target=flood, args=(directory, seed, saying))
    process.start()
    saying.close()
    said = b""
    while said.count(b"\n+") < messages_until_death:
        some = os.read(hearing.fileno(), 4096)
        assert some, f"died by itself: {process.exitcode}"
        said += some
    process.kill()
    while some := os.read(hearing.fileno(), 65_536):
        said += some
    hearing.close()
    process.join()
    for line in said.decode().splitlines()[1:]:
        ledger.note(line)


def test_kill_loses_nothing_acknowledged_and_brings_nothing_removed_back(tmp_path: Path) -> None:
    ledger = Ledger()
    chance = random.Random(20)
    for seed in range(KILLS):
        live_and_die(tmp_path / "0", seed, chance.choice((0, 1, 5, 20, 60)) + chance.randrange(10), ledger)
        if seed % 5 == 4 or seed == KILLS - 1:
            ledger.check(tmp_path / "0")
    assert ledger.acknowledged > 5 * KILLS


class Patient:
    """A running process whose disk can be broken and mended."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        assert compiler, "a C compiler is needed"
        library = directory / "faulty_disk.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        self.control = directory / "control"
        self.spool = directory / "spool" / "0"
        faults = {
            "LD_PRELOAD": str(library),
            "FAULTY_DISK_CONTROL": str(self.control),
            "FAULTY_DISK_ROOT": str(directory / "spool"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.spool_child", str(self.spool)],
            cwd=ROOT,
            env={**os.environ, **faults},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode().strip()
        assert line, f"died: {self.process.wait()}"
        return line

    def ask(self) -> str:
        """Has it accept a message; its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        while (line := self.line())[0] == "?":
            pass
        return line

    def ask_until_accepted(self) -> str:
        while (answer := self.ask())[0] != "+":
            assert answer.startswith("!Spool")
        return answer

    def end(self) -> set[str]:
        """Closes it; what the next process finds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()
        spool = Spool(self.spool, CONFIG, loop_call_soon=lambda call: None)
        found = {entry.id for entry in spool.open()}
        spool.close()
        return found


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [("eio-sync", "!SpoolTrouble"), ("enospc", "!SpoolFull"), ("erofs", "!SpoolTrouble")],
)
def test_a_failing_disk_refuses_mail_and_a_mended_one_takes_it_without_a_restart(
    tmp_path: Path, fault: str, refusal: str
) -> None:
    patient = Patient(tmp_path)
    accepted = {patient.ask_until_accepted()[1:] for _ in range(20)}
    patient.control.write_text(fault)
    assert {patient.ask() for _ in range(30)} == {refusal}
    patient.control.unlink()
    accepted |= {patient.ask_until_accepted()[1:] for _ in range(20)}
    assert patient.end() == accepted
