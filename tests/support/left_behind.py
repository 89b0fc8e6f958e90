"""What a release leaves on the disk: made by `python -m tests.support.left_behind` once a release, read for ever after.

A state directory with a message in the queue and one in the records, and a store with two revisions of a configuration,
as `tests/data/left-by-VERSION.tar.xz`. Made with the package of that release.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from appliance import __version__
from tests.support.client import Client
from tests.support.gateway import Gateway, toml
from tests.support.sink import Sink
from tests.support.sysd_of_console import SysdOfConsole

DATA = Path(__file__).parents[1] / "data"
WAITING = b"From: <a@example.test>\r\nSubject: left behind\r\n\r\n.with a dot\r\n" + b"and a line\r\n" * 200
# Nothing of it grows old: no message is given up, or has its sender warned, and no record is forgotten.
FOR_EVER = {
    "queue": {"lifetime": "3650d", "warn_after": "0s", "retry": ["500ms"]},
    "tracking": {"keep": "3650d"},
}
NAMES = ("first.example.test", "second.example.test")


def left_by(version: str) -> Path:
    """The archive of a release."""
    return DATA / f"left-by-{version}.tar.xz"


def unpack(archive: Path, folder: Path) -> tuple[Path, Path]:
    """The state directory and the store in it."""
    with tarfile.open(archive) as source:
        # Debian 12's Python knows no filters yet, and later ones take this one by default.
        source.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder / "state", folder / "store"


def make(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as name, tarfile.open(archive, "w:xz") as out:
        for path, place in ((_state(), "state"), (_store(Path(name)), "store")):
            out.add(path, place, filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isreg() or member.isdir() or member.issym() else None


def _state() -> Path:
    with Sink() as sink, Gateway([sink.url], FOR_EVER) as gateway:
        for up, body in ((True, b"Subject: delivered\r\n\r\nbody\r\n"), (False, WAITING)):
            if not up:
                sink.stop()
            with Client(gateway.port) as client:
                client.hello()
                assert client.message("a@example.test", "b@example.test", body).code == 250
        gateway.stop()
        kept = Path(tempfile.mkdtemp(prefix="mw-left-"))
        gateway.state.rename(kept / "state")
        return kept / "state"


def _store(folder: Path) -> Path:
    text = "version = 1\n" + toml(Gateway().config).replace("gateway.example.test", NAMES[0])
    sysd = SysdOfConsole(folder, text)
    sysd.start()
    try:
        client = sysd.client
        proposed = client.propose(text.replace(NAMES[0], NAMES[1]), "another name")
        client.commit(proposed.revision)
        client.confirm()
    finally:
        sysd.kill()
    return sysd.store


if __name__ == "__main__":
    make(left_by(__version__))
