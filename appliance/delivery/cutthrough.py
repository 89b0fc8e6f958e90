"""One message on its way to a next hop while it still arrives: the relay of the `wire` and `ram` paths.

A relay takes a connection from the pool at the first RCPT, asks the next hop about every recipient before the client
is answered, and streams views of the client's receive buffer into the hop's socket. It keeps no octet: a view is
the caller's again when `write` returns True, or when `on_drained` was called. Whoever ends a relay does it once: by
`finish`, or by `abort`, which leaves the next hop no message (RFC 5321 §4.1.1.4: without the dot it must discard).

Called by `intake.transaction`. It knows no policy, no scanner and no client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from appliance.core import reply
from appliance.core.envelope import Envelope, Recipient
from appliance.core.reply import Reply
from appliance.delivery.connection import HopConnection
from appliance.delivery.pool import HopPool
from appliance.wire.client_commands import mail_command, rcpt_command

Answer = Callable[[Reply], None]


class Relay:
    """A transaction with one next hop. All callbacks come on the event loop, each at most once."""

    __slots__ = (
        "_answers", "_drained", "_envelope", "_finals", "_in_data", "_lmtp", "_mail_refusal", "_on_final", "_pool",
        "_pooled", "_retried", "_suspended", "_waiting", "accepted", "connection", "down", "ended",
    )  # fmt: skip

    def __init__(self, pool: HopPool, envelope: Envelope) -> None:
        self._pool = pool
        self._envelope = envelope
        self._waiting: list[tuple[Recipient, Answer]] = []
        self._answers: list[tuple[Recipient, Answer]] = []
        self._mail_refusal: Reply | None = None
        self._finals: list[Reply] = []
        self._on_final: Callable[[list[Reply]], None] | None = None
        self._drained: Callable[[], None] | None = None
        self._in_data = False
        self._lmtp = False
        self._pooled = False
        self._retried = False
        self._suspended = False
        self.accepted: list[Recipient] = []
        self.connection: HopConnection | None = None
        self.down: Reply | None = None
        """Set when no connection could be had, or it was lost: the reply that says so."""
        self.ended = False

    # -- recipients

    def recipient(self, recipient: Recipient, answer: Answer) -> None:
        """Asks the next hop about `recipient`; `answer` gets its reply, or ours if it is down (`down` is set)."""
        connection = self.connection
        if connection is not None and connection.trouble is not None and self.down is None:
            self.down = connection.trouble  # lost between two recipients
        if self.down is not None:
            answer(self.down)
        elif self._mail_refusal is not None:
            answer(self._mail_refusal)
        elif connection is not None:
            self._answers.append((recipient, answer))
            command = rcpt_command(recipient, connection.extensions)
            connection.submit(connection.engine.rcpt(command), self._rcpt_answered)
        else:
            self._waiting.append((recipient, answer))
            if len(self._waiting) == 1:
                self._pool.acquire(self._got_connection)

    def _got_connection(self, got: HopConnection | Reply) -> None:
        if isinstance(got, Reply):
            self._fail(got)
            return
        if self.ended:
            self._pool.release(got)
            return
        self.connection = got
        self._lmtp = got.lmtp
        self._pooled = got.transactions > 0 or got.idle_since_s > 0
        waiting, self._waiting = self._waiting, []
        self._answers.extend(waiting)
        mail = mail_command(self._envelope, got.extensions)
        if isinstance(mail, Reply):  # the hop lacks an extension that this message cannot do without
            self._mail_refusal = mail
            self._answer_all(mail)
            return
        octets = self._opening(got, mail, [recipient for recipient, _ in waiting])
        got.submit(octets, self._mail_answered, *([self._rcpt_answered] * len(waiting)))

    @staticmethod
    def _opening(connection: HopConnection, mail: bytes, recipients: list[Recipient]) -> bytes:
        """MAIL and all RCPTs known so far, for one write (RFC 2920)."""
        engine, extensions = connection.engine, connection.extensions
        octets = engine.mail(mail)
        for recipient in recipients:
            octets += engine.rcpt(rcpt_command(recipient, extensions))
        return octets

    def _mail_answered(self, answer: Reply) -> None:
        if self.ended or answer.code < 300:
            return
        if not self._lost():
            # The RCPTs that were sent with it are refused too; theirs is the reply to MAIL, which names the cause.
            self._mail_refusal = answer

    def _rcpt_answered(self, answer: Reply) -> None:
        if self.ended or not self._answers or self._lost():
            return
        recipient, tell = self._answers.pop(0)
        if self._mail_refusal is not None:
            tell(self._mail_refusal)
            return
        if answer.code < 300:
            self.accepted.append(recipient)
        tell(answer)

    def _lost(self) -> bool:
        """The connection broke: a pooled one is replaced once, for the hop may just have closed it for idleness."""
        connection = self.connection
        if connection is None or connection.trouble is None:
            return connection is None
        self.connection = None
        if self._pooled and not self._retried and not self.accepted and not self._in_data:
            self._retried = True
            self._waiting, self._answers = self._answers, []
            self._pool.acquire(self._got_connection, fresh=True)
        else:
            self._fail(connection.trouble)
        return True

    def _fail(self, trouble: Reply) -> None:
        self.down = trouble
        self._answers.extend(self._waiting)
        self._waiting = []
        self._answer_all(trouble)

    def tell_waiting(self, answer: Reply) -> None:
        """Answers the recipients that still wait: for a relay that was ended while its client goes on."""
        self._answers.extend(self._waiting)
        self._waiting = []
        self._answer_all(answer)

    def _answer_all(self, answer: Reply) -> None:
        answers, self._answers = self._answers, []
        for _, tell in answers:
            tell(answer)

    # -- body

    def suspend(self) -> bool:
        """Gives the connection back while the client dawdles; `begin_data` gets another. False if it cannot be now."""
        connection = self.connection
        if connection is None or self._in_data or self._answers or self.ended:
            return False
        self.connection = None
        self._suspended = True
        self._pool.reset_and_release(connection)
        return True

    def _resume(self, ready: Answer, go_on: Callable[[], None]) -> None:
        """Opens the transaction anew with the recipients that the next hop had accepted; `ready` hears of trouble."""

        def got_connection(got: HopConnection | Reply) -> None:
            if isinstance(got, Reply):
                self.down = got
                ready(got)
                return
            if self.ended:
                self._pool.release(got)
                return
            self.connection = got
            mail = mail_command(self._envelope, got.extensions)
            if isinstance(mail, Reply):
                ready(mail)
                return
            refusals: list[Reply] = []

            def answered(answer: Reply) -> None:
                if answer.code >= 300:
                    refusals.append(answer)

            def all_answered(answer: Reply) -> None:
                answered(answer)
                if self.ended:
                    return
                if got.trouble is not None:
                    self.down = got.trouble
                if refusals:
                    # What it took a moment ago it refuses now, perhaps for some only: the queue can sort that out.
                    ready(self.down or reply.NEXT_HOP_BUSY)
                else:
                    go_on()

            octets = self._opening(got, mail, self.accepted)
            got.submit(octets, *([answered] * len(self.accepted)), all_answered)

        self._suspended = False
        connection, self.connection = self.connection, None
        if connection is not None:  # it took the recipients that came after the pause
            self._pool.reset_and_release(connection)
        self._pool.acquire(got_connection)

    def begin_data(self, ready: Answer) -> None:
        """Sends DATA; `ready` gets the 354, or the refusal (`down` is set when the connection was lost)."""
        connection = self.connection
        if self._suspended:
            self._resume(ready, lambda: self.begin_data(ready))
            return
        if connection is None or connection.trouble is not None:
            self.down = reply.NEXT_HOP_LOST if connection is None or connection.trouble is None else connection.trouble
            ready(self.down)
            return
        self._in_data = True

        def answered(answer: Reply) -> None:
            if self.ended:
                return
            if connection.trouble is not None:
                self.down = connection.trouble
            elif answer.code >= 400:
                self._in_data = False  # a positive answer that is no 354 leaves it open what the server waits for
            ready(answer)

        connection.submit(connection.engine.data(), answered)

    def write(self, views: Sequence[memoryview | bytes | bytearray], on_drained: Callable[[], None]) -> bool:
        """Sends views; True: all are in the kernel. False: they stay the relay's until `on_drained` is called."""
        connection = self.connection
        if connection is None or connection.trouble is not None:
            return True  # the loss shows itself in the final reply
        return connection.write_views(views, on_drained)

    def finish(self, views: Sequence[memoryview | bytes | bytearray], done: Callable[[list[Reply]], None]) -> None:
        """Sends the last views and the final dot; `done` gets one reply, or with LMTP one per accepted recipient.

        The views must stay as they are until `done` is called.
        """
        connection = self.connection
        if connection is None or connection.trouble is not None:
            self.down = connection.trouble if connection is not None else reply.NEXT_HOP_LOST
            done([self.down or reply.NEXT_HOP_LOST])
            return
        self._on_final = done
        dot = connection.engine.end_of_data()
        connection.expect_final([self._final_answered] * self._final_count)
        connection.write_views([*views, dot], _nothing)

    def finish_chunk(
        self, views: Sequence[memoryview | bytes | bytearray], size_bytes: int, done: Callable[[list[Reply]], None]
    ) -> None:
        """As `finish`, by one BDAT (RFC 3030 §2) and without `begin_data`; the octets are raw, not dot-stuffed."""
        if self._suspended:
            self._resume(lambda trouble: done([trouble]), lambda: self.finish_chunk(views, size_bytes, done))
            return
        connection = self.connection
        if connection is None or connection.trouble is not None:
            self.down = connection.trouble if connection is not None else reply.NEXT_HOP_LOST
            done([self.down or reply.NEXT_HOP_LOST])
            return
        self._on_final = done
        self._in_data = True
        head = connection.engine.bdat(size_bytes, last=True)
        connection.expect_final([self._final_answered] * self._final_count)
        connection.write_views([head, *views], _nothing)

    @property
    def _final_count(self) -> int:
        """Replies to the final dot: by LMTP one for each accepted recipient (RFC 2033 §4.2)."""
        return len(self.accepted) if self.connection is not None and self.connection.lmtp else 1

    def _final_answered(self, answer: Reply) -> None:
        if self.ended:
            return
        connection = self.connection
        assert connection is not None and self._on_final is not None
        self._finals.append(answer)
        expected = self._final_count
        if connection.trouble is not None:
            self.down = connection.trouble
            self._finals.extend([answer] * (expected - len(self._finals)))
        if len(self._finals) < expected:
            return
        self.ended = True
        if connection.trouble is None:
            connection.transactions += 1
        self._pool.release(connection)
        on_final, self._on_final = self._on_final, None  # or transaction and relay would hold each other for ever
        on_final(self._finals)

    def abort(self) -> None:
        """Leaves the next hop without a message: RSET before DATA, a cut connection after it. Idempotent."""
        if self.ended:
            return
        self.ended = True
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if self._in_data or connection.trouble is not None:
            self._pool.discard(connection)
        else:
            self._pool.reset_and_release(connection)

    @property
    def reports(self) -> bool:
        """The next hop knows DSN, so that it reports what it was asked to (RFC 3461)."""
        return self.connection is None or "DSN" in self.connection.extensions

    @property
    def takes_chunks(self) -> bool:
        """The next hop's connection is at hand, and BDAT can be used on it."""
        return self.connection is not None and "CHUNKING" in self.connection.extensions

    @property
    def in_data(self) -> bool:
        return self._in_data

    @property
    def splits(self) -> bool:
        """The final dot may be answered differently for each recipient (RFC 2033 §4.2)."""
        return self._lmtp and len(self.accepted) > 1


def _nothing() -> None:
    return
