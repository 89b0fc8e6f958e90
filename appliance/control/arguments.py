"""From the arguments of a request, as JSON gave them, to a struct. Called by each room of requests."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from appliance.control.protocol import RequestRefused

_T = TypeVar("_T")


def typed(args: dict[str, Any], kind: type[_T]) -> _T:
    """`args` as a `kind`.

    Raises:
        RequestRefused: they are not.
    """
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"wrong arguments: {error}") from error
