"""Requests and answers over the control socket: who may ask, what is bounded, and how errors are worded."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.control import server as server_module
from appliance.control.client import ask, ask_async
from appliance.control.protocol import (
    CREDENTIALS_OCTETS,
    MAX_LINE_OCTETS,
    Answer,
    ControlError,
    NoAnswer,
    RequestRefused,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
    peer_uid,
    worker_socket,
    worker_sockets,
)
from appliance.control.server import ControlServer, Handler

Scenario = Callable[[Path], Awaitable[None]]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


async def echo(args: dict[str, Any]) -> object:
    return args


async def fail(args: dict[str, Any]) -> object:
    raise ZeroDivisionError("private reason")


async def refuse(args: dict[str, Any]) -> object:
    raise RequestRefused("not today")


async def sleep(args: dict[str, Any]) -> object:
    await asyncio.Event().wait()
    return None


async def flood(args: dict[str, Any]) -> object:
    return "x" * MAX_LINE_OCTETS


async def odd(args: dict[str, Any]) -> object:
    return object()


HANDLERS: Mapping[str, Handler] = {
    "echo": echo, "fail": fail, "refuse": refuse, "sleep": sleep, "flood": flood, "odd": odd,
}  # fmt: skip


def serve(run: Callable[[Any], Any], directory: Path, scenario: Scenario, **options: Any) -> None:
    """Runs `scenario` with a server's socket on a loop of `run`'s kind."""

    async def main() -> None:
        path = directory / "control" / "worker-0.sock"
        server = ControlServer(path, HANDLERS, **options)
        await server.open()
        try:
            await scenario(path)
        finally:
            await server.close()

    run(main())


async def raw_exchange(path: Path, octets: bytes) -> list[bytes]:
    """All lines that come back for `octets` until the server or the end of our input closes."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE_OCTETS * 2)
    writer.write(octets)
    writer.write_eof()
    lines = (await reader.read()).splitlines(keepends=True)
    writer.close()
    return lines


async def refused(path: Path, request: str, **options: Any) -> str:
    with pytest.raises(RequestRefused) as caught:
        await ask_async(path, request, **options)
    return str(caught.value)


@LOOPS
def test_a_request_reaches_its_handler_and_the_result_comes_back(run: Any, tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        assert await ask_async(path, "echo", {"ids": ["A", "é"]}) == {"ids": ["A", "é"]}
        assert await asyncio.to_thread(ask, path, "echo", {"n": 1}) == {"n": 1}

    serve(run, tmp_path, scenario)


@LOOPS
def test_several_requests_on_one_connection_are_answered_in_order(run: Any, tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        lines = await raw_exchange(path, b"".join(encode_request("echo", {"n": n}) for n in range(3)))
        assert [decode_answer(line)["n"] for line in lines] == [0, 1, 2]

    serve(run, tmp_path, scenario)


@LOOPS
def test_socket_and_directory_are_closed_to_others(run: Any, tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    serve(run, tmp_path, scenario)
    assert not (tmp_path / "control" / "worker-0.sock").exists()


@LOOPS
def test_another_user_is_refused(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "peer_uid", lambda raw: os.geteuid() + 4711)

    async def scenario(path: Path) -> None:
        assert "only root" in await refused(path, "echo")

    serve(run, tmp_path, scenario)


def test_the_peers_uid_is_the_kernels_word() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        raw = ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS_OCTETS)
        assert peer_uid(raw) == os.geteuid()


@LOOPS
def test_errors_are_sentences_and_the_next_request_is_served(run: Any, tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []

    async def scenario(path: Path) -> None:
        assert await refused(path, "ecco") == "unknown request 'ecco'; there are: echo, fail, flood, odd, refuse, sleep"
        assert await refused(path, "refuse") == "not today"
        assert await refused(path, "fail") == "fail failed inside: ZeroDivisionError; see the gateway's log"
        assert "over 1048576 octets" in await refused(path, "flood")
        assert "cannot be written as JSON" in await refused(path, "odd")
        assert await ask_async(path, "echo") == {}

    serve(run, tmp_path, scenario, on_trouble=lambda name, error: heard.append((name, str(error))))
    assert heard == [("fail", "private reason")]


@LOOPS
def test_a_handler_that_never_returns_is_cut_off(run: Any, tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        assert await refused(path, "sleep") == "sleep took longer than 0.05 s"

    serve(run, tmp_path, scenario, timeout_s=0.05)


@LOOPS
def test_a_client_that_says_nothing_is_dropped(run: Any, tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b""
        writer.close()

    serve(run, tmp_path, scenario, timeout_s=0.05)


@LOOPS
def test_an_endless_line_is_refused(run: Any, tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"x" * (MAX_LINE_OCTETS * 2))
        with pytest.raises(RequestRefused, match="at most 1048576 octets"):
            decode_answer(await reader.readline())
        writer.close()

    serve(run, tmp_path, scenario)


@LOOPS
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "not a request"),
        (b"\xff\n", "not a request"),
        (b"[]\n", "not a request"),
        (b'{"v":1}\n', "not a request"),
        (b'{"v":1,"request":"echo","more":1}\n', "not a request"),
        (b'{"v":1,"request":"echo","args":[]}\n', "not a request"),
        (b'{"v":2,"request":"echo"}\n', "speaks version 1, not 2"),
        (b"[" * 100_000 + b"\n", "not a request"),
    ],
)
def test_rubbish_is_answered_by_an_error(run: Any, tmp_path: Path, line: bytes, reason: str) -> None:
    async def scenario(path: Path) -> None:
        bad, good = await raw_exchange(path, line + encode_request("echo", {"n": 1}))
        with pytest.raises(RequestRefused, match=reason):
            decode_answer(bad)
        assert decode_answer(good) == {"n": 1}

    serve(run, tmp_path, scenario)


@LOOPS
def test_more_clients_than_allowed_are_turned_away(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 1)

    async def scenario(path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(encode_request("echo"))
        assert decode_answer(await reader.readline()) == {}
        assert "too many connections" in await refused(path, "echo")
        writer.close()

    serve(run, tmp_path, scenario)


@LOOPS
def test_closing_does_not_wait_for_askers(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        server = ControlServer(tmp_path / "c" / "s.sock", HANDLERS)
        await server.open()
        waiting = asyncio.ensure_future(ask_async(tmp_path / "c" / "s.sock", "sleep"))
        silent = await asyncio.open_unix_connection(str(tmp_path / "c" / "s.sock"))
        while len(server._clients) < 2:
            await asyncio.sleep(0)
        await server.close()
        with pytest.raises(NoAnswer) as caught:
            await waiting
        assert "within" not in str(caught.value)
        silent[1].close()

    run(main())


@LOOPS
def test_the_socket_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "control" / "worker-0.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def scenario(path: Path) -> None:
        with pytest.raises(ControlError, match="is the gateway running already"):
            await ControlServer(path, HANDLERS).open()
        assert await ask_async(path, "echo") == {}

    serve(run, tmp_path, scenario)


def test_a_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir(mode=0o777)
    (tmp_path / "control").chmod(0o777)

    async def scenario(path: Path) -> None:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    serve(asyncio.run, tmp_path, scenario)


def test_a_symbolic_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "control").symlink_to(tmp_path / "elsewhere")

    async def scenario(path: Path) -> None:
        raise AssertionError("it listens")

    with pytest.raises(ControlError, match="no directory of this user"):
        serve(asyncio.run, tmp_path, scenario)


# --- the client


@contextmanager
def peer(path: Path, reply: bytes, *, close: bool = True) -> Iterator[None]:
    """A peer that reads one line, says `reply`, and closes, or keeps the connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        done = threading.Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                lines.readline()
                try:
                    connection.sendall(reply)
                except OSError:
                    return
                if not close:
                    done.wait()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


ASK: Mapping[str, Callable[[Path, float], Any]] = {
    "sync": lambda path, timeout_s: ask(path, "echo", timeout_s=timeout_s),
    "async": lambda path, timeout_s: asyncio.run(ask_async(path, "echo", timeout_s=timeout_s)),
}


@pytest.mark.parametrize("method", ["sync", "async"])
@pytest.mark.parametrize(
    ("reply", "close", "reason"),
    [
        (b"", True, "closed the connection without an answer"),
        (b'{"v":1', True, "closed the connection without an answer"),
        (b"hello\n", True, "no answer"),
        (b'{"v":9,"ok":true}\n', True, "version 9"),
        (b'{"v":1', False, "within 0.1 s"),
        (b"x" * (MAX_LINE_OCTETS + 70_000) + b"\n", False, "too long"),
    ],
)
def test_a_broken_answer_is_no_answer(tmp_path: Path, method: str, reply: bytes, close: bool, reason: str) -> None:
    path = tmp_path / "s"
    timeout_s = 0.1 if "within" in reason else 10.0
    with peer(path, reply, close=close), pytest.raises(NoAnswer, match=reason):
        ASK[method](path, timeout_s)


@pytest.mark.parametrize("method", ["sync", "async"])
def test_no_socket_means_that_the_gateway_is_not_running(tmp_path: Path, method: str) -> None:
    with pytest.raises(NoAnswer, match="the gateway is not running"):
        ASK[method](tmp_path / "none", 10.0)


def test_a_request_too_long_to_be_taken_is_not_sent() -> None:
    with pytest.raises(RequestRefused, match="too long"):
        encode_request("echo", {"x": "y" * MAX_LINE_OCTETS})


def test_worker_sockets_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    for name in ("worker-10.sock", "worker-2.sock", "worker-x.sock", "webd.sock", "worker-3.sock.lock"):
        (tmp_path / "control" / name).touch()
    assert worker_sockets(str(tmp_path)) == [worker_socket(str(tmp_path), 2), worker_socket(str(tmp_path), 10)]
    assert worker_sockets(str(tmp_path / "none")) == []


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: f'{{"v":1,"request":"{text}"}}'.encode()))
def test_any_octets_are_a_request_or_a_refusal(line: bytes) -> None:
    with suppress(RequestRefused):
        assert decode_request(line).v == 1
    with suppress(RequestRefused, NoAnswer):
        decode_answer(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_what_a_handler_returns_is_what_the_asker_gets_on_one_line(value: object) -> None:
    line = encode_answer(Answer(result=value))
    assert line.count(b"\n") == 1
    assert decode_answer(line) == value


@pytest.mark.parametrize("method", ["sync", "async"])
def test_a_refusal_is_heard_even_if_the_role_closed_before_the_request_was_sent(tmp_path: Path, method: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def refuse_at_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(encode_answer(Answer(ok=False, error="not you")))

        thread = threading.Thread(target=refuse_at_once)
        thread.start()
        try:
            with pytest.raises(RequestRefused, match="not you"):
                ASK[method](tmp_path / "s", 10.0)
        finally:
            thread.join()


def test_a_role_may_admit_users_one_by_one_and_give_each_its_own_handlers(tmp_path: Path) -> None:
    def admit(uid: int) -> Mapping[str, Handler]:
        return {"echo": echo} if uid == os.geteuid() else {}

    async def main() -> None:
        server = ControlServer(tmp_path / "c" / "s", admit)
        await server.open()
        assert await ask_async(tmp_path / "c" / "s", "echo") == {}
        assert "there are: echo" in await refused(tmp_path / "c" / "s", "fail")
        assert stat.S_IMODE((tmp_path / "c" / "s").stat().st_mode) == 0o666
        assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o755
        await server.close()

    asyncio.run(main())


def test_where_all_may_connect_nobody_keeps_root_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 0)
    uids = iter([1000, 0])
    monkeypatch.setattr(server_module, "peer_uid", lambda raw: next(uids))

    async def main() -> None:
        server = ControlServer(tmp_path / "c" / "s", lambda uid: {"echo": echo})
        await server.open()
        assert "too many connections" in await refused(tmp_path / "c" / "s", "echo")
        assert await ask_async(tmp_path / "c" / "s", "echo") == {}
        await server.close()

    asyncio.run(main())
