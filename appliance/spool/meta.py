"""What the spool knows about an entry besides its octets.

Values only; `codec` gives them a form on disk. Used by the spool, and read by the queue, delivery and DSNs, which hold
`Entry` objects.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from appliance.core.envelope import Envelope

if TYPE_CHECKING:
    from appliance.spool.segment import Segment


class Phase(enum.IntEnum):
    """Where a recipient stands."""

    WAITING = 0
    DELIVERED = 1
    """A next hop took the debt over with its 2xx."""
    FAILED = 2
    """Given up: refused for good, or its life is over."""


@dataclass(slots=True)
class RecipientState:
    """How far one recipient is. Changed by the queue alone, which then calls `Spool.update`."""

    phase: Phase = Phase.WAITING
    attempts: int = 0
    reply: str = ""
    """The last answer, ours or a next hop's: `450 4.2.0 Mailbox busy`."""
    due_s: float = 0.0
    """Next try, seconds since the epoch; 0 means at once."""
    warned: bool = False
    """A delay DSN is on stable storage."""
    reported: bool = False
    """The final DSN is on stable storage, or none was wanted."""


@dataclass(slots=True)
class EntryMeta:
    """What intake says of a message when it commits a draft."""

    id: str
    """The transaction's id; no two entries of a spool have the same."""
    envelope: Envelope
    received_at_s: float
    """Seconds since the epoch."""
    dotted: bool
    """True: stored dot-stuffed in CRLF lines, without the final dot line. False: octets as BDAT carries them."""
    client: dict[str, str] = field(default_factory=dict)
    """Facts about the client that a log line or a DSN may need later."""
    header_bytes: int = 0
    """Octets of the header section with the empty line, as stored."""
    size_bytes: int = 0
    """Octets of the whole message as stored; filled in by `Draft.commit`."""
    held: bool = False
    hold_reason: str = ""


class Extent(NamedTuple):
    """A run of an entry's octets."""

    segment: Segment
    offset: int
    length: int


class Entry:
    """A message in the spool. The spool owns it; `recipients`, `meta.held` and `meta.hold_reason` are the queue's."""

    __slots__ = ("commit_generations", "durable", "extents", "holds", "meta", "number", "recipients", "states_hold")

    def __init__(self, number: int, meta: EntryMeta, recipients: list[RecipientState]) -> None:
        self.number = number
        """Unique in the spool's whole life, unlike positions, which change when an entry is moved."""
        self.meta = meta
        self.recipients = recipients
        """One state for each of `meta.envelope.recipients`, in the same order."""
        self.durable = False
        """Its commit is on stable storage."""
        self.extents: list[Extent] = []
        self.holds: list[tuple[Segment, int]] = []
        self.states_hold: tuple[Segment, int] | None = None
        self.commit_generations: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        return self.meta.id

    def __repr__(self) -> str:
        return f"Entry({self.meta.id}, {self.meta.size_bytes} bytes, {len(self.recipients)} recipients)"
