"""The replies of one session in the order of their commands (RFC 2920 §3.2), some of them still open.

A command that has no answer yet keeps a place; what is behind it waits. The queue knows no protocol, only places.
`wire.smtp_server` fills it and bounds it: it hands out no command while the queue is `full`.
"""

from __future__ import annotations

from typing import Final

from appliance.core.reply import Reply

_MOST_BEHIND_OPEN: Final = 100


class ReplyQueue:
    """Due replies, appended, and None for each that is not known yet (`reserve`)."""

    __slots__ = ("_places", "open")

    def __init__(self) -> None:
        self._places: list[Reply | None] = []  # a deque would take 0.7 KiB of each idle session
        self.open = 0
        """Places that wait for a reply."""

    @property
    def full(self) -> bool:
        """So many replies wait behind an open one that no further command should be taken."""
        return len(self._places) >= _MOST_BEHIND_OPEN

    def append(self, reply: Reply) -> None:
        """The reply to the newest command, known at once."""
        self._places.append(reply)

    def reserve(self) -> None:
        """A place for the reply to the newest command."""
        self._places.append(None)
        self.open += 1

    def fill(self, reply: Reply) -> None:
        """Puts `reply` into the oldest open place.

        Raises:
            RuntimeError: there is none; the caller's mistake.
        """
        if not self.open:
            raise RuntimeError("no command waits for an answer")
        self._places[self._places.index(None)] = reply
        self.open -= 1

    def withdraw(self) -> None:
        """Gives up the newest place, which must be open: its command gets its reply later, by `append`."""
        assert self._places[-1] is None
        self._places.pop()
        self.open -= 1

    def end(self, last: Reply | None) -> None:
        """Nothing comes any more: what is open, and all behind it, is given up for `last`."""
        if self.open:
            del self._places[self._places.index(None) :]
            self.open = 0
        if last is not None:
            self.append(last)

    def take(self) -> bytes:
        """The replies that are due, as octets; b"" if none is."""
        places = self._places
        if not places:
            return b""
        due = places.index(None) if self.open else len(places)
        if due == 1 and (only := places.pop(0)) is not None:
            return only.raw
        if not due:
            return b""
        output = b"".join([reply.raw for reply in places[:due] if reply is not None])
        del places[:due]
        return output
