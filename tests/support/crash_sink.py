"""The next hop of a crash test: an SMTP and an LMTP server with moods, which tells the ledger what it takes.

It takes a message when it says 250 to it, and not otherwise; once in a while it says so to a connection that it then
cuts, as servers do that die between the two. Reports (from the null sender) are never refused for good, for then
nobody would hear of them. Knows nothing of the gateway.
"""

from __future__ import annotations

import asyncio
import enum
import random
import socket
from typing import NamedTuple

from tests.support.crash_ledger import Ledger

_END = b"\r\n.\r\n"


class Mood(NamedTuple):
    """How a sink feels: chances per step of the dialogue."""

    name: str
    listens: bool = True
    temporary: float = 0.0
    permanent: float = 0.0
    cut: float = 0.0


UP = Mood("up")
DOWN = Mood("down", listens=False)
MOODS = (
    UP,
    UP,
    DOWN,
    Mood("refusing", temporary=0.4),
    Mood("rejecting", permanent=0.3),
    Mood("dropping", cut=0.1),
    Mood("mixed", temporary=0.1, permanent=0.05, cut=0.03),
)


class _Fate(enum.Enum):
    GO_ON = 0
    TEMPORARY = 1
    PERMANENT = 2
    CUT = 3


class Sink:
    """One address, one protocol. `close` it on the loop it was opened on."""

    def __init__(self, ledger: Ledger, chance: random.Random, *, lmtp: bool) -> None:
        self.ledger = ledger
        self.chance = chance
        self.lmtp = lmtp
        self.mood = UP
        self.sessions: set[_SinkSession] = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = probe.getsockname()
        # Bound by number the port stays ours while we do not listen.
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self.port: int = address[1]
        self._listens = False
        self._tasks: set[asyncio.Task[object]] = set()

    def feel(self, mood: Mood) -> None:
        """From now on `mood`; a sink that goes down cuts what is open."""
        self.mood = mood
        loop = asyncio.get_running_loop()
        if mood.listens and not self._listens:
            self._socket.listen(512)
            loop.add_reader(self._socket, self._accept)
        elif not mood.listens and self._listens:
            loop.remove_reader(self._socket)
            self._socket.shutdown(socket.SHUT_RD)
            for session in list(self.sessions):
                session.cut()
        self._listens = mood.listens

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return  # gone already
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        task: asyncio.Task[object] = loop.create_task(
            loop.connect_accepted_socket(lambda: _SinkSession(self), connection)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        self.feel(Mood("closed", listens=False))
        self._socket.close()

    def fate(self) -> _Fate:
        mood, roll = self.mood, self.chance.random()
        for fate, share in (
            (_Fate.CUT, mood.cut),
            (_Fate.TEMPORARY, mood.temporary),
            (_Fate.PERMANENT, mood.permanent),
        ):
            if roll < share:
                return fate
            roll -= share
        return _Fate.GO_ON


class _SinkSession(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._transport: asyncio.Transport | None = None
        self._input = bytearray()
        self._in_body = False
        self._chunk_bytes = -1
        """Of the BDAT whose octets are awaited; negative: none."""
        self._searched = 0
        self._cut_after = 0
        self._begin()

    def _begin(self) -> None:
        self._sender: bytes | None = None
        self._recipients: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sink.sessions.add(self)
        if not self._sink.mood.listens:
            self.cut()
        else:
            self._step(b"220 sink.test ESMTP", permanent_too=False)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._sink.sessions.discard(self)

    def cut(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _say(self, *lines: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"\r\n".join(lines) + b"\r\n")

    def _step(self, positive: bytes, *, permanent_too: bool = True) -> bool:
        """Says what the mood wants; True if it was the positive answer."""
        fate = self._sink.fate()
        if fate is _Fate.CUT:
            self.cut()
        elif fate is _Fate.TEMPORARY:
            self._say(b"450 4.2.0 not now")
        elif fate is _Fate.PERMANENT and permanent_too and self._sender != b"":
            self._say(b"550 5.1.1 never")
        else:
            self._say(positive)
            return True
        return False

    def data_received(self, data: bytes) -> None:
        self._input += data
        while self._transport is not None and self._next():
            continue

    def _next(self) -> bool:
        """Works on what came; False if more is needed first."""
        if self._chunk_bytes >= 0:
            return self._chunk()
        return self._body() if self._in_body else self._line()

    def _line(self) -> bool:
        line, newline, rest = self._input.partition(b"\r\n")
        if not newline:
            return False
        self._input = rest
        verb = bytes(line[:4]).upper()
        if verb in (b"EHLO", b"LHLO"):
            chunking = [b"250-CHUNKING"] * self._sink.chance.randrange(2)
            self._say(
                b"250-sink.test", b"250-PIPELINING", b"250-8BITMIME", b"250-SIZE 100000000", *chunking, b"250 DSN"
            )
        elif verb == b"MAIL":
            self._begin()
            sender = bytes(line[line.index(b"<") + 1 : line.index(b">")])
            if self._step(b"250 2.1.0 Ok", permanent_too=bool(sender)):
                self._sender = sender
        elif verb == b"RCPT":
            self._recipient(bytes(line[line.index(b"<") + 1 : line.index(b">")]))
        elif verb == b"DATA":
            self._data()
        elif verb == b"BDAT":
            self._begin_chunk(line)
        elif verb == b"QUIT":
            self._say(b"221 2.0.0 Bye")
            if self._transport is not None:
                self._transport.close()
        else:
            self._begin()
            self._say(b"250 2.0.0 Ok")
        return True

    def _recipient(self, address: bytes) -> None:
        if self._sender is None:
            self._say(b"503 5.5.1 MAIL first")
        elif self._step(b"250 2.1.5 Ok"):
            self._recipients.append(0 if self._sender == b"" else int(address[1:2]))

    def _data(self) -> None:
        if not self._recipients:
            self._say(b"503 5.5.1 RCPT first")
        elif self._step(b"354 go on"):
            self._in_body = True
            self._input[:0] = b"\r\n"  # so that a dot at the start is found like any other
            self._searched = 0
            cuts = self._sink.chance.random() < self._sink.mood.cut
            self._cut_after = self._sink.chance.randrange(1, 300_000) if cuts else 0

    def _begin_chunk(self, line: bytearray) -> None:
        """RFC 3030 §2: the octets follow the command, whatever the answer will be."""
        assert line.endswith(b" LAST"), "this gateway sends each message as one chunk"
        self._chunk_bytes = int(line.split()[1])

    def _chunk(self) -> bool:
        if len(self._input) < self._chunk_bytes:
            return False
        content = bytes(self._input[: self._chunk_bytes])
        del self._input[: self._chunk_bytes]
        self._chunk_bytes = -1
        if self._recipients:
            self._sink.ledger.counts["chunks"] += 1
            self._take_for_all(content)
        else:
            self._say(b"503 5.5.1 RCPT first")
        return True

    def _body(self) -> bool:
        end = self._input.find(_END, self._searched)
        if self._cut_after and len(self._input) > self._cut_after:
            self.cut()
            return False
        if end < 0:
            self._searched = max(0, len(self._input) - len(_END))
            return False
        content = bytes(self._input[: end + 2]).replace(b"\r\n..", b"\r\n.")[2:]
        del self._input[: end + len(_END)]
        self._in_body = False
        self._take_for_all(content)
        return True

    def _take_for_all(self, content: bytes) -> None:
        groups = [[r] for r in self._recipients] if self._sink.lmtp else [self._recipients]
        for group in groups:
            self._take(content, group)
        self._begin()

    def _take(self, content: bytes, recipients: list[int]) -> None:
        ledger, sink = self._sink.ledger, self._sink
        fate = sink.fate()
        if fate is _Fate.TEMPORARY:
            self._say(b"451 4.3.0 not now")
        elif fate is _Fate.PERMANENT and self._sender != b"":
            self._say(b"554 5.6.0 never")
        elif fate is _Fate.CUT and sink.chance.random() < 0.5:
            self.cut()  # and keeps nothing
        elif self._sender == b"":
            ledger.returned(content)
        else:
            ledger.arrived(content, sum(1 << recipient for recipient in set(recipients)))
        if fate is _Fate.CUT:
            self.cut()  # it has the message, but the gateway will not know
        elif fate is _Fate.GO_ON or (fate is _Fate.PERMANENT and self._sender == b""):
            self._say(b"250 2.0.0 taken")
