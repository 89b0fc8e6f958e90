"""Events as JSON lines, and the descriptor they go to: stdout, a file, a pipe, a socket.

Knows how to write without ever blocking and how to keep a hostile string inside its line; knows nothing of timers,
backlogs or the journal. Called by `events` alone; `journal` shares its way of making values printable.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

import orjson

_LARGE_WRITE_BYTES: Final = 1 << 20
_KNOWN_EVENTS: Final = 512
_INT64: Final = 1 << 63
_MILLISECONDS: Final = [b'.%03dZ",' % ms for ms in range(1000)]


def plain(value: object) -> object:
    """`value` as something orjson takes; its `str()` where there is nothing better."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    return str(value).encode("utf-8", "backslashreplace").decode()


def dumps(fields: dict[str, object]) -> bytes:
    """`fields` as one JSON object in one line of UTF-8. Never raises: what cannot be told becomes text."""
    try:
        raw = orjson.dumps(fields, default=plain)
    except TypeError:  # lone surrogates, integers over 64 bits, keys that are no strings, a failing str()
        raw = orjson.dumps({str(plain(key)): _told(value) for key, value in fields.items()})
    # orjson escapes C0 only; DEL, C1 and bidirectional controls could still rewrite what a terminal shows.
    if not raw.isascii() or 0x7F in raw:
        return printable(raw.decode(), "\\u{:04x}").encode()
    return raw


def _told(value: object) -> object:
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and -_INT64 < value < _INT64):
        return value
    try:
        return plain(value)
    except Exception as error:  # noqa: BLE001 - a log line is the last place to fail in
        return f"<{type(value).__name__}: {type(error).__name__}>"


def printable(text: str, form: str = "\\u{:04x}") -> str:
    """`text` with every character that is not printable replaced by `form` of its UTF-16 units."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c, form) for c in text)


def _escaped(character: str, form: str) -> str:
    raw = character.encode("utf-16-be", "surrogatepass")
    return "".join(form.format(int.from_bytes(raw[i : i + 2], "big")) for i in range(0, len(raw), 2))


class LineSink:
    """JSON lines to a descriptor, in order; it owns its own duplicate, and leaves the flags of the original alone."""

    def __init__(self, fd: int) -> None:
        """Duplicates `fd`; the caller keeps the original.

        Raises:
            OSError: `fd` is not open.
        """
        self._second = -1
        self._date = b""
        self._stamp_ms = -1
        self._stamp = b""
        self._heads: dict[tuple[str, int], bytes] = {}
        self._socket: socket.socket | None = None
        self._send: Callable[[bytes], int]
        mode = os.fstat(fd).st_mode
        # Up to PIPE_BUF octets are written whole or not at all: lines of several workers do not tear each other.
        self._chunk_bytes = _LARGE_WRITE_BYTES if stat.S_ISREG(mode) else select.PIPE_BUF
        if stat.S_ISREG(mode):
            self._fd = os.dup(fd)
            self._send = self._write
        elif stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(fd))
            self._fd = self._socket.fileno()
            self._send = self._send_socket
        else:
            self._fd, self._send = self._reopened(fd)

    def encode(self, at_s: float, level: int, name: str, fields: dict[str, object]) -> bytes:
        """One event as its finished line."""
        now_ms = int(at_s * 1000)
        if now_ms != self._stamp_ms:
            self._stamp_ms = now_ms
            self._stamp = self._new_stamp(now_ms)
        head = self._heads.get((name, level)) or self._new_head(name, level)
        if not fields:
            return b"".join((self._stamp, head[:-1], b"}\n"))
        return b"".join((self._stamp, head, dumps(fields)[1:], b"\n"))

    def _new_stamp(self, now_ms: int) -> bytes:
        second, ms = divmod(now_ms, 1000)
        if second != self._second:
            self._second = second
            self._date = time.strftime('{"at":"%Y-%m-%dT%H:%M:%S', time.gmtime(second)).encode()
        return self._date + _MILLISECONDS[ms]

    def _new_head(self, name: str, level: int) -> bytes:
        if len(self._heads) >= _KNOWN_EVENTS:  # names are constants of ours; be safe all the same
            self._heads.clear()
        head = dumps({"level": logging.getLevelName(level).lower(), "event": name})[1:-1] + b","
        self._heads[name, level] = head
        return head

    def write(self, entries: deque[bytes]) -> int:
        """Writes from the left what the descriptor takes now, and removes it; returns the octets. Never blocks."""
        written_bytes = 0
        while entries:
            chunk = self._next_chunk(entries)
            try:
                sent_bytes = self._send(chunk)
            except OSError:  # full, or broken for good: the caller keeps the rest, bounded, and counts what it drops
                break
            written_bytes += sent_bytes
            _remove(entries, sent_bytes)
            if sent_bytes < len(chunk):
                break
        return written_bytes

    def _next_chunk(self, entries: deque[bytes]) -> bytes:
        size_bytes = 0
        for count, entry in enumerate(entries):
            size_bytes += len(entry)
            if size_bytes > self._chunk_bytes:
                return b"".join(islice(entries, max(count, 1)))
        return b"".join(entries)

    def fileno(self) -> int:
        """The descriptor to wait on until it takes more."""
        return self._fd

    def close(self) -> None:
        """Closes our duplicate."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._fd)

    def _reopened(self, fd: int) -> tuple[int, Callable[[bytes], int]]:
        # O_NONBLOCK on a duplicate would change it for every process that shares the pipe or terminal; a description
        # of our own does not.
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            return os.open(f"/proc/self/fd/{fd}", flags), self._write
        except OSError:  # not ours to open, after a change of user
            return os.dup(fd), self._write_if_ready

    def _write(self, chunk: bytes) -> int:
        return os.write(self._fd, chunk)

    def _write_if_ready(self, chunk: bytes) -> int:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(0):
            raise BlockingIOError
        return os.write(self._fd, chunk[: self._chunk_bytes])

    def _send_socket(self, chunk: bytes) -> int:
        assert self._socket is not None
        return self._socket.send(chunk, socket.MSG_DONTWAIT)


def _remove(entries: deque[bytes], written_bytes: int) -> None:
    while written_bytes:
        first = entries[0]
        if len(first) > written_bytes:
            entries[0] = first[written_bytes:]
            return
        written_bytes -= len(first)
        entries.popleft()
