"""Sending a stored message on an open connection: MAIL, RCPTs, the octets as they lie on disk, the final dot.

The stored form is what SMTP carries, so in clear it goes by `os.sendfile` from the segment to the socket and never
enters user space; over TLS it is read piece by piece. One task sends one message; the connection's own time-outs
bound every step. Called by `delivery.lanes`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Protocol

from appliance.core import reply
from appliance.core.envelope import Body, Envelope, Recipient
from appliance.core.errors import SpoolTrouble
from appliance.core.reply import Reply
from appliance.delivery.connection import HopConnection
from appliance.delivery.remote import Connection
from appliance.spool.meta import EntryMeta
from appliance.wire.client_commands import mail_command, rcpt_command

_PIECE_BYTES = 256 << 10


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
    answers = await _open_transaction(connection, mail, recipients)
    taken = [place for place, answer in enumerate(answers) if answer.code < 300]
    if connection.trouble is not None:
        # A recipient that was taken has no message yet: its 250 must not pass for one.
        return [connection.trouble if answer.code < 300 else answer for answer in answers]
    if not taken:
        await _ask(connection, connection.engine.reset(), 1)
        return answers
    finals = await _send_body(connection, meta.envelope, stored, len(taken))
    for number, place in enumerate(taken):
        answers[place] = finals[number if connection.lmtp else 0]
    connection.transactions += 1
    return answers


async def _open_transaction(connection: HopConnection, mail: bytes, recipients: Sequence[Recipient]) -> list[Reply]:
    """One reply for each recipient; a refused MAIL is everybody's."""
    engine, extensions = connection.engine, connection.extensions
    if "PIPELINING" in extensions:
        octets = engine.mail(mail) + b"".join(engine.rcpt(rcpt_command(r, extensions)) for r in recipients)
        first, *answers = await _ask(connection, octets, 1 + len(recipients))
        return [first] * len(recipients) if first.code >= 300 else answers
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


async def _send_body(connection: HopConnection, envelope: Envelope, stored: Stored, taken: int) -> list[Reply]:
    engine = connection.engine
    count = taken if connection.lmtp else 1
    if envelope.body is Body.BINARY:
        head = engine.bdat(stored.size_bytes, last=True)
        finals = [connection.expect() for _ in range(count)]
        connection.submit(head)
        await _send_octets(connection, stored)
        connection.expect_final(())
        return await _all(connection, finals)
    (go_on,) = await _ask(connection, engine.data(), 1)
    if go_on.code != 354:
        if go_on.code < 400:
            connection.fail(reply.NEXT_HOP_BABBLE)  # a positive answer that is no 354 promises nothing
        if connection.trouble is None:
            await _ask(connection, engine.reset(), 1)
        return [go_on if go_on.code >= 400 else reply.NEXT_HOP_BABBLE] * count
    await _send_octets(connection, stored)
    if connection.trouble is not None:
        return [connection.trouble] * count
    dot = engine.end_of_data()
    finals = [connection.expect() for _ in range(count)]
    connection.expect_final(())
    await _write(connection, dot)
    return await _all(connection, finals)


async def _send_octets(connection: HopConnection, stored: Stored) -> None:
    for fd, offset, length in stored.extents:
        end = offset + length
        while offset < end and connection.trouble is None:
            sent = connection.send_file(fd, offset, min(end - offset, _PIECE_BYTES))
            if not sent:
                try:
                    piece = os.pread(fd, min(_PIECE_BYTES, end - offset), offset)
                except OSError as error:
                    connection.fail(reply.NEXT_HOP_LOST)
                    raise SpoolTrouble(str(error)) from error
                if not piece:
                    connection.fail(reply.NEXT_HOP_LOST)
                    raise SpoolTrouble("segment shorter than its records")
                await _write(connection, piece)
                sent = len(piece)
            offset += sent
        await asyncio.sleep(0)


async def _write(connection: HopConnection, octets: bytes) -> None:
    drained = asyncio.Event()
    if not connection.write_views([octets], drained.set):
        await drained.wait()


async def _ask(connection: HopConnection, octets: bytes, count: int) -> list[Reply]:
    answers = [connection.expect() for _ in range(count)]
    connection.submit(octets)
    return await _all(connection, answers)


async def _all(connection: HopConnection, answers: list[asyncio.Future[Reply]]) -> list[Reply]:
    try:
        return [await answer for answer in answers]
    except asyncio.CancelledError:
        connection.fail(reply.SHUTTING_DOWN)  # half a transaction is of no use to anybody
        raise
