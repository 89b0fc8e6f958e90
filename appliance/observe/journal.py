"""Events as datagrams of journald's native protocol: one event, one entry, its fields searchable.

Knows the protocol (systemd, "Native Journal Protocol") and nothing of timers or backlogs. Called by `events` alone,
and imported only where there is a journal.
"""

from __future__ import annotations

import array
import errno
import fcntl
import logging
import os
import re
import socket
import time
from collections import deque
from collections.abc import Iterable

from appliance.observe.lines import dumps, printable

_Kind = tuple[str, int, tuple[str, ...], tuple[type, ...]]

SOCKET_PATH = "/run/systemd/journal/socket"
_SEND_BUFFER_BYTES = 1 << 20
_KNOWN_KINDS = 512
# Names that journald or its readers take to mean something: a field of an event must not pose as them.
_RESERVED = re.compile(
    "MESSAGE|MESSAGE_ID|PRIORITY|ERRNO|EVENT|AT|TID|UNIT|USER_UNIT|INVOCATION_ID|DOCUMENTATION"
    "|(?:CODE|SYSLOG|OBJECT|COREDUMP)_.*"
)
_SIMPLE = frozenset({str, int, float})
_CRITICAL_TO_INFO = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def present(path: str = SOCKET_PATH) -> bool:
    """Whether our own output goes to a journal that takes datagrams.

    `JOURNAL_STREAM` holds device and inode of the stream that systemd connected to stdout or stderr: only if ours is
    that stream (and not a file or pipe that somebody put in its place) are we a service of this journal. The socket
    alone is no sign: on a workstation with a journal, `mailweir run | tee log` means what it says.
    """
    if not os.path.exists(path):
        return False
    stream = os.environ.get("JOURNAL_STREAM", "")
    for fd in (2, 1):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        if stream == f"{status.st_dev}:{status.st_ino}":
            return True
    return False


class JournalSink:
    """Entries to the journal's socket; a journal that restarts or is full loses nothing that the backlog can hold."""

    def __init__(self, path: str = SOCKET_PATH, identifier: str = "mailweir") -> None:
        """Raises OSError when no socket can be made; whether anybody listens at `path` shows when writing."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._identifier = printable(identifier)
        self._templates: dict[_Kind, str] = {}
        self._second = -1
        self._date = ""

    def encode(self, at_s: float, level: int, name: str, fields: dict[str, object]) -> bytes:
        """One event as a finished datagram. No value holds a newline, so the short form of each field is enough."""
        raw = dumps(fields)
        values = tuple(fields.values())
        # JSON that escapes nothing proves the values clean at the price of one call: then a template made once for
        # such an event does it all (measured: 4 µs instead of 20).
        if raw.isascii() and 0x5C not in raw:
            kind = (name, level, tuple(fields), tuple(map(type, values)))
            template = self._templates.get(kind)
            if template is None:
                template = self._new_template(kind)
            if template:
                return (template % (*values, *values, self._stamp(at_s))).encode()
        texts = [_text(value) for value in values]
        message = [
            dumps({"": v})[4:-1].decode() if t is str else v for t, v in zip(map(type, values), texts, strict=True)
        ]
        return (
            _form(name, level, self._identifier, self._named(fields)) % (*message, *texts, self._stamp(at_s))
        ).encode()

    def _new_template(self, kind: _Kind) -> str:
        """The form of events of `kind`, strings quoted; empty if a value's type needs a closer look each time."""
        if len(self._templates) >= _KNOWN_KINDS:  # names are constants of ours; be safe all the same
            self._templates.clear()
        name, level, keys, types = kind
        template = ""
        if _SIMPLE.issuperset(types):
            quotes = ['"%s"' if type_ is str else "%s" for type_ in types]
            template = _form(name, level, self._identifier, self._named(keys), quotes)
        self._templates[kind] = template
        return template

    def _named(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        """Each key as MESSAGE shows it, and its name as a field."""
        return [(printable(key), _field_name(key)) for key in keys]

    def _stamp(self, at_s: float) -> str:
        second = int(at_s)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{int((at_s - second) * 1000):03d}Z"

    def write(self, entries: deque[bytes]) -> int:
        """Sends from the left what the journal takes now, and removes it; returns the octets. Never blocks."""
        written_bytes = 0
        while entries:
            entry = entries[0]
            try:
                self._send(entry)
            except OSError:  # full, restarting or gone: the caller keeps the rest, bounded, and counts what it drops
                break
            written_bytes += len(entry)
            entries.popleft()
        return written_bytes

    def fileno(self) -> int:
        """The descriptor to wait on until it takes more."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_sealed(entry)

    def _send_sealed(self, entry: bytes) -> None:
        # Too large for a datagram: journald takes a memory file, sealed so that nobody changes it while it reads.
        memory = os.memfd_create("mailweir-event", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(memory, entry)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))]
            self._socket.sendmsg([b""], rights, 0, self._path)
        finally:
            os.close(memory)


def _form(name: str, level: int, identifier: str, keys: list[tuple[str, str]], quotes: list[str] | None = None) -> str:
    """An entry with `%s` for each value in MESSAGE, then for each value as a field, then for the time."""
    shown = zip(keys, quotes or ["%s"] * len(keys), strict=True)
    message = " ".join([_literal(name), *(f"{_literal(key)}={quote}" for (key, _), quote in shown)])
    priority = next((number for least, number in _CRITICAL_TO_INFO if level >= least), 7)
    return (
        f"MESSAGE={message}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER={_literal(identifier)}\nEVENT={_literal(name)}\n"
        f"{''.join(f'{field}=%s{chr(10)}' for _, field in keys)}AT=%s\n"
    )


def _literal(text: str) -> str:
    return printable(text).replace("%", "%%")


def _field_name(key: str) -> str:
    name = re.sub(r"[^A-Z0-9_]", "_", key.upper())
    if not name or not name[0].isalpha() or _RESERVED.fullmatch(name):
        name = f"FIELD_{name}"
    return name[:64]


def _text(value: object) -> str:
    """`value` as a field shows it: JSON where JSON has a word for it."""
    if isinstance(value, str):
        return printable(value)
    return dumps({"": value})[4:-1].decode().removeprefix('"').removesuffix('"')
