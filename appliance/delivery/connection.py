"""One connection to a server of a next hop: commands out, replies to callbacks, bodies from the views they lie in.

Bodies go by `os.writev` straight from the receive buffer of the client's session to this socket's kernel buffer; only
what the kernel does not take at once is handed, still as views, to the transport. Measured: a profile of the relay
showed a transport write at the loop's end to force a buffer per session, which the cache punishes.

A connection belongs to its pool while idle and to one transaction otherwise. It knows replies and their order, not
what they mean for a message. Opening one, with TLS and AUTH, is `delivery.handshake`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

from appliance.core import reply
from appliance.core.reply import Reply
from appliance.delivery.endpoint import Endpoint
from appliance.wire.smtp_client import ReplyError, SmtpClient, State

Answer = Callable[[Reply], None]

_CLOSED: Final = State.CLOSED
_NEVER: Final = float("inf")


class HopConnection:
    """An `asyncio.Protocol` in all but descent, which event loops do not ask for and a compiled class cannot have.

    After `trouble` is set, every callback still expected has been called with it, and nothing can be sent."""

    __slots__ = (
        "_drained", "_expected", "_fd", "_final_timeout_s", "_held", "_now", "_reply_timeout_s", "_transport",
        "deadline_s", "endpoint", "engine", "idle_since_s", "lmtp", "on_lost", "server", "tls", "transactions",
        "trouble",
    )  # fmt: skip

    def __init__(
        self, endpoint: Endpoint, *, reply_timeout_s: float, final_timeout_s: float, now_s: Callable[[], float]
    ) -> None:
        """`now_s` is a monotonic clock; it may be a coarse one."""
        self.endpoint = endpoint
        self.lmtp = endpoint.lmtp
        self._reply_timeout_s = reply_timeout_s
        self._final_timeout_s = final_timeout_s
        self._now = now_s
        self.engine = SmtpClient(lmtp=endpoint.lmtp)
        """Makes the octets of each command, which `submit` sends, and knows what may be said when."""
        self._expected: list[Answer] = []
        self._held: list[bytes] = []  # commands that wait for the reply to the one before
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._drained: Callable[[], None] | None = None
        self.tls = ""
        self.transactions = 0
        self.idle_since_s = 0.0
        self.deadline_s = _NEVER
        self.trouble: Reply | None = None
        self.on_lost: Callable[[HopConnection], None] | None = None
        """Called once when an idle or used connection breaks; the pool's."""
        self.server: object = None
        """The pool's note of which server this is."""

    # -- sending

    def submit(self, command: bytes, *answers: Answer) -> None:
        """Sends command lines in one write; each of `answers` gets one reply, in order (RFC 2920)."""
        if self.trouble is not None:
            for answer in answers:
                answer(self.trouble)
            return
        assert self._transport is not None
        quiet = not self._expected
        self._expected.extend(answers)
        self.deadline_s = self._now() + self._reply_timeout_s
        if answers and "PIPELINING" not in self.engine.extensions:
            # One command at a time, then, each behind the reply to the one before: RFC 2920 §3.1.
            self._held.extend(command.splitlines(keepends=True))
            if not quiet:
                return
            command = self._held.pop(0)
        self._transport.write(command)

    def expect_final(self, answers: Iterable[Answer]) -> None:
        """Whoever sends the final dot next gets these replies; the longer time-out applies (RFC 5321 §4.5.3.2.6)."""
        self._expected.extend(answers)
        self.deadline_s = self._now() + self._final_timeout_s

    def write_views(self, views: Sequence[memoryview | bytes | bytearray], on_drained: Callable[[], None]) -> bool:
        """Sends octets of a body. True: the views are free again. False: they are ours until `on_drained`."""
        transport = self._transport
        if self.trouble is not None or transport is None:
            return True
        rest: Sequence[memoryview | bytes | bytearray] = views
        if self._fd >= 0 and not transport.get_write_buffer_size():
            rest = self._write_now(views)
            if not rest:
                return True
        transport.set_write_buffer_limits(high=0)
        self._drained = on_drained
        # A next hop that takes nothing is as bad as a mute one. With a reply outstanding it is the end that is sent.
        self.deadline_s = self._now() + (self._final_timeout_s if self._expected else self._reply_timeout_s)
        transport.writelines(rest) if self._fd < 0 else self._write_later(rest)
        if not transport.get_write_buffer_size():
            # The transport took all of it at once, or encrypted and so copied it: no `resume_writing` will come.
            self._drained = None
            if not self._expected:
                self.deadline_s = _NEVER
            return True
        return False

    def _write_now(self, views: Sequence[memoryview | bytes | bytearray]) -> Sequence[memoryview | bytes | bytearray]:
        try:
            written = os.writev(self._fd, views[:512]) if len(views) > 1 else os.write(self._fd, views[0])
        except BlockingIOError:
            return views
        except OSError:
            self.fail(reply.NEXT_HOP_LOST)
            return ()
        for place, view in enumerate(views):
            size = len(view)
            if written < size:
                return [memoryview(view)[written:], *views[place + 1 :]]
            written -= size
        return ()

    def _write_later(self, rest: Sequence[memoryview | bytes | bytearray]) -> None:
        assert self._transport is not None
        for view in rest:
            self._transport.write(view)

    def send_file(self, fd: int, offset: int, octets: int) -> int:
        """Sends octets of a file from kernel to kernel; how many went, 0 if it must be done otherwise or later."""
        transport = self._transport
        if self._fd < 0 or transport is None or transport.get_write_buffer_size():
            return 0
        try:
            return os.sendfile(self._fd, fd, offset, octets)
        except OSError:
            return 0  # full, or broken: the next write shows which

    # -- opening

    def expect(self) -> asyncio.Future[Reply]:
        """The next reply as a future, for `delivery.handshake`."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def answered(answer: Reply) -> None:
            if not future.done():
                future.set_result(answer)

        if self.trouble is not None:
            answered(self.trouble)
        else:
            self._expected.append(answered)
        return future

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """The handshake behind a 220 to STARTTLS.

        Raises:
            ssl.SSLError, OSError: it failed.
        """
        transport = self._transport
        if transport is None:
            raise ConnectionResetError("connection lost before the handshake")
        self._fd = -1
        protocol: Any = self
        secure = await asyncio.get_running_loop().start_tls(transport, protocol, context, server_hostname=name)
        if secure is None or self.trouble is not None:
            raise ConnectionResetError("connection lost in the handshake")
        self._transport = secure

    def no_delay(self) -> None:
        """TCP_NODELAY: a small write must not wait for the peer's delayed acknowledgement."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None and not self.endpoint.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        if self._transport is None:
            return None
        found: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return found

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport
        self._fd = -1
        if transport.get_extra_info("ssl_object") is None:
            sock = transport.get_extra_info("socket")
            self._fd = sock.fileno() if sock is not None else -1

    def data_received(self, data: bytes) -> None:
        engine = self.engine
        try:
            events = engine.feed(data)
        except ReplyError:
            self.fail(reply.NEXT_HOP_BABBLE)
            return
        output = engine.take_output()
        if output and self._transport is not None:
            self._transport.write(output)
        expected = self._expected
        for _, answer in events:
            if answer.code == 421:
                # The server leaves, and that is its own trouble: the message may go by another way, or later.
                self.fail(Reply(451, "4.4.2", f"Next hop closed the session: {answer.text}"))
                return
            if not expected:
                self.fail(reply.NEXT_HOP_LOST)  # 421 is the one thing a server may say unasked (RFC 5321 §3.8)
                return
            callback = expected.pop(0)
            if not expected:
                self.deadline_s = _NEVER
            callback(answer)
            if self._held and self._transport is not None:
                self.deadline_s = self._now() + self._reply_timeout_s
                self._transport.write(self._held.pop(0))
        if engine.state is _CLOSED and self.trouble is None:
            self.fail(events[-1][1] if events else reply.NEXT_HOP_LOST)

    def pause_writing(self) -> None:
        """Nothing to do: `write_views` has told its caller by returning False."""

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            if not self._expected:
                self.deadline_s = _NEVER
            drained()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._fd = -1
        self._transport = None
        self.fail(reply.NEXT_HOP_LOST)

    # -- ending

    def fail(self, trouble: Reply) -> None:
        """The connection is of no more use: everybody who waits gets `trouble`. Idempotent."""
        if self.trouble is not None:
            return
        self.trouble = trouble
        self.deadline_s = _NEVER
        transport, self._transport, self._fd = self._transport, None, -1
        if transport is not None:
            transport.abort()
        if self.on_lost is not None:
            self.on_lost(self)
        expected = list(self._expected)
        self._expected.clear()
        self._held.clear()
        for answer in expected:
            answer(trouble)
        self.resume_writing()

    def expire(self, now_s: float) -> None:
        """Called by the sweep: fails the connection if a reply is overdue."""
        if now_s > self.deadline_s:
            self.fail(reply.NEXT_HOP_TIMEOUT)

    def quit(self) -> None:
        """Says QUIT and closes without waiting for the answer; pooled connections end so."""
        if self.trouble is None and self._transport is not None:
            transport, self._transport, self._fd = self._transport, None, -1
            self.trouble = reply.NEXT_HOP_LOST
            transport.write(b"QUIT\r\n")
            transport.close()

    @property
    def extensions(self) -> dict[str, str]:
        """What the server offers, by keyword in upper case."""
        return self.engine.extensions

    @property
    def quiet(self) -> bool:
        """No reply is outstanding and nothing waits to be written."""
        return not self._expected and (self._transport is None or not self._transport.get_write_buffer_size())

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    @property
    def fd(self) -> int:
        """The socket's descriptor when it is in clear, for `sendfile`; -1 with TLS or when closed."""
        return self._fd
