"""The socket side of a session on port 25: buffers, flow, replies, deadlines, and the end.

A `BufferedProtocol`: the kernel writes into the worker's scratch buffer, the engine and the transaction see views of
it, and only a body that must be kept takes the buffer over. There is no task, no future and no timer per session;
one sweep a second looks at the deadlines. What the commands mean is `intake.session`, the heir.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, cast

from appliance.core import reply
from appliance.core.envelope import Client
from appliance.core.reply import Reply
from appliance.intake.buffers import BUFFER_BYTES
from appliance.intake.settlement import Door
from appliance.intake.shared_counts import NEW_SESSIONS, key_of
from appliance.intake.site import Site
from appliance.intake.transaction import Transaction
from appliance.wire.data_stream import Normaliser
from appliance.wire.proxy_protocol import BadProxyHeader, ProxyHeader
from appliance.wire.smtp_server import SmtpServer, State

if TYPE_CHECKING:
    from appliance.intake.listener import Listener

_log = logging.getLogger(__name__)

_MIN_ROOM_BYTES: Final = 8 << 10  # a buffer with less room left is not filled further
_UPGRADING: Final = State.UPGRADING
_CLOSED: Final = State.CLOSED
_LINGER_S: Final = 5.0
_ENGINE_WAITS: Final = 4
_WRITE_FULL: Final = 8


class SocketSession(Door):
    """One client. Owned by its `Listener` from connection to loss.

    An `asyncio.BufferedProtocol` in all but descent, which uvloop does not ask for and a compiled class cannot have.
    """

    __slots__ = (
        "_began_s", "_buffer", "_counted", "_early", "_engine", "_filled", "_leaving", "_messages", "_normaliser",
        "_peer_ip", "_proxy", "_stops", "_transaction", "_transport", "client", "deadline_s", "key", "listener", "site",
    )  # fmt: skip

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.site: Site = listener.site()
        self._engine = self._make_engine()
        self._transport: asyncio.Transport | None = None
        self._leaving: asyncio.Transport | None = None  # what `close` said goodbye to
        self._transaction: Transaction | None = None
        self._buffer: bytearray | None = None  # a buffer that a transaction owns and we still fill
        self._filled = 0
        self._stops = 0
        self._messages = 0
        self._normaliser: Normaliser | None = None
        self._proxy: ProxyHeader | None = None
        self._counted = False
        self._early: bytearray | None = None
        self._began_s = 0.0
        self._peer_ip = ""
        self.deadline_s = 0.0
        self.key = b""
        self.client = Client("")

    @abstractmethod
    def _make_engine(self) -> SmtpServer:
        """The engine of this session, whose handler is the session."""

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport
        peer = transport.get_extra_info("peername")
        ip, port = (peer[0], peer[1]) if isinstance(peer, tuple) else ("127.0.0.1", 0)
        if ip.startswith("::ffff:"):
            ip = ip[7:]
        self._peer_ip = ip
        self.client = Client(ip, port, listener=self.listener.name, kind="MTA")
        self.listener.sessions.add(self)
        self._rearm()
        if self.listener.proxy_protocol and self.site.access.may_proxy(ip):
            self._proxy = ProxyHeader()
        else:
            self._admit()

    def _admit(self) -> None:
        """Counts the session and greets it, or says why it may not stay."""
        site = self.site
        self.key, is_net64 = key_of(self.client.ip)
        now_s = site.clock()
        counts = site.counts
        refusal: Reply | None = None
        if self.listener.draining:
            refusal = reply.SHUTTING_DOWN
        elif counts.sessions() >= site.bounds.sessions:
            refusal = reply.TOO_MANY_SESSIONS
        elif self._comes_too_often(is_net64, now_s):
            refusal = reply.TOO_MANY_FROM_YOU
        counts.opened(self.key, now_s)
        self._counted = True
        site.counters.sessions_total += 1
        site.counters.sessions_open += 1
        if refusal is not None:
            self._tell_refusal(refusal)
        self._engine.greet(refusal or self.listener.greeting)
        self._flush()

    def _recount(self) -> Reply | None:
        """The session is another client's than was thought: it counts as that one's. Why it may not stay, or None."""
        key, is_net64 = key_of(self.client.ip)
        if key == self.key:
            return None
        now_s, counts = self.site.clock(), self.site.counts
        counts.withdrawn(self.key, now_s)
        self.key = key
        refusal = reply.TOO_MANY_FROM_YOU if self._comes_too_often(is_net64, now_s) else None
        counts.opened(key, now_s)
        if refusal is not None:
            self._tell_refusal(refusal)
        return refusal

    def _tell_refusal(self, refusal: Reply) -> None:
        self.site.counters.refusals[refusal.code] += 1
        self.site.events.event("session_refused", {"client": self.client.ip, "reply": refusal.text})

    def _comes_too_often(self, is_net64: bool, now_s: float) -> bool:
        counts, bounds = self.site.counts, self.site.bounds
        most = bounds.sessions_per_net64 if is_net64 else bounds.sessions_per_address
        if counts.sessions_of(self.key) >= most:
            return True
        return counts.rate(NEW_SESSIONS, self.key, now_s) >= bounds.sessions_per_minute

    def connection_lost(self, error: Exception | None) -> None:
        # A TLS transport holds large buffers and bound methods of ours: it must not wait for the garbage collector.
        self._transport = self._leaving = None
        self.listener.sessions.discard(self)
        self._end_transaction()
        self._engine.abandon()
        if self._counted:
            self._counted = False
            self.site.counts.closed(self.key)
            self.site.counters.sessions_open -= 1

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        # A client that does not read its replies is not read from either.
        self._stop(_WRITE_FULL)

    def resume_writing(self) -> None:
        self._go(_WRITE_FULL)

    # -- reading

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer, transaction = self._buffer, self._transaction
        if buffer is not None:
            # A transaction that was refused, or turned to the spool, has given the buffer back: it is others' now.
            if BUFFER_BYTES - self._filled >= _MIN_ROOM_BYTES and transaction is not None and transaction.keeps(buffer):
                return memoryview(buffer)[self._filled :]
            self._buffer = None
        return self.site.buffers.scratch_view

    def buffer_updated(self, nbytes: int) -> None:
        buffer = self._buffer
        if buffer is None:
            buffer, start = self.site.buffers.scratch, 0
        else:
            start = self._filled
        stop = start + nbytes
        if self._proxy is not None:
            self._feed_proxy(self._proxy, memoryview(buffer)[start:stop])
            return
        engine = self._engine
        if engine.state is _UPGRADING:
            # Already decrypted, but `start_tls` has not returned yet: clear text cannot come here, reading was paused.
            self._early = (self._early or bytearray()) + buffer[start:stop]
            return
        try:
            engine.receive(buffer, start, stop)
        except Exception as error:  # noqa: BLE001 - the one place where the unexpected becomes 451
            self._fail(error)
            return
        if not engine.in_command:
            self._rearm()  # a command that trickles in has the time of one
        transaction = self._transaction
        if transaction is not None and transaction.secure():
            if self._buffer is None:
                self._buffer = self.site.buffers.adopt_scratch()
            transaction.own(self._buffer)
        if transaction is None or transaction.over:
            self._buffer = None
        elif self._buffer is not None:
            self._filled = stop
        self._flush()

    def _fail(self, error: Exception) -> None:
        """A defect of ours: told to the log and, as 451, to the client, who may come again; nobody else notices."""
        _log.error("event=session_failed client=%s", self.client.ip, exc_info=error)
        self._engine.close(reply.LOCAL_ERROR)
        self._flush()

    def _feed_proxy(self, header: ProxyHeader, view: memoryview) -> None:
        """Takes the PROXY header; what comes behind it in the same read is the session's first input."""
        try:
            if not header.feed(view):
                return
        except BadProxyHeader as error:
            self.site.events.event("proxy_refused", {"client": self.client.ip, "reason": str(error)})
            self.close()
            return
        self._proxy = None
        if header.source is not None:
            self.client.ip, self.client.port = header.source.ip, header.source.port
            self._peer_ip = header.source.ip  # whose commands these are: the proxy's rights are not its client's
        self._admit()
        if header.rest:
            self._engine.receive(bytearray(header.rest), 0, len(header.rest))
            self._flush()

    def _flush(self) -> None:
        """Sends what is due, and lets go of a transaction that is over."""
        transport, engine = self._transport, self._engine
        if self._transaction is not None and self._transaction.over:
            self._transaction = None
            self._buffer = None
        if transport is None:
            return
        output = engine.take_output()
        if output:
            transport.write(output)
        if engine.state is _CLOSED and not engine.pending:
            self.close(linger=not output.endswith(reply.BYE.raw))
        elif engine.waiting:
            self._stop(_ENGINE_WAITS)

    def close(self, *, linger: bool = False) -> None:
        """Closes behind what is being sent. The transaction ends with the connection's loss.

        A client that is in the middle of sending would lose our last words by a reset; with `linger` it is heard out
        for a moment. One that does not even read is cut off by the sweep.
        """
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._leaving = transport
        self.deadline_s = self.listener.now_s + _LINGER_S
        if linger and transport.can_write_eof():
            transport.write_eof()
            if self._stops:
                transport.resume_reading()
        else:
            transport.close()

    def _stop(self, reason: int) -> None:
        if not self._stops and self._transport is not None:
            self._transport.pause_reading()
        self._stops |= reason

    def _go(self, reason: int) -> None:
        if not self._stops & reason:
            return
        self._stops &= ~reason
        if not self._stops and self._transport is not None:
            self._rearm()
            self._transport.resume_reading()

    # -- time

    def _rearm(self) -> None:
        if self._leaving is not None:
            return
        bounds = self.site.bounds
        patience_s = bounds.data_timeout_s if self._engine.in_body else bounds.command_timeout_s
        self.deadline_s = self.listener.now_s + patience_s

    def expire(self, now_s: float) -> None:
        """Called by the sweep, `now_s` monotonic: ends a session whose client is silent or holds up others."""
        transaction, timeouts = self._transaction, self.site.config.timeouts
        if self._leaving is not None:
            if now_s > self.deadline_s:
                self._leaving.abort()
            return
        if self._engine.pending or self._stops & ~_WRITE_FULL:
            return  # it is not the client who is slow
        held_s = now_s - self._began_s
        if transaction is not None and held_s > timeouts.hop_held and transaction.let_go(held_s):
            self._began_s = now_s
        if now_s > self.deadline_s or (transaction is not None and held_s > timeouts.message):
            self.site.events.event("timeout", {"client": self.client.ip, "in_body": self._engine.in_body})
            self._engine.close(reply.TIMEOUT)
            self._flush()
            self.close()

    def drain(self) -> None:
        """The worker is to end: an idle session is told so now, one in a transaction when it is over."""
        if self._transaction is None and not self._engine.pending:
            self._engine.close(reply.SHUTTING_DOWN)
            self._flush()

    def cut(self) -> None:
        """The time for draining is over."""
        self._engine.close(reply.SHUTTING_DOWN)
        self._flush()
        self.close()

    # -- the transaction's door

    def answer(self, answer: Reply) -> None:
        """See `Door.answer`."""
        engine = self._engine
        try:
            engine.answer(answer)
            engine.resume()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
            return
        transaction = self._transaction
        if transaction is not None and not transaction.over:
            transaction.secure()  # views of input that had waited keep that input alive themselves
        if self.listener.draining and (transaction is None or transaction.over):
            engine.close(reply.SHUTTING_DOWN)
        self._flush()
        if not engine.waiting:
            self._go(_ENGINE_WAITS)
        self._rearm()

    def flow(self, reason: int, *, flows: bool) -> None:
        """See `Door.flow`."""
        if flows:
            self._go(reason)
        else:
            self._stop(reason)

    def _end_transaction(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()
