"""A disk that loses what it was not asked to flush, as a card does when the power goes: an NBD server for QEMU.

Writes go into the file at once, with what was there before kept aside until the guest flushes. `lose` takes back a
random part of those that were not flushed, four kibibytes each, so that old and new are mixed as they may be on a real
card. `cut_at` makes it die in the middle of a write. The protocol is NBD's fixed newstyle without options,
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_OPTION, _REPLY, _REQUEST, _ANSWER = 0x49484156454F5054, 0x3E889045565A9, 0x25609513, 0x67446698
_EXPORT_NAME, _INFO, _GO = 1, 6, 7
_ACK, _IS_INFO, _UNSUPPORTED = 1, 3, (1 << 31) + 1
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_FLAGS = 1 | 4  # flags are there, flush is understood
_EINVAL = 22
_UNIT_BYTES = 4096

Read = Callable[[int], bytes]


class FlakyDisk:
    """Serves the file `path` at the Unix socket `address`, to one QEMU after the other."""

    def __init__(self, path: Path, address: Path, chance: random.Random) -> None:
        self.address = address
        self.writes = 0
        """Write requests so far."""
        self.cut = threading.Event()
        """Set when the moment of `cut_at` has come; nothing is written from then on."""
        self._file = os.open(path, os.O_RDWR)
        self._size_bytes = os.fstat(self._file).st_size
        self._chance = chance
        self._lock = threading.Lock()
        self._unflushed: list[tuple[int, bytes, bytes]] = []  # offset, before, after
        self._countdown, self._from_byte = 0, 0
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(address))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def cut_at(self, write: int, from_byte: int = 0) -> None:
        """Dies at the write with this number from now, counted from 1, of those that go to `from_byte` or behind."""
        with self._lock:
            self._countdown, self._from_byte = write, from_byte

    def lose(self) -> int:
        """After the machine is gone: takes back a random part of what was not flushed. How many writes that was."""
        with self._lock:
            pending, self._unflushed = self._unflushed, []
            for offset, before, _ in reversed(pending):
                os.pwrite(self._file, before, offset)
            for offset, _, after in pending:
                for at in range(0, len(after), _UNIT_BYTES):
                    if self._chance.random() < 0.5:
                        os.pwrite(self._file, after[at : at + _UNIT_BYTES], offset + at)
            self.cut.clear()
            self._countdown = 0
            return len(pending)

    def close(self) -> None:
        """The file stays."""
        self._server.close()
        os.close(self._file)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with suppress(OSError, EOFError), connection, connection.makefile("rb") as stream:
                    if self._negotiated(connection, stream.read):
                        self._transmit(connection, stream.read)

    def _negotiated(self, out: socket.socket, read: Read) -> bool:
        out.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 1))
        _exactly(read, 4)
        while True:
            magic, option, length = struct.unpack(">QII", _exactly(read, 16))
            _exactly(read, length)
            if magic != _OPTION:
                return False

            def reply(kind: int, octets: bytes = b"", option: int = option) -> None:
                out.sendall(struct.pack(">QIII", _REPLY, option, kind, len(octets)) + octets)

            if option == _EXPORT_NAME:
                out.sendall(struct.pack(">QH", self._size_bytes, _FLAGS) + bytes(124))
                return True
            if option in (_INFO, _GO):
                reply(_IS_INFO, struct.pack(">HQH", 0, self._size_bytes, _FLAGS))
                reply(_ACK)
                if option == _GO:
                    return True
            else:
                reply(_UNSUPPORTED)

    def _transmit(self, out: socket.socket, read: Read) -> None:
        while True:
            magic, _, kind, handle, offset, length = struct.unpack(">IHHQQI", _exactly(read, 28))
            if magic != _REQUEST or kind == _DISCONNECT:
                return
            error, octets = 0, b""
            if kind == _READ:
                octets = os.pread(self._file, length, offset)
            elif kind == _WRITE:
                self._write(offset, _exactly(read, length))
            elif kind == _FLUSH:
                self._flush()
            else:
                error = _EINVAL
            out.sendall(struct.pack(">IIQ", _ANSWER, error, handle) + octets)

    def _write(self, offset: int, octets: bytes) -> None:
        with self._lock:
            if self.cut.is_set():
                raise EOFError
            self.writes += 1
            before = os.pread(self._file, len(octets), offset)
            if self._countdown and offset >= self._from_byte:
                self._countdown -= 1
                if not self._countdown:
                    self._unflushed.append((offset, before, octets))  # `lose` decides what of it there is
                    self.cut.set()
                    raise EOFError
            os.pwrite(self._file, octets, offset)
            self._unflushed.append((offset, before, octets))

    def _flush(self) -> None:
        with self._lock:
            if self.cut.is_set():
                raise EOFError
            self._unflushed.clear()


def _exactly(read: Read, count: int) -> bytes:
    octets = read(count)
    if len(octets) != count:
        raise EOFError
    return octets
