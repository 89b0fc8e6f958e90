"""The arguments of a request: what all kinds of them share, and the way from JSON to one of them.

Called by each room of requests; the messages of both ends of the socket are made of it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from appliance.control.protocol import RequestRefused

_T = TypeVar("_T")


class Args(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is not known is refused: it was meant to do something."""


class Nothing(Args):
    """No arguments."""


class AuthorArgs(Args):
    """Nothing but who asks."""

    author: str = ""


def typed(args: dict[str, Any], kind: type[_T]) -> _T:
    """`args` as a `kind`.

    Raises:
        RequestRefused: they are not.
    """
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"wrong arguments: {error}") from error
