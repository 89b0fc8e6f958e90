"""A gateway as processes that are to be killed: supervisor and workers, in a process group that nobody else is in."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from appliance.config import schema
from appliance.config.state import tracking_file
from appliance.control.client import ask_async
from appliance.control.protocol import ControlError, worker_socket
from appliance.daemon.mtad import leftover_spools
from appliance.spool.spool import Spool
from tests.support.conditions import free_port, is_alive
from tests.support.package import ROOT, package_environment

BIRTH_S = 0.2
"""About as long as a worker takes from its fork to its first session."""
_CONFIGURATION = """\
hostname = "gateway.test"
state = "{folder}/state"
workers.count = {workers}

[[listen]]
name = "smtp"
address = "127.0.0.1:{port}"

[[next_hop]]
name = "smtp"
servers = [{{ url = "smtp://127.0.0.1:{smtp_port}" }}]
tls = "none"
connections = 50
acquire_timeout = "5s"
breaker_reset = "200ms"

[[next_hop]]
name = "lmtp"
servers = [{{ url = "lmtp://127.0.0.1:{lmtp_port}" }}]
tls = "none"
connections = 50
acquire_timeout = "5s"
breaker_reset = "200ms"

[[domain]]
name = "smtp.test"
next_hop = "smtp"

[[domain]]
name = "back.test"
next_hop = "smtp"

[[domain]]
name = "lmtp.test"
next_hop = "lmtp"

[limits]
sessions_per_address = 5000
sessions_per_minute = 100000000
messages_per_minute = 100000000
recipients_per_minute = 100000000

[delivery]
hold_window = "64KiB"
{delivery}

[queue]
retry = [{retry}]
destinations = 20
{queue}

[timeouts]
drain = "2s"

[spool]
segment = "1MiB"
keep_free = "1MiB"

[tracking]
enabled = {tracking}

[metrics]
address = ""

[log]
to = "{folder}/events.log"
level = "{log_level}"
{more}
"""


class Gateway:
    """Runs from `start` to `stop`, or to `kill_all` and the next `start`."""

    def __init__(
        self,
        folder: Path,
        *,
        smtp_port: int,
        lmtp_port: int,
        delivery: str = "",
        retry: str = '"300ms"',
        queue: str = "",
        more: str = "",
        workers: int = 2,
        tracking: bool = False,
        log_level: str = "info",
    ) -> None:
        """`delivery`, `queue` and `more` are lines for the configuration: of these tables, and at its end."""
        self.folder = folder
        self.workers = workers
        """Of the next `start`."""
        self.port = free_port()
        self.file = folder / "mailweir.toml"
        self._settings = {
            "folder": folder,
            "port": self.port,
            "smtp_port": smtp_port,
            "lmtp_port": lmtp_port,
            "delivery": delivery,
            "retry": retry,
            "queue": queue,
            "more": more,
            "tracking": str(tracking).lower(),
            "log_level": log_level,
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when every worker answers."""
        self.file.write_text(_CONFIGURATION.format(workers=self.workers, **self._settings))
        with open(self.folder / "errors.log", "ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "appliance.cli.main", "run", "--config", str(self.file)],
                cwd=ROOT,
                env={**package_environment(), "MAILWEIR_RESTART_PAUSE_S": "0.01"},
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        await self.queued()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """By their names: a reload has a child as well, in whose place nobody comes."""
        pid = self.pid
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [child for child in children if _name_of(child).startswith("mailweir-")]

    def kill_worker(self, chance: random.Random) -> bool:
        """SIGKILL to one worker; False if there is none just now."""
        assert self._process is not None and self._process.poll() is None, self.errors()
        pids = self.worker_pids()
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
        return True

    async def kill_newborn(self, older: list[int], chance: random.Random) -> None:
        """SIGKILL to the worker that takes the place of one of `older`, while it starts or soon after."""
        while not (young := set(self.worker_pids()).difference(older)):
            await asyncio.sleep(0.001)
        await asyncio.sleep(chance.random() * BIRTH_S)
        with suppress(ProcessLookupError):
            os.kill(young.pop(), signal.SIGKILL)

    def kill_all(self) -> None:
        """SIGKILL to supervisor and workers at one time."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    async def kill_supervisor(self) -> None:
        """SIGKILL to the supervisor alone; returns when its workers have noticed and drained."""
        assert self._process is not None
        orphans = self.worker_pids()
        self._process.kill()
        self._process.wait()
        while any(map(is_alive, orphans)):
            await asyncio.sleep(0.01)

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def drain(self) -> None:
        """SIGTERM, without waiting for the end."""
        assert self._process is not None
        self._process.terminate()

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        process = self._process
        assert process is not None
        process.terminate()
        return await asyncio.to_thread(process.wait, 60)

    def end(self) -> None:
        """Leaves nothing behind, whatever happened."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def leftovers(self) -> list[int]:
        """Spools of former workers that are not empty yet."""
        return leftover_spools(self.folder / "state", self.workers)

    def spooled(self) -> list[str]:
        """Ids of what lies in all spools; to be asked when it is stopped."""
        found = []
        for directory in (self.folder / "state" / "spool").iterdir():
            spool = Spool(directory, schema.Spool(), loop_call_soon=lambda call: None)
            found += [entry.id for entry in spool.open()]
            spool.close()
        return found

    def tracked(self) -> int:
        """Messages that tracking knows of; fails unless its file is sound."""
        with closing(sqlite3.connect(tracking_file(str(self.folder / "state")))) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return int(db.execute("SELECT count(*) FROM message").fetchone()[0])

    async def queued(self) -> int:
        """Messages in the queues of all workers, but those of leftovers; waits for workers that are about to start."""
        return sum([answer["total"] for answer in await self._ask("queue.list", {"limit": 0})])

    async def some_queued(self, limit: int = 3) -> list[dict[str, Any]]:
        """Some messages of each queue, as `mailweir queue list` tells them."""
        return [entry for answer in await self._ask("queue.list", {"limit": limit}) for entry in answer["entries"]]

    async def release_held(self) -> int:
        """Lets go of what rules hold; how many messages."""
        held = [entry["id"] for entry in await self.some_queued(10_000) if entry["state"] == "held"]
        return sum([len(answer["done"]) for answer in await self._ask("queue.release", {"ids": held})]) if held else 0

    async def _ask(self, request: str, args: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers of all workers, and of those leftovers that answer."""
        answers = []
        for number in (*range(self.workers), *self.leftovers()):
            path = worker_socket(str(self.folder / "state"), number)
            while True:
                assert self._process is not None and self._process.poll() is None, self.errors()
                try:
                    answers.append(await ask_async(path, request, args))
                    break
                except ControlError:
                    if number >= self.workers:
                        break  # it is about to start, or to end
                    await asyncio.sleep(0.01)
        return answers

    def errors(self) -> str:
        """What the processes wrote on their standard error, kills left out."""
        lines = (self.folder / "errors.log").read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if "ended with status -9" not in line])[-4000:]

    def events(self) -> Counter[str]:
        """Log lines by kind; accepted messages by path as `path:NAME`, exceptions that nobody expected as `defect`."""
        counts: Counter[str] = Counter()
        with open(self.folder / "events.log", "rb") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    counts["torn line"] += 1
                    continue
                counts["defect" if "trace" in event else event["event"]] += 1
                if event["event"] == "message" and event["action"] == "accept":
                    counts[f"path:{event['path']}"] += 1
        return counts


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""  # it has just ended
