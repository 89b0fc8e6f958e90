"""The mail server of the demonstration: takes everything and prints what arrived. aiosmtpd in its plainest form."""

from __future__ import annotations

import asyncio
import re
import signal
import socket

from aiosmtpd.smtp import SMTP, Envelope, Session

_SUBJECT = re.compile(rb"^subject:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class PrintingHandler:
    """Prints envelope, subject and size of each message."""

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.original_content or b""
        header, _, _ = content.partition(b"\r\n\r\n")
        subject = _SUBJECT.search(header)
        shown = subject[1].decode("utf-8", "replace") if subject else "(none)"
        recipients = ", ".join(envelope.rcpt_tos)
        sender = envelope.mail_from or "<>"
        print(f"[sink] {sender} -> {recipients}, {len(content)} bytes, subject: {shown!r}", flush=True)
        return "250 2.0.0 Printed"


def serve_sink(sock: socket.socket) -> None:
    """Serves on a bound socket until SIGTERM."""
    asyncio.run(_serve(sock))


async def _serve(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    handler = PrintingHandler()
    await loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True, hostname="sink.example.test"), sock=sock)
    await stop.wait()
