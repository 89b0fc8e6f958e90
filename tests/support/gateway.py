"""A real gateway process on loopback ports: started, waited for, looked into, and stopped with a clean exit.

The configuration is a dictionary laid over one that suits tests: one worker, short retries, small segments. Used by
the dialogue and system tests; several gateways may run at one time.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from appliance.control.client import ask
from appliance.control.protocol import worker_sockets
from appliance.intake.users import hashed
from appliance.intake.users_file import User, edited
from tests.support.conditions import free_port, is_alive, until
from tests.support.package import ROOT, package_environment

LOGIN, PASSWORD = "anna@example.test", "correct horse battery"

Table = Mapping[str, Any]


def _base(folder: Path, port: int, metrics_port: int, servers: Sequence[str]) -> dict[str, Any]:
    return {
        "hostname": "gateway.example.test",
        "state": str(folder / "state"),
        "listen": [{"name": "smtp", "address": f"127.0.0.1:{port}"}],
        "workers": {"count": 1},
        "limits": {"sessions_per_minute": 100_000, "sessions_per_address": 1_000, "messages_per_minute": 100_000},
        "timeouts": {"drain": "2s"},
        "domain": [{"name": "example.test", "next_hop": "hop"}],
        "next_hop": [
            {
                "name": "hop",
                "servers": [{"url": url} for url in servers] or [{"url": "smtp://127.0.0.1:9"}],
                "tls": "none",
                "breaker_reset": "200ms",
            }
        ],
        "queue": {"retry": ["500ms"]},
        "spool": {"segment": "1MiB", "quota": "256MiB", "keep_free": "1MiB"},
        "metrics": {"address": f"127.0.0.1:{metrics_port}"},
        "log": {"to": str(folder / "log")},
    }


class Gateway:
    """`with Gateway([sink.url], {"delivery": {"path": "wire"}}) as gateway:` runs one for the length of the block."""

    def __init__(
        self, servers: Sequence[str] = (), more: Table | None = None, *, submission: bool = False, tls: bool = False
    ) -> None:
        """`servers` are those of the next hop of example.test; `more` goes over the configuration, lists replace lists.

        `submission` opens ports 587 and 465 for LOGIN, and brings `tls`, a self-made certificate.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="mw-"))
        self.port, self.submission_port, self.submissions_port, self.metrics_port = (free_port() for _ in range(4))
        config = _base(self.folder, self.port, self.metrics_port, servers)
        if tls or submission:
            config["tls"] = {"self_signed": True}
        if submission:
            self._add_submission(config)
        self.config = _merged(config, more or {})
        self.config_file = self.folder / "mailweir.toml"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def _add_submission(self, config: dict[str, Any]) -> None:
        users = self.folder / "users.toml"
        with edited(str(users)) as logins:
            logins[LOGIN] = User(name=LOGIN, hash=hashed(PASSWORD))
        config["submission"] = {"users_file": str(users)}
        for kind, port in (("submission", self.submission_port), ("submissions", self.submissions_port)):
            config["listen"].append({"name": kind, "address": f"127.0.0.1:{port}", "kind": kind})

    # -- life

    def __enter__(self) -> Self:
        self.folder.chmod(0o755)
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.kill()
            print(f"log of the gateway in {self.folder}:\n{self._log_tail()}")
            return
        if self._process is not None:
            self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Returns when all workers are ready. May be called again after `stop` or `kill`, with a changed `config`."""
        self.write_config()
        known = len(self.events("worker_ready"))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "appliance.cli.main", "run", "--config", str(self.config_file)],
            cwd=ROOT,
            env=package_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("ab"),
        )
        process, wanted = self._process, known + int(self.config["workers"]["count"])

        def ready() -> bool:
            assert process.poll() is None, f"the gateway ended with {process.returncode}: {self._log_tail()}"
            return len(self.events("worker_ready")) >= wanted

        until(ready, "workers to be ready")

    def write_config(self) -> None:
        self.config_file.write_text(toml(self.config))

    def stop(self) -> None:
        """SIGTERM; fails unless the gateway drains and ends with status 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout=30)
        self._process = None
        assert status == 0, f"exit status {status}: {self._log_tail()}"

    def kill(self) -> None:
        """SIGKILL for supervisor and workers, as a power cut would end them. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        # The supervisor first, or it would start the workers again.
        pids = _children(process.pid)
        process.kill()
        process.wait()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            until(lambda pid=pid: not is_alive(pid), f"process {pid} to end")

    def signal(self, signum: int) -> None:
        """To the supervisor."""
        assert self._process is not None
        self._process.send_signal(signum)

    def reload(self) -> None:
        """Writes `config` anew and sends SIGHUP; returns when the workers have taken it or refused it."""
        assert self._process is not None
        before = len(self.events("reloaded")) + len(self.events("reload_refused"))
        self.write_config()
        self.signal(signal.SIGHUP)
        until(lambda: len(self.events("reloaded")) + len(self.events("reload_refused")) > before, "the reload")

    @property
    def worker_pids(self) -> list[int]:
        """Of the workers started last."""
        count = int(self.config["workers"]["count"])
        return [int(event["pid"]) for event in self.events("worker_ready")[-count:]]

    def children(self) -> list[int]:
        """Processes of the workers that there are just now."""
        assert self._process is not None
        return _children(self._process.pid)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def resident_bytes(self) -> int:
        """Memory of all workers."""
        total = 0
        for pid in self.worker_pids:
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            total += int(found[1]) * 1024 if found else 0
        return total

    # -- what it tells

    @property
    def state(self) -> Path:
        return Path(self.config["state"])

    def events(self, name: str = "", **fields: object) -> list[dict[str, Any]]:
        """The log's events so far, those called `name` and with these fields."""
        path = self.folder / "log"
        lines = path.read_bytes().splitlines() if path.exists() else []
        events = []
        for line in lines:
            if name and f'"event":"{name}"'.encode() not in line:
                continue
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the end of the file is just being written
            if all(event.get(key) == value for key, value in fields.items()):
                events.append(event)
        return events

    def wait_for_event(self, name: str, **fields: object) -> dict[str, Any]:
        """The first event of that kind, waited for."""
        return until(lambda: self.events(name, **fields), f"event {name} {fields}")[0]

    def metrics(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name: str, label: str = "") -> float:
        """The sum of all samples called `name` whose labels contain `label`."""
        total = 0.0
        for line in self.metrics().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and label in sample:
                total += float(value)
        return total

    def cli(self, *arguments: str, status: int | None = 0) -> Any:
        """What `mailweir ARGUMENTS --json` prints; fails unless it ends with `status`, None for any."""
        done = subprocess.run(
            [sys.executable, "-m", "appliance.cli.main", *arguments, "--json", "--config", str(self.config_file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert status is None or done.returncode == status, f"status {done.returncode}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def ask(self, request: str, *ids: str) -> dict[str, Any]:
        """The answers of all workers to a request of the control socket; lists in them are joined."""
        joined: dict[str, Any] = {}
        for path in worker_sockets(str(self.state)):
            for key, value in ask(path, request, {"ids": list(ids)} if ids else {}).items():
                joined[key] = joined[key] + value if key in joined else value
        return joined

    def queue(self) -> list[dict[str, Any]]:
        """The messages in the queue, as `mailweir queue list` tells of them."""
        entries: list[dict[str, Any]] = self.ask("queue.list")["entries"]
        return entries

    def _log_tail(self) -> str:
        texts = []
        for name in ("stderr", "log"):
            path = self.folder / name
            texts.append(path.read_text(errors="replace")[-4000:] if path.exists() else "")
        return "\n".join(texts)


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in children.read_text().split()] if children.exists() else []


def _merged(base: Table, more: Table) -> dict[str, Any]:
    merged = dict(base)
    for key, value in more.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def toml(config: Table) -> str:
    """A configuration file; tables below the first level are written inline."""
    lines = [f"{key} = {_value(value)}" for key, value in config.items() if not _is_table(value)]
    for key, value in config.items():
        if isinstance(value, Mapping):
            lines += [f"\n[{key}]", *(f"{name} = {_value(inner)}" for name, inner in value.items())]
        elif _is_table(value):
            for table in value:
                lines += [f"\n[[{key}]]", *(f"{name} = {_value(inner)}" for name, inner in table.items())]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
    )


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
