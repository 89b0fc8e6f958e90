"""Connecting to a host with several addresses: attempts race, the first connection wins (RFC 8305, happy eyeballs).

Knows no DNS (the caller brings addresses in the order to try) and no SMTP. Called by `delivery.remote` and by whoever
opens a configured next hop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from appliance.core.errors import NextHopDown

STAGGER_S = 0.25  # RFC 8305 §5: Connection Attempt Delay

Dial = Callable[[str, int], Coroutine[Any, Any, socket.socket]]


async def connect(
    addresses: Sequence[str],
    port: int,
    *,
    deadline_s: float,
    stagger_s: float = STAGGER_S,
    dial: Dial | None = None,
) -> socket.socket:
    """A connected, non-blocking socket (TCP_NODELAY) to the first of `addresses` that answers; the caller's to close.

    An attempt begins when the one before it has failed or has taken `stagger_s`. Sockets of the losers are closed
    when this returns.

    Args:
        addresses: IPv4 and IPv6 addresses, best first.
        deadline_s: for the whole race.
        dial: opens one connection; tests bring their own.

    Raises:
        NextHopDown: none could be reached in time; temporary. Its text has the last error of each address.
    """
    dial = dial or dial_tcp
    attempts: dict[asyncio.Task[socket.socket], str] = {}
    waiting = list(addresses)
    failures: list[str] = []
    end_s = asyncio.get_running_loop().time() + deadline_s
    winner: socket.socket | None = None
    try:
        while winner is None and (waiting or not all(attempt.done() for attempt in attempts)):
            left_s = end_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                failures += [f"{address}: no answer within {deadline_s:g} s" for address in attempts.values()]
                break
            if waiting:
                address = waiting.pop(0)
                attempts[asyncio.create_task(dial(address, port))] = address
            pause_s = min(stagger_s, left_s) if waiting else left_s
            done, _ = await asyncio.wait(attempts, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                if winner is None and not attempt.cancelled() and attempt.exception() is None:
                    winner = attempt.result()
                    continue
                if winner is None:
                    failures.append(f"{attempts.pop(attempt)}: {_reason(attempt)}")
    finally:
        await _give_up(attempts, winner)
    if winner is None:
        raise NextHopDown(f"port {port}: {'; '.join(failures) or 'no address'}")
    return winner


async def dial_tcp(address: str, port: int) -> socket.socket:
    """One TCP connection to `address`; OSError when it cannot be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(attempt: asyncio.Task[socket.socket]) -> str:
    error = None if attempt.cancelled() else attempt.exception()
    if error is not None and not isinstance(error, OSError):
        raise error
    return str(error or "cancelled")


async def _give_up(attempts: dict[asyncio.Task[socket.socket], str], winner: socket.socket | None) -> None:
    """Ends all attempts; a connection that came in together with the winner is closed, too."""
    for attempt in attempts:
        attempt.cancel()
    try:
        results = await asyncio.gather(*attempts, return_exceptions=True)
    except asyncio.CancelledError:
        if winner is not None:
            winner.close()
        raise
    for result in results:
        if isinstance(result, socket.socket) and result is not winner:
            result.close()
