"""`image test` of a PC's image: its parts, each an emulated machine that keeps one core busy, beside each other.

Knows nothing of what they do. Called by the command line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from firmware.builder.trial import TrialFailed


def side_by_side(parts: Mapping[str, Sequence[str]]) -> None:
    """Runs `python -m firmware.builder` with the words of each part; their lines come out as `NAME: LINE`.

    One after the other where there is one core. A part that fails does not end the others.

    Raises:
        TrialFailed: parts failed; they are named.
    """
    failed: list[str] = []
    threads = [threading.Thread(target=_part, args=(name, words, failed)) for name, words in parts.items()]
    at_once = len(os.sched_getaffinity(0)) > 1
    for thread in threads:
        thread.start()
        if not at_once:
            thread.join()
    for thread in threads:
        thread.join()
    if failed:
        raise TrialFailed(f"failed: {', '.join(sorted(failed))}")


def _part(name: str, words: Sequence[str], failed: list[str]) -> None:
    command = [sys.executable, "-u", "-m", "firmware.builder", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{name}: {line}", end="", flush=True)
    if process.returncode:
        failed.append(name)
