"""The metrics page over real connections: what Prometheus gets, and what everybody else gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import ConfigError
from appliance.observe import scrape
from appliance.observe.metrics import Counters, Snapshot
from appliance.observe.scrape import MetricsServer, _request_line

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


async def counted() -> Mapping[str, Snapshot]:
    counters = Counters()
    counters.sessions_total = 42
    return {"0": counters.snapshot()}


async def broken() -> Mapping[str, Snapshot]:
    raise ConnectionRefusedError("worker gone")


async def stuck() -> Mapping[str, Snapshot]:
    await asyncio.Event().wait()
    raise AssertionError


def served(
    *requests: bytes, collect: Callable[[], Awaitable[Mapping[str, Snapshot]]] = counted, eof: bool = False
) -> list[bytes]:
    async def scenario() -> list[bytes]:
        server = MetricsServer("127.0.0.1:0", collect)
        await server.start()
        try:
            return [await ask(server.port, request, eof) for request in requests]
        finally:
            await server.close()

    return asyncio.run(scenario())


async def ask(port: int, request: bytes, eof: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if eof:
        writer.write_eof()
    try:
        return await reader.read()
    except ConnectionResetError:  # closed with our octets unread
        return b""
    finally:
        writer.close()


def test_a_scrape_gets_the_page_and_its_length() -> None:
    (answer,) = served(GET)
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and f"Content-Length: {len(body)}".encode() in head
    assert b'mailweir_sessions_total{worker="0"} 42.0\n' in body


def test_head_gets_the_length_without_the_page() -> None:
    head, get = served(GET.replace(b"GET", b"HEAD"), GET)
    assert head.endswith(b"\r\n\r\n") and get.startswith(head)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics?x=1 HTTP/1.0", b"200"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"EHLO example.org", b"400"),
        (b"GET /metrics HTTP/2", b"400"),
        (b"\x16\x03\x01 \xff \x00", b"400"),
    ],
)
def test_everything_else_gets_its_status(request_line: bytes, status: bytes) -> None:
    (answer,) = served(request_line + b"\r\n\r\n")
    assert answer.split(b" ")[1] == status


def test_a_request_without_end_is_refused_at_its_limit_and_the_next_is_served() -> None:
    large, after = served(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000, GET)
    assert large == b"" or large.startswith(b"HTTP/1.1 431 ")
    assert after.startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_ends_early_is_answered_and_the_next_served() -> None:
    assert served(b"GET /met", eof=True)[0].startswith(b"HTTP/1.1 400 ")


def test_a_client_that_says_nothing_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "REQUEST_TIMEOUT_S", 0.01)
    assert served(b"")[0].startswith(b"HTTP/1.1 408 ")


def test_workers_that_fail_or_hang_give_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "COLLECT_TIMEOUT_S", 0.01)
    assert served(GET, collect=broken)[0].endswith(b"cannot collect: ConnectionRefusedError\n")
    assert served(GET, collect=stuck)[0].endswith(b"cannot collect: TimeoutError\n")


def test_more_connections_than_there_are_places_are_let_go() -> None:
    async def scenario() -> list[bytes]:
        server = MetricsServer("127.0.0.1:0", counted)
        await server.start()
        open_ones = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(scrape.MAX_CONNECTIONS)]
        while len(server._tasks) < scrape.MAX_CONNECTIONS:
            await asyncio.sleep(0)
        answers = [await ask(server.port, GET)]
        for _, writer in open_ones:
            writer.write_eof()
        while server._tasks:
            await asyncio.sleep(0)
        answers.append(await ask(server.port, GET))
        await server.close()
        for _, writer in open_ones:
            writer.close()
        return answers

    refused, served_again = asyncio.run(scenario())
    assert refused == b"" and served_again.startswith(b"HTTP/1.1 200 ")


def test_an_address_that_is_none_or_taken_is_an_error_of_the_configuration() -> None:
    for address in ("localhost", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:x"):
        with pytest.raises(ConfigError, match="address"):
            MetricsServer(address, counted)

    async def scenario() -> None:
        first = MetricsServer("127.0.0.1:0", counted)
        await first.start()
        second = MetricsServer(f"127.0.0.1:{first.port}", counted)
        try:
            with pytest.raises(ConfigError, match="address"):
                await second.start()
        finally:
            await first.close()

    asyncio.run(scenario())


@given(st.binary())
def test_any_octets_are_a_request_line_or_none(raw: bytes) -> None:
    method, target = _request_line(raw + b"\r\n\r\n")
    assert (method == b"") == (target == b"") or method.isalpha()
