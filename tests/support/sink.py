"""A mail server for tests that does what its script says at each stage, and keeps the exact octets of what came.

Plain blocking sockets, a thread a connection: it can be slow, mute, rude or gone without anybody else noticing. SMTP
or LMTP, in clear, with STARTTLS or TLS from the start, with AUTH, PIPELINING and BDAT. Used by the system tests.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tests.support.conditions import until
from tests.support.sink_script import CONNECTION_TIMEOUT_S, Act, Taken, hang_up, held, say, times
from tests.support.sink_session import Session

__all__ = ["EXTENSIONS", "Sink", "Taken", "hang_up", "held", "say", "times"]

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "SIZE 104857600")


class Sink:
    """`with Sink() as sink:` listens at `sink.url` until the block ends."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        lmtp: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        login: tuple[str, str] | None = None,
        receive_buffer_bytes: int = 0,
    ) -> None:
        self.host, self.port = host, port
        self.lmtp = lmtp
        self.extensions = list(extensions)
        self.tls, self.implicit_tls = tls, implicit_tls
        self.login = login
        self.script: dict[str, Act] = {}
        """Stage (CONNECT, EHLO, MAIL, RCPT, DATA, BODY, RSET, ...) to what is done there instead of saying yes."""
        self.reading = threading.Event()
        """Cleared: bodies are not read from the sockets."""
        self.reading.set()
        self.cut_body_after_bytes: int | None = None
        """Hangs up in the middle of a body, so many octets after the 354."""
        self.taken: list[Taken] = []
        """Messages to whose final dot (or BDAT LAST) a 2xx was said, in that order."""
        self.seen: list[Taken] = []
        """Messages that were complete, whatever was said to them."""
        self.cut: list[bytes] = []
        """Bodies that broke off."""
        self.commands: Counter[str] = Counter()
        self.packed: list[bytes] = []
        """Lines with which more came in one packet."""
        self.lines: list[str] = []
        """Every command line that came."""
        self._receive_buffer_bytes = receive_buffer_bytes
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    # -- life

    @property
    def url(self) -> str:
        scheme = "lmtp" if self.lmtp else "smtps" if self.implicit_tls else "smtp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reading.set()
        self.stop()

    def start(self) -> None:
        """Listens; after `stop` again at the same port."""
        listening = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer_bytes:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
        listening.bind((self.host, self.port))
        listening.listen(256)
        self.port = listening.getsockname()[1]
        self._listening = listening
        self._spawn(self._accept, listening)

    def stop(self) -> None:
        """Refuses connections from now on and cuts those that are open. Idempotent."""
        listening, self._listening = self._listening, None
        if listening is not None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(CONNECTION_TIMEOUT_S)
        self._threads.clear()

    def cut_all(self) -> None:
        """Cuts the open connections; new ones are still taken."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._open)

    def wait_for(self, count: int, *, patience_s: float = 30.0) -> list[Taken]:
        """The messages taken, once there are `count`."""
        until(lambda: len(self.taken) >= count, f"{count} messages at the sink", patience_s=patience_s)
        return list(self.taken)

    def _spawn(self, work: Callable[[socket.socket], None], sock: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(sock,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            sock.settimeout(CONNECTION_TIMEOUT_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)
        session = Session(self, sock)
        try:
            session.run()
        except (OSError, EOFError, ssl.SSLError):
            pass  # the other side went away, or a test wanted it so
        finally:
            with self._lock:
                self._open.discard(sock)
                self._open.discard(session.socket)
            session.socket.close()
            sock.close()

    def note_upgrade(self, old: socket.socket, new: socket.socket) -> None:
        """The session goes on with another socket object."""
        with self._lock:
            self._open.discard(old)
            self._open.add(new)
