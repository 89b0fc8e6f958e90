"""The words of the control socket: one JSON request a line, one JSON answer a line, both with a version.

`{"v": 1, "request": "queue.list", "args": {}}` is answered by `{"v": 1, "ok": true, "result": ...}` or by
`{"v": 1, "ok": false, "error": "a sentence"}`. Several requests may follow each other on one connection. Does no I/O;
called by `control.server` and `control.client`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec

VERSION = 1
MAX_LINE_OCTETS = 1 << 20
"""With the newline. More in a request closes the connection; an answer that would be longer becomes an error."""
MAX_TIMEOUT_S = 30.0


class ControlError(Exception):
    """A request that was not done; `str()` is a sentence for a person."""


class NoAnswer(ControlError):
    """Nobody listens on the socket, or nothing came back in time."""


class RequestRefused(ControlError):
    """The role answered that it will not, or cannot. Handlers raise this to say so."""


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One line from a client."""

    v: int
    request: str
    args: dict[str, Any] = {}


class Answer(msgspec.Struct, kw_only=True):
    """One line from a role. Unknown fields are ignored, so that a newer role may say more."""

    v: int = VERSION
    ok: bool = True
    result: Any = None
    error: str = ""


_ENCODER = msgspec.json.Encoder()
_REQUEST = msgspec.json.Decoder(Request)
_ANSWER = msgspec.json.Decoder(Answer)
_CREDENTIALS = struct.Struct("3i")  # struct ucred, unix(7): pid, uid, gid
CREDENTIALS_OCTETS = _CREDENTIALS.size


def peer_uid(raw_credentials: bytes) -> int:
    """The uid in what SO_PEERCRED gave."""
    return int(_CREDENTIALS.unpack(raw_credentials)[1])


def encode_request(request: str, args: dict[str, Any] | None = None) -> bytes:
    """The request's line.

    Raises:
        RequestRefused: it is too long, or its arguments are no JSON.
    """
    line = _line(Request(v=VERSION, request=request, args=args or {}))
    if len(line) > MAX_LINE_OCTETS:
        raise RequestRefused("the request is too long; ask for less at a time")
    return line


def decode_request(line: bytes) -> Request:
    """The request in `line`.

    Raises:
        RequestRefused: it is none, or of another version.
    """
    try:
        request = _REQUEST.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestRefused(f"not a request: {error}") from error
    if request.v != VERSION:
        raise RequestRefused(
            f"this role speaks version {VERSION}, not {request.v}; use the command of the same release"
        )
    return request


def encode_answer(answer: Answer) -> bytes:
    """The answer's line; an error in its place when it is too long or no JSON."""
    try:
        line = _line(answer)
    except RequestRefused as error:
        return _line(Answer(ok=False, error=str(error)))
    if len(line) > MAX_LINE_OCTETS:
        return _line(Answer(ok=False, error=f"the answer is over {MAX_LINE_OCTETS} octets; ask for less at a time"))
    return line


def decode_answer(line: bytes) -> Any:
    """The result in `line`.

    Raises:
        RequestRefused: the role said no; the text is the role's.
        NoAnswer: the line is no answer.
    """
    try:
        answer = _ANSWER.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NoAnswer(f"what came back is no answer: {error}") from error
    if answer.v != VERSION:
        raise NoAnswer(f"the answer is of version {answer.v}, this is {VERSION}; use the command of the same release")
    if not answer.ok:
        raise RequestRefused(answer.error or "refused without a reason")
    return answer.result


def _line(message: Request | Answer) -> bytes:
    try:
        return _ENCODER.encode(message) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestRefused(f"cannot be written as JSON: {error}") from error


def worker_socket(state: str, number: int) -> Path:
    """Where worker `number` of the gateway with this state directory listens."""
    return Path(state, "control", f"worker-{number}.sock")


def worker_sockets(state: str) -> list[Path]:
    """The sockets of all workers, alive or left behind, by number.

    Raises:
        NoAnswer: the directory may not be read by this user.
    """
    directory = Path(state, "control")
    found: list[tuple[int, Path]] = []
    try:
        for path in directory.iterdir():
            number = path.name.removeprefix("worker-").removesuffix(".sock")
            if number.isdecimal() and path.name == f"worker-{number}.sock":
                found.append((int(number), path))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise NoAnswer(f"{directory}: {error.strerror}; ask as root, or as the gateway's user") from error
    return [path for _, path in sorted(found)]
