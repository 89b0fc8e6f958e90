"""Haraka with its `queue/smtp_forward` plugin, from npm into the cache; node's default single process.

Some registries lack the newest of its dependencies' dependencies, so two are pinned. Called by `peers`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.bench.service import Service
from tests.bench.toolchain import CACHE, MissingTool, need_program

_PACKAGE = {
    "private": True,
    "dependencies": {"Haraka": "3.1.1"},
    "overrides": {"encoding-japanese": "2.2.0", "libqp": "2.1.1"},
}
_INSTALL_TIMEOUT_S = 300


class Haraka(Service):
    name = "haraka"

    def launch(self) -> None:
        node = need_program("node", "nodejs")
        program = _install()
        configuration = self.place.folder / "config"
        configuration.mkdir()
        files = {
            "smtp.ini": f"listen=127.0.0.1:{self.port}\n",
            "me": "haraka.bench.example\n",
            "host_list": "example.test\n",
            "plugins": "rcpt_to.in_host_list\nqueue/smtp_forward\n" + ("tls\n" if self.place.tls else ""),
            "smtp_forward.ini": f"host=127.0.0.1\nport={self.place.next_hop_port}\n",
            "connection.ini": _raise_size_limit((program.parents[1] / "config/connection.ini").read_text()),
            "log.ini": "[main]\nlevel=warn\n",
        }
        for name, text in files.items():
            (configuration / name).write_text(text)
        if self.place.tls:
            (configuration / "tls.ini").write_text(f"key={self.place.key}\ncert={self.place.certificate}\n")
        self.household.spawn([node, program, "-c", self.place.folder], self.log)


def _raise_size_limit(packaged: str) -> str:
    # A file of ours replaces the packaged one whole, and the program fails without the rest of it.
    return packaged.replace("bytes=26214400", "bytes=104857600")


def _install() -> Path:
    """Haraka's program, installed once."""
    folder = CACHE / "haraka"
    program = folder / "node_modules/Haraka/bin/haraka"
    if program.exists():
        return program
    npm = need_program("npm", "npm")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps(_PACKAGE))
    command: list[str | Path] = [npm, "install", "--no-audit", "--no-fund", "--omit=dev", "--omit=optional"]
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALL_TIMEOUT_S,
    )
    if done.returncode or not program.exists():
        raise MissingTool(f"Haraka cannot be installed: {done.stderr.strip()[-300:]}")
    return program
