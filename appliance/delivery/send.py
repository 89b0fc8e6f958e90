"""Sending a stored message on an open connection: MAIL, RCPTs, the octets as they lie on disk, the final dot.

The stored form is what SMTP carries, so in clear it goes by `os.sendfile` from the segment to the socket and never
enters user space; over TLS it is read piece by piece. A short one leaves in one write with its dot. To a server that
has PIPELINING, MAIL, RCPTs and DATA go together (RFC 2920 §3.1): each write that waits for an answer of its own cost
an eighth of the delivery. One task sends one message; the connection's own time-outs bound every step. Called by
`delivery.lanes`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.core import reply
from appliance.core.envelope import Body, Recipient
from appliance.core.errors import SpoolTrouble
from appliance.core.reply import Reply
from appliance.delivery.connection import HopConnection
from appliance.delivery.remote import Connection
from appliance.spool.meta import EntryMeta
from appliance.wire.client_commands import mail_command, rcpt_command

_PIECE_BYTES = 256 << 10
_SHORT_BYTES = 32 << 10


class Stored(Protocol):
    """`spool.reading.Reading` as far as it is needed here."""

    @property
    def extents(self) -> Sequence[tuple[int, int, int]]: ...
    @property
    def size_bytes(self) -> int: ...


async def send_stored(
    connection: Connection, meta: EntryMeta, recipients: Sequence[Recipient], stored: Stored
) -> list[Reply]:
    """The final reply for each of `recipients`, in order. A refused message leaves the connection fit for the next.

    When the connection breaks, all who had no final reply get a temporary one, and `connection.trouble` is set.

    Raises:
        SpoolTrouble: the octets cannot be read; the connection was cut, the next hop has no message.
    """
    assert isinstance(connection, HopConnection)
    mail = mail_command(meta.envelope, connection.extensions)
    if isinstance(mail, Reply):
        return [mail] * len(recipients)
    binary = meta.envelope.body is Body.BINARY
    go_on: Reply | None = None
    if "PIPELINING" in connection.extensions:
        answers, go_on = await _open_at_once(connection, mail, recipients, data=not binary)
    else:
        answers = await _open_line_by_line(connection, mail, recipients)
    taken = [place for place, answer in enumerate(answers) if answer.code < 300]
    if connection.trouble is not None:
        # A recipient that was taken has no message yet: its 250 must not pass for one.
        return [connection.trouble if answer.code < 300 else answer for answer in answers]
    if not taken:
        await _leave(connection, go_on)
        return answers
    if binary:
        finals = await _send_binary(connection, stored, len(taken))
    else:
        finals = await _send_dotted(connection, stored, len(taken), go_on)
    for number, place in enumerate(taken):
        answers[place] = finals[number if connection.lmtp else 0]
    connection.transactions += 1
    return answers


async def _open_at_once(
    connection: HopConnection, mail: bytes, recipients: Sequence[Recipient], *, data: bool
) -> tuple[list[Reply], Reply | None]:
    """One reply for each recipient, a refused MAIL being everybody's, and the one to DATA if that was sent too."""
    engine, extensions = connection.engine, connection.extensions
    octets = engine.mail(mail) + b"".join([engine.rcpt(rcpt_command(r, extensions)) for r in recipients])
    if not data:
        first, *answers = await _ask(connection, octets, 1 + len(recipients))
        go_on = None
    else:
        first, *answers, go_on = await _ask(connection, octets + engine.data(), 2 + len(recipients))
    return ([first] * len(recipients) if first.code >= 300 else answers), go_on


async def _open_line_by_line(connection: HopConnection, mail: bytes, recipients: Sequence[Recipient]) -> list[Reply]:
    engine, extensions = connection.engine, connection.extensions
    (first,) = await _ask(connection, engine.mail(mail), 1)
    if first.code >= 300:
        return [first] * len(recipients)
    answers = []
    for recipient in recipients:
        if connection.trouble is None:
            answers += await _ask(connection, engine.rcpt(rcpt_command(recipient, extensions)), 1)
        else:
            answers.append(connection.trouble)
    return answers


async def _leave(connection: HopConnection, go_on: Reply | None) -> None:
    """Ends a transaction in which nobody was taken."""
    if go_on is None or go_on.code >= 400:
        await _ask(connection, connection.engine.reset(), 1)
    elif go_on.code == 354 and not connection.lmtp:
        # It wants a message all the same: an empty one, which it will refuse (RFC 2920 §3.1).
        await _ask(connection, connection.engine.end_of_data(), 1)
    else:
        connection.fail(reply.NEXT_HOP_BABBLE)


async def _send_binary(connection: HopConnection, stored: Stored, taken: int) -> list[Reply]:
    head = connection.engine.bdat(stored.size_bytes, last=True)
    finals = _Answers(taken if connection.lmtp else 1)
    connection.submit(head, *finals.callbacks)
    await _send_octets(connection, stored)
    connection.expect_final(())
    return await finals.all(connection)


async def _send_dotted(connection: HopConnection, stored: Stored, taken: int, go_on: Reply | None) -> list[Reply]:
    engine = connection.engine
    count = taken if connection.lmtp else 1
    if go_on is None:
        (go_on,) = await _ask(connection, engine.data(), 1)
    if go_on.code != 354:
        if go_on.code < 400:
            connection.fail(reply.NEXT_HOP_BABBLE)  # a positive answer that is no 354 promises nothing
        if connection.trouble is None:
            await _ask(connection, engine.reset(), 1)
        return [go_on if go_on.code >= 400 else reply.NEXT_HOP_BABBLE] * count
    short: list[bytes] = []
    if stored.size_bytes <= _SHORT_BYTES:
        for fd, offset, length in stored.extents:
            short.append(_read(connection, fd, offset, length))
    else:
        await _send_octets(connection, stored)
    if connection.trouble is not None:
        return [connection.trouble] * count
    finals = _Answers(count)
    dot = engine.end_of_data()
    connection.expect_final(finals.callbacks)
    await _write(connection, *short, dot)
    return await finals.all(connection)


async def _send_octets(connection: HopConnection, stored: Stored) -> None:
    for fd, offset, length in stored.extents:
        end = offset + length
        while offset < end and connection.trouble is None:
            sent = connection.send_file(fd, offset, min(end - offset, _PIECE_BYTES))
            if not sent:
                piece = _read(connection, fd, offset, min(_PIECE_BYTES, end - offset))
                await _write(connection, piece)
                sent = len(piece)
            offset += sent
        await asyncio.sleep(0)


def _read(connection: HopConnection, fd: int, offset: int, length: int) -> bytes:
    try:
        piece = os.pread(fd, length, offset)
    except OSError as error:
        connection.fail(reply.NEXT_HOP_LOST)
        raise SpoolTrouble(str(error)) from error
    if len(piece) < length:
        connection.fail(reply.NEXT_HOP_LOST)
        raise SpoolTrouble("segment shorter than its records")
    return piece


async def _write(connection: HopConnection, *octets: bytes) -> None:
    drained = asyncio.Event()
    if not connection.write_views(octets, drained.set):
        await drained.wait()


class _Answers:
    """So many replies, awaited together: a future for each cost more than what they say."""

    __slots__ = ("_count", "_future", "_replies")

    def __init__(self, count: int) -> None:
        self._count = count
        self._replies: list[Reply] = []
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def callbacks(self) -> list[Callable[[Reply], None]]:
        return [self._answered] * self._count

    def _answered(self, answer: Reply) -> None:
        self._replies.append(answer)
        if len(self._replies) == self._count and not self._future.done():
            self._future.set_result(None)

    async def all(self, connection: HopConnection) -> list[Reply]:
        try:
            await self._future
        except asyncio.CancelledError:
            connection.fail(reply.SHUTTING_DOWN)  # half a transaction is of no use to anybody
            raise
        return self._replies


async def _ask(connection: HopConnection, octets: bytes, count: int) -> list[Reply]:
    answers = _Answers(count)
    connection.submit(octets, *answers.callbacks)
    return await answers.all(connection)
