"""The `clamd` scanner: INSTREAM to clamd over a Unix socket or TCP, while the message arrives.

One connection a message, opened at its first octets. clamd gets the message with dot-stuffing undone, in chunks with
their length before them; each feed is copied once, into the transport, for the view is not ours to keep. What clamd
has not taken is bounded by `buffer` and one feed; beyond that the client is slowed. Whatever goes wrong with clamd
becomes one finding with `trouble`, whose rule says what: `unreachable`, `connect-timeout`, `stalled`, `timeout`,
`closed-early`, `error`, `garbled`, `max-size`. Knows nothing of verdicts. Built by `scan.build`; runs on asyncio's
and uvloop's loops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from appliance.config import schema
from appliance.core.errors import ConfigError
from appliance.core.verdict import FailPolicy, Finding
from appliance.scan.contract import Done, Findings, Scan
from appliance.scan.unstuff import Unstuffer

NAME = "clamd"
_BEGIN = b"zINSTREAM\0"
_END = b"\0\0\0\0"
_MAX_ANSWER_OCTETS = 4096


class ClamdScanner:
    """The settings and the address, checked. Scans keep their own connections."""

    __slots__ = ("_host", "_path", "_port", "fail", "name", "settings", "waited")

    def __init__(self, settings: schema.Clamd, waited: Callable[[float], None] = lambda seconds: None) -> None:
        """Takes `[scan.clamd]`; `waited` is told the seconds from the end of each message to clamd's answer.

        Raises:
            ConfigError: the address is neither `unix:/path` nor `tcp:host:port`.
        """
        self.name = NAME
        self.fail: FailPolicy = settings.fail
        self.settings = settings
        self.waited = waited
        self._path = self._host = ""
        self._port = 0
        kind, _, place = settings.address.partition(":")
        host, _, port = place.rpartition(":")
        if kind == "unix" and place:
            self._path = place
        elif kind == "tcp" and host and port.isdecimal() and 0 < int(port) < 65536:
            self._host, self._port = host.strip("[]"), int(port)
        else:
            raise ConfigError(f"scan.clamd.address: {settings.address!r}; write unix:/path or tcp:host:port")

    def begin(self, *, dotted: bool, on_drained: Callable[[], None]) -> Scan:
        """A scan; clamd hears of it at the first feed."""
        return _ClamdScan(self, dotted, on_drained)

    async def close(self) -> None:
        """Nothing to give back; scans under way end by themselves or by their budgets."""

    async def connect(self, protocol: asyncio.Protocol) -> None:
        """Connects `protocol`.

        Raises:
            OSError: clamd does not listen, or the name does not resolve.
        """
        loop = asyncio.get_running_loop()
        if self._path:
            await loop.create_unix_connection(lambda: protocol, self._path)
        else:
            await loop.create_connection(lambda: protocol, self._host, self._port)


class _ClamdScan(asyncio.Protocol):
    """One message, one connection. `_result` is set once, and everything is over then."""

    __slots__ = (
        "_answer", "_connect_timer", "_connecting", "_cut", "_done", "_ended_s", "_full", "_loop", "_on_drained",
        "_paused", "_pending", "_pending_octets", "_result", "_scanner", "_sent_octets", "_timer", "_transport",
        "_unstuffer",
    )  # fmt: skip

    def __init__(self, scanner: ClamdScanner, dotted: bool, on_drained: Callable[[], None]) -> None:
        self._scanner = scanner
        self._on_drained = on_drained
        self._unstuffer = Unstuffer() if dotted else None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connect_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pending: list[bytes] = [_BEGIN]
        self._pending_octets = 0
        self._sent_octets = 0
        self._paused = False
        self._full = False
        self._cut = False
        self._answer = b""
        self._result: Findings | None = None
        self._done: Done | None = None
        self._ended_s = 0.0

    # The scan

    def feed(self, view: memoryview) -> bool:
        """Copies `view` on its way to clamd; False while clamd is more than `buffer` behind."""
        room = self._scanner.settings.max_size - self._sent_octets
        if self._result is not None or self._cut:
            return not self._full
        pieces = [view] if self._unstuffer is None else self._unstuffer.feed(view)
        size = sum(map(len, pieces))
        if size > room:
            self._cut = True
            pieces, size = [memoryview(b"".join(pieces))[:room]], room
        if size:
            self._sent_octets += size
            self._write(b"".join((size.to_bytes(4, "big"), *pieces)))
        if self._paused and not self._full:
            self._full = True
            self._arm("stalled", "clamd takes no more octets")
        return not self._full

    def finish(self, done: Done) -> None:
        """Ends the stream; `done` is called when clamd has answered or `budget` is over."""
        if self._result is None and self._connecting is None:
            self._result = ()  # an empty message: nothing to ask
        if self._result is not None:
            done(self._result)
            return
        self._done = done
        self._ended_s = self._loop.time()
        self._full = False  # the caller has nothing more to feed, so nobody waits for on_drained
        self._write(_END)
        self._arm("timeout", "no answer within the budget")

    def abort(self) -> None:
        """Drops the connection; clamd forgets the message."""
        self._done = None
        self._full = False
        self._conclude(())

    def _write(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)
            return
        self._pending.append(octets)
        self._pending_octets += len(octets)
        self._paused = self._pending_octets > self._scanner.settings.buffer
        if self._connecting is None:
            self._connecting = self._loop.create_task(self._connect())
            self._connect_timer = self._loop.call_later(
                self._scanner.settings.connect, self._trouble, "connect-timeout", "clamd did not take the connection"
            )

    async def _connect(self) -> None:
        try:
            await self._scanner.connect(self)
        except OSError as error:
            self._trouble("unreachable", str(error))

    def _arm(self, rule: str, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._scanner.settings.budget, self._trouble, rule, reason)

    # The connection, called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends what has gathered."""
        # Not isinstance(): uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._result is not None:
            transport.abort()
            return
        if self._connect_timer is not None:
            self._connect_timer.cancel()
        self._paused = False
        buffer_octets = int(self._scanner.settings.buffer)
        transport.set_write_buffer_limits(high=buffer_octets, low=buffer_octets // 4)
        gathered = b"".join(self._pending)
        self._pending.clear()
        transport.write(gathered)
        if not self._paused:
            self._drained()

    def pause_writing(self) -> None:
        """More than `buffer` octets wait for clamd."""
        self._paused = True

    def resume_writing(self) -> None:
        """clamd has caught up."""
        self._paused = False
        self._drained()

    def data_received(self, data: bytes) -> None:
        """Gathers clamd's answer, which ends with NUL."""
        if self._result is not None:
            return
        self._answer += data
        raw_line, nul, _ = self._answer.partition(b"\0")
        if nul:
            self._judge(_printable(raw_line))
        elif len(self._answer) > _MAX_ANSWER_OCTETS:
            self._trouble("garbled", "answer without end")

    def connection_lost(self, exc: Exception | None) -> None:
        """Trouble, unless the answer has come."""
        self._transport = None
        self._trouble("closed-early", str(exc or "") or _printable(self._answer) or "clamd closed the connection")

    def _judge(self, answer: str) -> None:
        virus = answer.removeprefix("stream: ").removesuffix(" FOUND")
        if answer == f"stream: {virus} FOUND" and virus:
            self._conclude((Finding(NAME, virus, tags=("virus",)),))
        elif answer == "stream: OK" and self._done is not None:
            if self._cut:
                self._trouble("max-size", f"only the first {self._sent_octets} octets were scanned")
            else:
                self._conclude(())
        elif answer.endswith("ERROR"):
            self._trouble("error", answer)
        else:
            self._trouble("garbled", answer)

    def _trouble(self, rule: str, reason: str) -> None:
        if self._result is None:
            self._conclude((Finding(NAME, rule, reason, trouble=True, fail=self._scanner.fail),))

    def _conclude(self, result: Findings) -> None:
        if self._result is not None:
            return
        self._result = result
        for timer in (self._timer, self._connect_timer):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        elif self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        self._pending.clear()
        done, self._done = self._done, None
        if done is not None:
            self._scanner.waited(self._loop.time() - self._ended_s)
            done(result)
        else:
            self._drained()

    def _drained(self) -> None:
        if self._full:
            self._full = False
            if self._timer is not None:
                self._timer.cancel()
            self._on_drained()


def _printable(raw: bytes) -> str:
    return "".join(chr(octet) if 32 <= octet < 127 else "?" for octet in raw[:256])
