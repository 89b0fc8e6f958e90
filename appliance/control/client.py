"""Asks a role over its control socket: `ask` for the command line, `ask_async` for a role that asks another.

Knows neither requests nor answers. A call opens its own connection; the deadline is for the whole of it.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import Any

from appliance.control.protocol import MAX_LINE_OCTETS, NoAnswer, decode_answer, encode_request

_PIECE_OCTETS = 1 << 16


def ask(
    path: str | os.PathLike[str], request: str, args: dict[str, Any] | None = None, *, timeout_s: float = 10.0
) -> Any:
    """The role's result for `request`. Blocks.

    Raises:
        RequestRefused: the role answered that it will not; the text is the role's.
        NoAnswer: nobody listens, or there was no whole answer within `timeout_s`.
    """
    line = encode_request(request, args)
    ends_at_s = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(os.fspath(path))
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(line)
            # Who may not ask is told so before anything was read: the refusal waits even where sending failed.
            return decode_answer(_answer_line(connection, ends_at_s))
    except OSError as error:
        raise _no_answer(path, error, timeout_s) from error


def _answer_line(connection: socket.socket, ends_at_s: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        left_s = ends_at_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        _take(received, connection.recv(_PIECE_OCTETS))
    return bytes(received)


async def ask_async(
    path: str | os.PathLike[str], request: str, args: dict[str, Any] | None = None, *, timeout_s: float = 10.0
) -> Any:
    """As `ask`, on the running event loop."""
    import asyncio  # who asks without a loop has no use for it

    line = encode_request(request, args)
    try:
        return await asyncio.wait_for(_exchange(path, line), timeout_s)
    except (OSError, TimeoutError) as error:
        raise _no_answer(path, error, timeout_s) from error


async def _exchange(path: str | os.PathLike[str], line: bytes) -> Any:
    import asyncio

    # Not by streams: a transport that cannot write throws away what could still be read.
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, os.fspath(path))
        with suppress(BrokenPipeError, ConnectionResetError):
            await loop.sock_sendall(connection, line)
        received = bytearray()
        while not received.endswith(b"\n"):
            _take(received, await loop.sock_recv(connection, _PIECE_OCTETS))
        return decode_answer(bytes(received))


def _take(received: bytearray, chunk: bytes) -> None:
    if not chunk:
        raise NoAnswer("the role closed the connection without an answer")
    if len(received) + len(chunk) > MAX_LINE_OCTETS:
        raise NoAnswer("the answer is too long")
    received += chunk


def _no_answer(path: str | os.PathLike[str], error: OSError, timeout_s: float) -> NoAnswer:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NoAnswer(f"nobody answers on {os.fspath(path)}: the gateway is not running")
    if isinstance(error, TimeoutError):
        return NoAnswer(f"no answer on {os.fspath(path)} within {timeout_s:g} s")
    return NoAnswer(f"{os.fspath(path)}: {error.strerror or error}")
