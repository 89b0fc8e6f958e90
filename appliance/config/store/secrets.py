"""Which files a configuration refers to, and under which names the store keeps those that are its own.

A secret's file never changes under a revision: a new value is a new file, and the text refers to it. So one symbolic
link decides about text and secrets at once, and the way back finds the old ones. (The users file alone is changed in
place, by `mailweir user`; logins are not rolled back.) Does no I/O; called by `config.store.revisions` and `archive`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from appliance.config.lines import KeyPath
from appliance.config.store.revision import StoreError

FOLDER = "secrets"
MAX_SECRET_BYTES = 8 << 20
MAX_SECRETS = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}")
_RESERVED_ENDINGS = (".new", ".lock")
_LONGEST_SUFFIX = 20

_FILES: tuple[tuple[str, ...], ...] = (
    ("tls", "certificate"),
    ("tls", "key"),
    ("tls", "client_ca"),
    ("next_hop", "*", "tls_ca"),
    ("next_hop", "*", "password_file"),
    ("submission", "users_file"),
    ("scan", "patterns", "files", "*"),
)
_PLACES: tuple[tuple[str, ...], ...] = (("state",), ("log", "to"), ("scan", "clamd", "address"))
_WORDS = {"log": ("auto", "journal", "stdout")}


def references(document: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Key and value of everything in `document` that names a file to be read."""
    for pattern in _FILES:
        yield from _found(document, pattern, ())


def places(document: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Key and value of everything that names a directory, log or socket: never part of a revision."""
    for pattern in _PLACES:
        for path, value in _found(document, pattern, ()):
            if value not in _WORDS.get(pattern[0], ()) and not value.startswith("tcp:"):
                yield path, value.removeprefix("unix:")


def _found(value: Any, pattern: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if not pattern:
        if isinstance(value, str) and value:
            yield path, value
    elif pattern[0] == "*":
        if isinstance(value, list):
            for index, element in enumerate(value):
                yield from _found(element, pattern[1:], (*path, index))
    elif isinstance(value, Mapping) and pattern[0] in value:
        yield from _found(value[pattern[0]], pattern[1:], (*path, pattern[0]))


def secret_name(reference: str) -> str:
    """The name of the secret in a reference `secrets/NAME`; empty for any other path."""
    folder, slash, name = reference.removeprefix("./").partition("/")
    return name if slash and folder == FOLDER and is_name(name) else ""


def secret_names(document: Mapping[str, Any]) -> list[str]:
    """The secrets that `document` refers to, each once, in order."""
    named = (secret_name(reference) for _, reference in references(document))
    return list(dict.fromkeys(filter(None, named)))


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not name.endswith(_RESERVED_ENDINGS)


def check_secrets(secrets: Mapping[str, bytes], named: list[str]) -> None:
    """Raises StoreError for a secret that could not be kept, or that nothing refers to."""
    if len(secrets) > MAX_SECRETS:
        raise StoreError(f"{len(secrets)} secrets are more than {MAX_SECRETS}; leave some out")
    for name, octets in secrets.items():
        if not is_name(name):
            raise StoreError(f"{name[:100]!r} is no name for a secret; use letters, digits, . _ @ and -")
        if len(octets) > MAX_SECRET_BYTES:
            raise StoreError(f"{FOLDER}/{name} is longer than {MAX_SECRET_BYTES >> 20} MiB; make it shorter")
        if name not in named:
            raise StoreError(f"nothing in the configuration refers to {FOLDER}/{name}; leave it out, or name it")


def next_name(name: str, taken: set[str]) -> str:
    """`name` with the first number before its suffix that makes it none of `taken`: `key-2.pem` from `key.pem`."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > _LONGEST_SUFFIX:
        stem, dot, suffix = name, "", ""
    stem = re.sub(r"-[0-9]{1,6}$", "", stem)[:50]
    number = 2
    while (candidate := f"{stem}-{number}{dot}{suffix}") in taken:
        number += 1
    return candidate
