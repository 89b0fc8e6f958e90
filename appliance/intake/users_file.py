"""The users file on disk: read as a whole, rewritten atomically under a lock.

TOML (`[[user]]` tables) or JSON (`{"user": [...]}`), by the file's suffix. Knows the form of a user, nothing of
passwords: hashes pass through as they are. Called by `intake.users` and by the command line's `user` commands.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
import tomllib
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from appliance.core.errors import GatewayError
from appliance.core.reply import Reply

MAX_FILE_BYTES = 16 << 20
MAX_NAME_CHARACTERS = 254
_BAD_IN_NAME = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")


class UsersTrouble(GatewayError):
    """The users file cannot be used; temporary for the client, for somebody will mend it (RFC 4954 §6)."""

    reply = Reply(454, "4.7.0", "Temporary authentication failure")


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One login."""

    name: str
    hash: str
    """argon2id in the PHC string format."""
    addresses: list[str] = []
    """What it may send as: `user@domain`, or `@domain` for all of a domain. Empty: the login itself."""
    disabled: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    user: list[User] = []


def normal_name(name: str) -> str:
    """The form in which logins are stored and compared: NFKC, lower case.

    Raises:
        ValueError: empty, too long, or with blanks or control characters.
    """
    normal = unicodedata.normalize("NFKC", name).lower()
    if not normal or len(normal) > MAX_NAME_CHARACTERS or _BAD_IN_NAME.search(normal):
        raise ValueError("a login has 1 to 254 characters, none of them a blank or control character")
    return normal


def read(path: str) -> dict[str, User]:
    """The users in the file by their normal name.

    Raises:
        UsersTrouble: the file is not there, cannot be read, or its form is wrong; `str()` is for the operator.
    """
    try:
        with open(path, "rb") as file:
            raw_text = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsersTrouble(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return parse(raw_text, path)


def parse(raw_text: bytes, path: str) -> dict[str, User]:
    """The users in `raw_text`; `path` tells the form by its suffix and names the file in errors.

    Raises:
        UsersTrouble: as `read`.
    """
    if len(raw_text) > MAX_FILE_BYTES:
        raise UsersTrouble(f"{path}: longer than {MAX_FILE_BYTES >> 20} MiB")
    try:
        document = json.loads(raw_text) if path.endswith(".json") else tomllib.loads(raw_text.decode())
        listed = msgspec.convert(document, _File).user
        users: dict[str, User] = {}
        for user in listed:
            name = normal_name(user.name)
            if name in users:
                raise ValueError(f"the login {name!r} is there twice")
            users[name] = msgspec.structs.replace(user, name=name)
    except (ValueError, RecursionError) as error:  # msgspec's, tomllib's, json's and Unicode's are ValueErrors
        raise UsersTrouble(f"{path}: {error}") from error
    return users


def render(users: dict[str, User], path: str) -> bytes:
    """The file's octets for `users`, in the form that the suffix of `path` asks for."""
    listed = [users[name] for name in sorted(users)]
    if path.endswith(".json"):
        return msgspec.json.format(msgspec.json.encode(_File(listed)), indent=2) + b"\n"
    tables = ["# Written by `mailweir user`. Hashes are argon2id.\n"]
    for user in listed:
        addresses = ", ".join(_quoted(address) for address in user.addresses)
        tables.append(
            f"[[user]]\nname = {_quoted(user.name)}\nhash = {_quoted(user.hash)}\n"
            f"addresses = [{addresses}]\ndisabled = {'true' if user.disabled else 'false'}\n"
        )
    return "\n".join(tables).encode()


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for U+007F, which JSON does not escape.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@contextmanager
def edited(path: str) -> Iterator[dict[str, User]]:
    """The users, to be changed in the `with` block; written back at its end if it raised nothing.

    Two editors at one time take turns: the lock is on a file beside it, for the users file itself is replaced. A file
    that is not there yet counts as empty.

    Raises:
        UsersTrouble: as `read`, or the file cannot be written.
    """
    try:
        lock_fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (OSError, ValueError) as error:
        raise UsersTrouble(f"{path}.lock: {getattr(error, 'strerror', None) or error}") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        users = read(path) if os.path.exists(path) else {}
        yield users
        raw_text = render(users, path)
        parse(raw_text, path)  # what we could not read back must not replace what we can
        try:
            _replace(path, raw_text)
        except OSError as error:
            raise UsersTrouble(f"{path}: {error.strerror}") from error
    finally:
        os.close(lock_fd)


def _replace(path: str, raw_text: bytes) -> None:
    """New content at once or not at all, also over a power cut; the owner stays, and whether the group may read.

    A new file goes to its directory's owner: root may add the first user, and the gateway reads it under its own uid.
    """
    directory = os.path.dirname(os.path.abspath(path))
    temporary_fd, temporary = tempfile.mkstemp(prefix=".users-", dir=directory)  # mode 0600
    try:
        with open(temporary_fd, "wb") as file:
            file.write(raw_text)
            if os.geteuid() == 0:
                owner = os.stat(path if os.path.exists(path) else directory)
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            if os.path.exists(path):
                os.fchmod(file.fileno(), 0o600 | os.stat(path).st_mode & 0o040)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)
