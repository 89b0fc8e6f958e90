"""What a room of requests knows how to tell is the asker's answer; what it does not know stays a defect."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from appliance.control.access import Asker
from appliance.control.protocol import RequestRefused
from appliance.control.refusals import in_words


def answer(error: Exception, trouble: str = "the disk: {}; nothing was changed") -> Any:
    async def handler(asker: Asker, args: dict[str, Any]) -> object:
        raise error

    told = in_words({"disk.ask": handler}, (LookupError,), trouble)
    return asyncio.run(told["disk.ask"](Asker(0, "root"), {}))


def test_what_the_room_tells_is_refused_in_its_own_words() -> None:
    with pytest.raises(RequestRefused, match="^'no such {thing}'$"):
        answer(KeyError("no such {thing}"))


def test_the_reason_of_the_disk_is_set_into_the_rooms_sentence() -> None:
    with pytest.raises(RequestRefused, match="^the disk: No space left {here}; nothing was changed$"):
        answer(OSError(errno.ENOSPC, "No space left {here}"))


def test_an_error_without_a_number_is_told_by_its_text() -> None:
    with pytest.raises(RequestRefused, match="^the stick: it was pulled out$"):
        answer(OSError("it was pulled out"), "the stick: {}")


def test_a_defect_stays_one() -> None:
    with pytest.raises(ZeroDivisionError):
        answer(ZeroDivisionError())
