"""A role's end of its control socket: takes requests from root and from its own user, or from whom the role admits.

Knows who asks (by the kernel's word) and how long anything may take or be, nothing of what the requests mean. One
`ControlServer` a role, made and closed by `daemon`; works on asyncio's loop and on uvloop.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.control.protocol import (
    CREDENTIALS_OCTETS,
    MAX_LINE_OCTETS,
    MAX_TIMEOUT_S,
    Answer,
    ControlError,
    RequestRefused,
    decode_request,
    encode_answer,
    peer_uid,
)

Handler = Callable[[dict[str, Any]], Awaitable[object]]
"""Takes the request's arguments, returns what JSON can say; raises RequestRefused with a sentence for the asker."""
OnTrouble = Callable[[str, BaseException], None]
"""Told the request's name and what its handler raised unexpectedly, for the log."""

Admit = Callable[[int], Mapping[str, Handler]]
"""The handlers of all requests that the user with this uid may make; empty: none. Asked anew for each connection."""

MAX_CLIENTS = 32


class ControlServer:
    """Listens on one Unix socket. `open` and `close` it on the loop it shall run on."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        handlers: Mapping[str, Handler] | Admit,
        *,
        timeout_s: float = MAX_TIMEOUT_S,
        on_trouble: OnTrouble | None = None,
    ) -> None:
        """`timeout_s` is for each step: waiting for a request, its handler, and writing the answer.

        Plain `handlers` are for root and this process' own user, and nobody else can open the socket. With an `Admit`
        everybody can, and gets what it gives him.
        """
        self._path = Path(path)
        self._admit = handlers if callable(handlers) else self._ours
        self._for_all = callable(handlers)
        self._handlers: Mapping[str, Handler] = {} if callable(handlers) else handlers
        self._timeout_s = timeout_s
        self._on_trouble = on_trouble
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self) -> None:
        """Begins to listen; the directory is made if it is not there, with mode 0700, or 0755 where all may ask.

        Raises:
            ControlError: another process answers on the socket, or the directory is open to others.
            OSError: the socket cannot be made.
        """
        _own_directory(self._path.parent, 0o755 if self._for_all else 0o700)
        _remove_stale(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(os.fspath(self._path))
            # Nobody can connect before `listen`, so that there is no moment with a wrong mode.
            os.chmod(self._path, 0o666 if self._for_all else 0o600)
            self._inode = os.stat(self._path).st_ino
            self._server = await asyncio.start_unix_server(self._accepted, sock=listener, limit=MAX_LINE_OCTETS)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Stops listening, ends the connections, and removes the socket if it is still this one."""
        if self._server is None:
            return
        self._server.close()
        for client, writer in self._clients.items():
            writer.transport.abort()  # here, for a task that is cancelled before its first step cleans nothing up
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        with suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients[task] = writer
        task.add_done_callback(self._clients.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            handlers, refusal = self._admitted(writer)
            if refusal:
                await self._answer(writer, Answer(ok=False, error=refusal))
                return
            while line := await self._request_line(reader, writer):
                await self._answer(writer, await self._handled(line, handlers))
        except (TimeoutError, OSError):
            writer.transport.abort()  # the asker went away, or sleeps: there is nobody to tell
        finally:
            writer.close()
            with suppress(TimeoutError, OSError):
                await asyncio.wait_for(writer.wait_closed(), self._timeout_s)

    def _ours(self, uid: int) -> Mapping[str, Handler]:
        return self._handlers if uid in (0, os.geteuid()) else {}

    def _admitted(self, writer: asyncio.StreamWriter) -> tuple[Mapping[str, Handler], str]:
        """What this peer may ask, or why it may not ask at all."""
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS_OCTETS)
        uid = peer_uid(raw)
        handlers = self._admit(uid)
        if not handlers:
            ours = "only root and the gateway's own user may ask"
            return {}, f"the user with uid {uid} may not ask here" if self._for_all else ours
        # Where everybody may connect, nobody may keep root out.
        if len(self._clients) > MAX_CLIENTS and not (self._for_all and uid == 0):
            return {}, "too many connections, try again later"
        return handlers, ""

    async def _request_line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The next request; empty at the end of the connection, or when what comes is too long."""
        try:
            return await asyncio.wait_for(reader.readuntil(b"\n"), self._timeout_s)
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError:
            await self._answer(writer, Answer(ok=False, error=f"a request has at most {MAX_LINE_OCTETS} octets"))
            return b""

    async def _handled(self, line: bytes, handlers: Mapping[str, Handler]) -> Answer:
        name = "?"
        try:
            request = decode_request(line)
            name = request.request
            handler = handlers.get(name)
            if handler is None:
                raise RequestRefused(f"unknown request {name[:80]!r}; there are: {', '.join(sorted(handlers))}")
            return Answer(result=await asyncio.wait_for(handler(request.args), self._timeout_s))
        except ControlError as error:
            return Answer(ok=False, error=str(error))
        except TimeoutError:
            return Answer(ok=False, error=f"{name} took longer than {self._timeout_s:g} s")
        except Exception as error:  # noqa: BLE001  one faulty request must not take the role down; the log hears
            if self._on_trouble is not None:
                self._on_trouble(name, error)
            return Answer(ok=False, error=f"{name} failed inside: {type(error).__name__}; see the gateway's log")

    async def _answer(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        writer.write(encode_answer(answer))
        await asyncio.wait_for(writer.drain(), self._timeout_s)


def _own_directory(directory: Path, mode: int) -> None:
    """Makes the directory with `mode`, or takes away what others may do there beyond it."""
    directory.mkdir(mode=mode, parents=True, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        raise ControlError(f"{directory} is no directory of this user; remove it")
    if stat.S_IMODE(status.st_mode) & 0o077 & ~mode:
        if status.st_uid != os.geteuid():
            raise ControlError(f"{directory} is open to other users; chmod {mode:o} it")
        os.chmod(directory, mode)


def _remove_stale(path: Path) -> None:
    """Removes the socket that a killed process left; refuses where somebody still answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # alive, with a full backlog
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
            path.unlink()
            return
    raise ControlError(f"another process answers on {path}: is the gateway running already?")
