"""What the stores, the disk and the sticks say against a request is the asker's answer, not a defect of the role.

Called by the rooms of requests, each with the exceptions that it knows how to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.control.access import AskedHandler, Asker
from appliance.control.protocol import RequestRefused


def in_words(
    handlers: Mapping[str, AskedHandler], told: tuple[type[Exception], ...], trouble: str
) -> dict[str, AskedHandler]:
    """`handlers`, which refuse by the text of an exception that is `told`, and for an OSError by `trouble`, where its
    reason takes the place of `{}`.
    """
    return {name: _telling(handler, told, trouble) for name, handler in handlers.items()}


def _telling(handler: AskedHandler, told: tuple[type[Exception], ...], trouble: str) -> AskedHandler:
    async def handle(asker: Asker, args: dict[str, Any]) -> object:
        try:
            return await handler(asker, args)
        except told as error:
            raise RequestRefused(str(error)) from error
        except OSError as error:
            raise RequestRefused(trouble.format(error.strerror or error)) from error

    return handle
