"""Downloads from a server that breaks off, changes its mind, or lies."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from appliance.update.fetch import TRIES, fetch
from appliance.update.incoming import NotTaken
from tests.support.certificates import public_part, server_context

OCTETS = bytes(range(256)) * 4000


@dataclass
class Server:
    """One file by https; what it does to each request stands in `plan`, the last for ever."""

    context: ssl.SSLContext
    port: int = 0
    plan: list[str] = field(default_factory=lambda: ["whole"])
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/mailweir.raucb"


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def do_GET(self) -> None:
            server.asked.append(self.headers.get("Range", ""))
            what = server.plan[min(len(server.asked), len(server.plan)) - 1]
            getattr(self, what)()

        def whole(self, octets: bytes = OCTETS, tag: str = '"one"') -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            begin = int(asked[1]) if asked and self.headers.get("If-Range") == tag else 0
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(octets) - 1}/{len(octets)}")
            self.send_header("Content-Length", str(len(octets) - begin))
            self.send_header("ETag", tag)
            self.end_headers()
            self.wfile.write(octets[begin : begin + self.most(len(octets))])

        def most(self, size: int) -> int:
            return size

        def half(self) -> None:
            self.most = lambda size: size // 2  # type: ignore[method-assign]
            self.whole()
            self.close_connection = True

        def changed(self) -> None:
            self.whole(OCTETS[::-1], '"two"')

        def another_part(self) -> None:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-9/{len(OCTETS)}")
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(OCTETS[:10])

        def missing(self) -> None:
            self.send_error(404)

        def busy(self) -> None:
            self.send_error(503)

        def endless(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(OCTETS)

        def huge(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()

        def round_and_round(self) -> None:
            self.send_response(302)
            self.send_header("Location", "/mailweir.raucb")
            self.end_headers()

        def to_plain_http(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.port}/mailweir.raucb")
            self.end_headers()

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    ours = ssl.create_default_context(cafile=public_part("localhost"))
    theirs = server_context("localhost")
    server = Server(ours)
    listening = ThreadingHTTPServer(("localhost", 0), handler_of(server))
    listening.socket = theirs.wrap_socket(listening.socket, server_side=True)
    server.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    listening.shutdown()
    listening.server_close()
    thread.join()


Fetched = Callable[..., Path]


@pytest.fixture
def fetched(server: Server, tmp_path: Path) -> Fetched:
    """Fetches by a plan; what was told and slept is not kept."""

    def run(*plan: str) -> Path:
        server.plan = list(plan)
        return fetch(server.url, tmp_path / "in", lambda percent: None, context=server.context, sleep=lambda s: None)

    return run


def test_a_whole_file_is_taken_and_its_percentage_told(server: Server, tmp_path: Path) -> None:
    told: list[int] = []
    path = fetch(server.url, tmp_path / "in", told.append, context=server.context)
    assert path.read_bytes() == OCTETS and told[-1] == 100 and told == sorted(told)


def test_what_broke_off_is_taken_up_again_where_it_broke(server: Server, fetched: Fetched) -> None:
    assert fetched("half", "busy", "whole").read_bytes() == OCTETS
    assert server.asked[0] == "" and server.asked[2] == f"bytes={len(OCTETS) // 2}-"


def test_a_file_that_changed_meanwhile_is_taken_from_its_beginning(fetched: Fetched) -> None:
    assert fetched("half", "changed").read_bytes() == OCTETS[::-1]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (("missing",), "said 404"),
        (("busy",), f"said 503, {TRIES} times"),
        (("half", "another_part"), "another part"),
        (("endless",), "does not say how long"),
        (("huge",), "at most 512 MiB"),
        (("round_and_round",), "redirects"),
        (("to_plain_http",), "beginning with https://"),
    ],
)
def test_what_cannot_be_had_is_said_and_nothing_is_left(
    fetched: Fetched, tmp_path: Path, plan: tuple[str, ...], words: str
) -> None:
    with pytest.raises(NotTaken, match=re.escape(words)):
        fetched(*plan)
    assert not (tmp_path / "in").exists()


def test_a_certificate_of_a_stranger_ends_it_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotTaken, match="certificate is not trusted"):
        fetch(server.url, tmp_path / "in", lambda percent: None, context=ssl.create_default_context())
    assert server.asked == []


def test_nobody_there_is_said_after_all_tries(tmp_path: Path) -> None:
    slept: list[float] = []
    with pytest.raises(NotTaken, match=f"no connection .*, {TRIES} times"):
        fetch("https://localhost:9/x", tmp_path / "in", lambda percent: None, sleep=slept.append)
    assert len(slept) == TRIES and slept == sorted(slept)
