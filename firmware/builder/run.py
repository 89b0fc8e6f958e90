"""Runs the tools that do the work, at low priority, and says in one sentence which of them failed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# Tools live in sbin, which is not on the path of ordinary users.
_PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
SOURCE_DATE_EPOCH = 1_790_000_000
"""Seconds since 1970 that all files of an image carry, unless the environment says otherwise."""


def epoch_s() -> int:
    """The time that goes into the image."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH))


def run(*command: str | Path, cwd: Path | None = None, input_: bytes = b"", env: Mapping[str, str] = {}) -> bytes:
    """What `command` prints.

    Raises:
        SystemExit: it failed; what it said on stderr is in the text.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, "PATH": _PATH, "LC_ALL": "C", "SOURCE_DATE_EPOCH": str(epoch_s()), **env}
    try:
        done = subprocess.run(words, cwd=cwd, input=input_, capture_output=True, env=environment, check=False)
    except FileNotFoundError as error:
        raise SystemExit(f"{words[0]} is not there; `scripts/image build` installs what it needs") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        raise SystemExit(f"{' '.join(words)[:300]}: status {done.returncode}\n{said[-4000:]}")
    return done.stdout


@contextmanager
def step(text: str) -> Iterator[None]:
    """Tells that something is under way, and how long it took."""
    print(f"{text} ...", end=" ", flush=True, file=sys.stderr)
    begun_s = time.monotonic()
    yield
    print(f"{time.monotonic() - begun_s:.1f} s", flush=True, file=sys.stderr)


def words(items: Sequence[str]) -> str:
    """A list as the tools want it."""
    return ",".join(items)
