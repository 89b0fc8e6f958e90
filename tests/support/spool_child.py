"""A process that accepts messages as fast as it can, and says which it has acknowledged. Run by the crash tests.

    python -m tests.support.spool_child DIRECTORY

accepts one message for each line on standard input; `flood`, run in a process of its own, goes on until it is killed.
They say `ready`, then `+ID` once the message ID is durable, `?ID` before it is removed, `-ID` once the removal is
durable, `!CLASS` when a message was refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from appliance.config import schema
from appliance.core.address import parse_address
from appliance.core.envelope import Envelope, Recipient
from appliance.core.errors import GatewayError
from appliance.spool.meta import EntryMeta
from appliance.spool.spool import Spool

WRITERS = 20
CONFIG = schema.Spool(segment=schema.Size(1 << 20), quota=schema.Size(48 << 20), keep_free=schema.Size(0))


def octets_of(entry_id: str) -> bytes:
    """The message of this id; its size depends on the id too."""
    seed = hashlib.sha256(entry_id.encode()).digest()
    size = (0, 200, 4096, 4096, 4096, 20_000, 100_000, 300_000)[seed[0] % 8]
    return (seed * (size // 32 + 1))[:size]


class Child:
    """Messages in and out of one spool."""

    def __init__(self, directory: Path, seed: int, output_fd: int) -> None:
        self.output_fd = output_fd
        self.loop = asyncio.get_running_loop()
        self.spool = Spool(directory, CONFIG, loop_call_soon=self.loop.call_soon_threadsafe)
        self.chance = random.Random(seed)
        self.life = f"{seed:x}-{os.getpid()}"
        self.count = 0
        self.kept = [entry.id for entry in self.spool.open()]

    def say(self, line: str) -> None:
        # One write a line, past all buffers: what was said was said before the kill.
        os.write(self.output_fd, line.encode() + b"\n")

    def send(self, then: bool) -> None:
        """Sends a message, and another one when it is through if `then`."""
        self.count += 1
        entry_id = f"{self.life}-{self.count}"
        octets = octets_of(entry_id)

        def done(error: GatewayError | None) -> None:
            if error is None:
                self.say(f"+{entry_id}")
                self.kept.append(entry_id)
            else:
                self.say(f"!{type(error).__name__}")
            if then:
                self.remove_some()
                self.loop.call_later(0.0 if error is None else 0.02, self.send, True)

        try:
            draft = self.spool.begin(len(octets))
            for start in range(0, len(octets), 30_000):
                draft.write(octets[start : start + 30_000])
        except GatewayError as error:
            self.loop.call_soon(done, error)
            return
        envelope = Envelope(parse_address(b"a@example.org"), [Recipient(parse_address(b"b@example.test"))])
        draft.commit(EntryMeta(entry_id, envelope, 0.0, True), done)

    def remove_some(self) -> None:
        while self.kept and (len(self.kept) > 60 or self.chance.random() < 0.4):
            entry_id = self.kept.pop(self.chance.randrange(len(self.kept)))
            self.say(f"?{entry_id}")
            self.spool.remove(entry_id, partial(self.removed, entry_id) if self.chance.random() < 0.5 else None)

    def removed(self, entry_id: str, error: GatewayError | None) -> None:
        if error is None:
            self.say(f"-{entry_id}")


def flood(directory: Path, seed: int, output: Connection) -> None:
    """Accepts and removes messages until it is killed."""

    async def run() -> None:
        child = Child(directory, seed, output.fileno())
        child.say("ready")
        for _ in range(WRITERS):
            child.send(True)
        await asyncio.Event().wait()

    asyncio.run(run())


async def main() -> None:
    child = Child(Path(sys.argv[1]), 0, sys.stdout.fileno())
    child.say("ready")
    while await child.loop.run_in_executor(None, sys.stdin.readline):
        child.send(False)
    child.spool.close()


if __name__ == "__main__":
    asyncio.run(main())
