"""Logins of the submission ports: who they are, and which addresses they may send as.

Passwords exist here only while one is verified; kept are argon2id hashes in a file, read again when it changes. Knows
no SMTP: the submission session calls `Users.verify` in a thread, for it takes tens of milliseconds by intention.
"""

from __future__ import annotations

import os
import secrets
import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import Type

from appliance.core.address import Address, BadAddress, parse_address, parse_domain
from appliance.core.errors import BadDomain
from appliance.dns.names import literal_address, to_ascii
from appliance.intake.users_file import User, UsersTrouble, normal_name, read

__all__ = ["User", "Users", "UsersTrouble", "hashed", "matches", "may_send_as", "rule_of"]

MAX_PASSWORD_OCTETS = 1024
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
"""19 MiB and two passes: what OWASP names as the least, and what a small board stands."""

_Stamp = tuple[int, int, int]


@cache
def _dummy_hash() -> str:
    return _HASHER.hash(secrets.token_bytes(16))


def hashed(password: str) -> str:
    """The argon2id hash of `password`, as the users file keeps it. Takes tens of milliseconds and 19 MiB.

    Raises:
        ValueError: empty or too long.
    """
    raw_password = _octets(password)
    if not raw_password or len(raw_password) > MAX_PASSWORD_OCTETS:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD_OCTETS} octets")
    return _HASHER.hash(raw_password)


def matches(password: str, known_hash: str) -> bool:
    """Whether `known_hash` is one of `password`. Takes as long as `hashed`.

    Raises:
        ValueError: `known_hash` is none.
    """
    raw_password = _octets(password)
    try:
        _HASHER.verify(known_hash, raw_password[:MAX_PASSWORD_OCTETS])
    except VerifyMismatchError:
        return False
    except (VerificationError, InvalidHashError) as error:
        raise ValueError(f"the hash cannot be verified: {error}") from error
    return len(raw_password) <= MAX_PASSWORD_OCTETS


def _octets(password: str) -> bytes:
    # Composed and decomposed accents are one password, whichever keyboard sent them (RFC 8265 §4.2.1).
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


class Users:
    """The logins of one users file. Safe to be used from several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._users: dict[str, User] = {}

    @classmethod
    def load(cls, path: str) -> Users:
        """The logins in the file at `path`.

        Raises:
            UsersTrouble: it cannot be read, or its form is wrong.
        """
        users = cls(path)
        users._refresh()
        _dummy_hash()  # now, so that the first unknown login costs no more than the next
        return users

    def verify(self, raw_name: str, password: str) -> User | None:
        """The user with this name and password, or None. Blocks for tens of milliseconds: to be called in a thread.

        An unknown or disabled login takes as long as a wrong password, so that time tells nobody which logins exist.
        At one time each call takes 19 MiB; the caller's thread pool bounds how many there are.

        Raises:
            UsersTrouble: the file changed and cannot be read now; temporary.
        """
        users = self._refresh()
        try:
            user = users.get(normal_name(raw_name))
        except ValueError:
            user = None
        raw_password = _octets(password)
        too_long = len(raw_password) > MAX_PASSWORD_OCTETS
        try:
            _HASHER.verify(user.hash if user else _dummy_hash(), raw_password[:MAX_PASSWORD_OCTETS])
        except VerifyMismatchError:
            return None
        except (VerificationError, InvalidHashError) as error:
            raise UsersTrouble(f"{self._path}: the hash of {raw_name!r} cannot be verified: {error}") from error
        return user if user is not None and not user.disabled and not too_long else None

    def may_send(self, name: str, address: Address) -> bool:
        """Whether the login `name`, verified before, may put `address` into MAIL FROM; see `may_send_as`.

        Fast and without I/O: asks the users as they were at the last `verify`.
        """
        user = self._users.get(name)
        return user is not None and not user.disabled and may_send_as(user, address)

    def _refresh(self) -> dict[str, User]:
        """The users as they are on disk now; one `stat` where nothing changed."""
        with self._lock:
            try:
                status = os.stat(self._path)
            except (OSError, ValueError) as error:
                raise UsersTrouble(f"{self._path}: {getattr(error, 'strerror', None) or error}") from error
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._stamp:
                self._users = read(self._path)
                self._stamp = stamp
            return self._users


def rule_of(text: str) -> str:
    """The normal form of what a login may send as: `local@domain`, or `@domain` (also from `domain`) for all of it.

    Raises:
        BadAddress: neither an address nor a domain.
    """
    if text.startswith("@") or "@" not in text:
        return f"@{_domain_key(parse_domain(text.removeprefix('@')))}"
    return _key_of(parse_address(text.encode("utf-8", "replace"), utf8=True))


def _key_of(address: Address) -> str:
    return f"{unicodedata.normalize('NFC', address.local).lower()}@{_domain_key(address.domain)}"


def _domain_key(domain: str) -> str:
    try:
        return f"[{literal_address(domain)}]" if domain.startswith("[") else to_ascii(domain)
    except BadDomain as error:
        raise BadAddress(str(error)) from error


def may_send_as(user: User, address: Address) -> bool:
    """Whether `user` may put `address` into MAIL FROM.

    The null sender is everybody's: a mail program must send its receipts with it (RFC 8098 §3).
    """
    if address.is_null:
        return True
    try:
        wanted = _key_of(address)
    except BadAddress:
        return False
    domain = wanted[wanted.rindex("@") :]
    for text in user.addresses or [user.name]:
        try:
            rule = rule_of(text) if user.addresses or "@" in text else ""
        except BadAddress:
            continue  # `mailweir user add` refuses these; by hand anything may be written, and then allows nothing
        if rule in (wanted, domain):
            return True
    return False
