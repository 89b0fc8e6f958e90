"""Imports without OpenSSL, for roles that run for ever and want none of it while nothing is asked of them.

libcrypto's tables are relocated, that is written, as soon as it is loaded: 6 MiB of each process, and Python loads it
for asyncio's TLS and for hashes that it has itself. Called by the command line before it imports such a role.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MODULES = ("ssl", "_ssl", "_hashlib")


@contextmanager
def without_openssl() -> Iterator[None]:
    """What is imported in this block finds a Python that was built without OpenSSL, as the standard library allows.

    `ssl` can be imported afterwards, by a function that needs it. Without effect where it is loaded already.
    """
    hidden = [name for name in _MODULES if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
