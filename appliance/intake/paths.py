"""The ways a body goes once its recipients are known: `ram`, `wire` and `spool` (see the picture in the README).

A path takes views of the message as they come and is told in the end what becomes of it. It owns the octets it keeps:
small bodies are copied (cheaper than tying up a receive buffer), larger ones stay in the receive buffers, which the
door hands over (`own`). On `wire` no octet is copied in Python: what is withheld until the verdict lies in the last
buffer, and a buffer goes back as soon as no view of it is left.

Called by `intake.transaction` alone. Paths know no policy; they report replies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

import stringzilla as sz

from appliance.core.errors import GatewayError
from appliance.core.reply import Reply
from appliance.delivery.cutthrough import Relay
from appliance.intake.buffers import BufferPool
from appliance.observe.metrics import Counters
from appliance.spool.draft import Draft

COPY_LIMIT_BYTES: Final = 16 << 10
_CRUMBS: Final = 16
_CRUMB_BYTES: Final = 512
"""More views than this that are shorter than that on average are joined."""
_CRUMB_READ_BYTES: Final = 512
"""What comes in reads of fewer octets is joined, too."""
_JOINED_BYTES: Final = 64 << 10

Views = Sequence[memoryview | bytes | bytearray]
Finals = Callable[[list[Reply]], None]
Settled = Callable[[GatewayError | None], None]


class BodyPath(ABC):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def take(self, view: memoryview) -> None:
        """Takes the next octets. Views may be kept until the next `secure`, which follows before the buffer changes."""

    @abstractmethod
    def secure(self) -> bool:
        """Called when the door is about to read on: True if the path keeps views of the door's buffer and needs it."""

    @abstractmethod
    def own(self, buffer: bytearray) -> None:
        """The buffer that `secure` asked for is the path's now; the door goes on filling its free end."""

    @abstractmethod
    def keeps(self, buffer: bytearray) -> bool:
        """Whether `buffer` was given by `own` and not given back yet."""

    @abstractmethod
    def drop(self) -> None:
        """Lets go of everything; the next hop gets no message. Idempotent."""


class Kept:
    """Octets held in memory: receive buffers by reference, or copies where they are few."""

    __slots__ = ("_buffers", "_counters", "_joined", "_pool", "_secured", "size_bytes", "views")

    def __init__(self, pool: BufferPool, counters: Counters) -> None:
        self._pool = pool
        self._counters = counters
        self._buffers: list[bytearray] = []
        self._joined = bytearray()  # crumbs; the last of `views` while it grows
        self._secured = 0
        self.views: list[memoryview | bytes | bytearray] = []
        self.size_bytes = 0

    def add(self, view: memoryview) -> None:
        self.views.append(view)
        self.size_bytes += len(view)

    def secure(self, *, may_copy: bool) -> bool:
        views = self.views
        fresh = len(views) - self._secured
        if not fresh:
            return False
        if sum(map(len, views[self._secured :])) < max(fresh * _CRUMB_BYTES * (fresh > _CRUMBS), _CRUMB_READ_BYTES):
            self._join_crumbs()
            return not may_copy
        if may_copy and self.size_bytes <= COPY_LIMIT_BYTES:
            self.copy_fresh()
            return False
        self._secured = len(views)
        return True

    def _join_crumbs(self) -> None:
        """A few octets a read or a chunk: a view would cost more than what it shows, and tie up a buffer."""
        views = self.views
        crumbs = b"".join(views[self._secured :])
        del views[self._secured :]
        self._counters.body_copies += 1
        if views and views[-1] is self._joined and len(self._joined) < _JOINED_BYTES:
            self._joined += crumbs
        else:
            self._joined = bytearray(crumbs)
            views.append(self._joined)
        self._secured = len(views)

    def copy_fresh(self) -> None:
        """Makes copies of what lies in the door's buffer."""
        views = self.views
        self._counters.body_copies += len(views) - self._secured
        for place in range(self._secured, len(views)):
            views[place] = bytes(views[place])
        self._secured = len(views)

    def as_chunk(self) -> bytes | None:
        """All of it in one piece for BDAT, without stuffing; None if it is long, or a line begins with a dot."""
        if self.size_bytes > COPY_LIMIT_BYTES:
            return None
        octets = b"".join(self.views)
        if octets.startswith(b".") or sz.find(octets, b"\r\n.") >= 0:
            return None
        self._counters.body_copies += 1
        self.views = [octets]
        self._secured = 1
        return octets

    def own(self, buffer: bytearray) -> None:
        if not self.keeps(buffer):
            self._buffers.append(buffer)

    def keeps(self, buffer: bytearray) -> bool:
        return any(buffer is owned for owned in self._buffers)

    def cut_front(self, octets: int) -> list[memoryview | bytes | bytearray]:
        """Removes the first `octets` and returns their views, still kept alive by the buffers."""
        taken: list[memoryview | bytes | bytearray] = []
        views = self.views
        place = 0
        while octets:
            view = views[place]
            size = len(view)
            if size > octets:
                taken.append(view[:octets])
                views[place] = view[octets:]
                self.size_bytes -= octets
                break
            taken.append(view)
            place += 1
            octets -= size
            self.size_bytes -= size
        del views[:place]
        self._secured = max(0, self._secured - place)
        return taken

    def recycle(self, current: bytearray | None) -> None:
        """Gives back the buffers that no kept view lies in, but for `current`, which the door is still filling."""
        if len(self._buffers) < 2 and self.views:
            return
        needed = {id(view.obj) for view in self.views if isinstance(view, memoryview)}
        for buffer in list(self._buffers):
            if buffer is not current and id(buffer) not in needed:
                self._buffers.remove(buffer)
                self._pool.give(buffer)

    def drop(self) -> None:
        self.views = []
        self.size_bytes = 0
        self._secured = 0
        buffers, self._buffers = self._buffers, []
        for buffer in buffers:
            self._pool.give(buffer)


class RamPath(BodyPath):
    """The body waits in memory for its verdict, then leaves in one vectored write."""

    __slots__ = ("kept", "relay")

    def __init__(self, relay: Relay, kept: Kept) -> None:
        super().__init__("ram")
        self.relay = relay
        self.kept = kept

    def take(self, view: memoryview) -> None:
        self.kept.add(view)

    def secure(self) -> bool:
        return self.kept.secure(may_copy=True)

    def own(self, buffer: bytearray) -> None:
        self.kept.own(buffer)

    def keeps(self, buffer: bytearray) -> bool:
        return self.kept.keeps(buffer)

    def deliver(self, received: bytes, *, binary: bool, done: Finals) -> None:
        """Sends the message to the next hop; `done` gets the replies. `relay.down` is set if it was lost on the way."""
        kept = self.kept
        if binary:
            # These octets leave before the door comes to `secure`, and may still wait in the connection after it.
            kept.copy_fresh()
            self.relay.finish_chunk([received, *kept.views], len(received) + kept.size_bytes, done)
            return
        # One write and one answer, where DATA takes two.
        chunk = kept.as_chunk() if self.relay.takes_chunks else None
        if chunk is not None:
            self.relay.finish_chunk([received, chunk], len(received) + len(chunk), done)
            return

        def ready(answer: Reply) -> None:
            if answer.code != 354:
                done([answer])
            else:
                # Not before now: `secure` has put copies into the place of views whose buffer others fill by now.
                self.relay.finish([received, *kept.views], done)

        self.relay.begin_data(ready)

    def drop(self) -> None:
        self.relay.abort()
        self.kept.drop()


class WirePath(BodyPath):
    """The body flows on while it comes in; its end is withheld until the verdict."""

    __slots__ = (
        "_blocked", "_current", "_on_flow", "_opened", "_received", "_refusal", "_withhold", "draft", "kept", "relay",
    )  # fmt: skip

    def __init__(
        self, relay: Relay, kept: Kept, *, received: bytes, withhold_bytes: int, on_flow: Callable[[bool], None]
    ) -> None:
        """`on_flow(False)` asks the door to stop reading, `on_flow(True)` to go on."""
        super().__init__("wire")
        self.relay = relay
        self.kept = kept
        self._received = received
        self._withhold = withhold_bytes
        self._on_flow = on_flow
        self._opened = False
        self._blocked = True
        self._current: bytearray | None = None
        self._refusal: Reply | None = None
        self.draft: Draft | None = None
        """Where the octets are kept as well, if they are."""
        relay.begin_data(self._ready)

    def _ready(self, answer: Reply) -> None:
        self._opened = True
        if answer.code != 354:
            self._refusal = answer
        elif self._received:
            self._blocked = not self.relay.write([self._received], self._drained)
            self._received = b""
        else:
            self._blocked = False
        if not self._blocked or self._refusal is not None:
            self._pump()
        if not self._blocked or self._refusal is not None:
            self._on_flow(True)

    def take(self, view: memoryview) -> None:
        if self.draft is not None:
            self._keep_too(self.draft, view)
        self.kept.add(view)
        if self._blocked and self._refusal is None:
            self._on_flow(False)
        else:
            self._pump()

    def _keep_too(self, draft: Draft, view: memoryview) -> None:
        try:
            draft.write(view)
        except GatewayError:
            # The message can still be delivered; only holding and spooling it are no longer possible.
            draft.abandon()
            self.draft = None

    def _pump(self) -> None:
        excess = self.kept.size_bytes - self._withhold
        if excess <= 0:
            return
        views = self.kept.cut_front(excess)
        if self._refusal is None and not self.relay.write(views, self._drained):
            self._blocked = True
            self._on_flow(False)
            return
        self.kept.recycle(self._current)

    def _drained(self) -> None:
        self._blocked = False
        self.kept.recycle(self._current)
        self._pump()
        if not self._blocked:
            self._on_flow(True)

    def secure(self) -> bool:
        # While blocked, views that were cut off already may still wait in the next hop's transport.
        return self.kept.secure(may_copy=False) or self._blocked

    def own(self, buffer: bytearray) -> None:
        self._current = buffer
        self.kept.own(buffer)
        if not self._blocked:
            self.kept.recycle(buffer)

    def keeps(self, buffer: bytearray) -> bool:
        return self.kept.keeps(buffer)

    def deliver(self, done: Finals) -> None:
        """Lets the withheld end go; `done` gets the replies."""
        if self._refusal is not None:
            done([self._refusal])
        elif self._opened:
            self._on_flow = _nobody_waits
            self._withhold = self.kept.size_bytes  # all of it leaves now: a late `_drained` must not send it twice
            self.relay.finish(self.kept.views, done)
        else:
            # The whole body came before the 354: send on when it is there.
            self._on_flow = lambda flows: self.deliver(done) if flows else None

    def drop(self) -> None:
        self.relay.abort()
        self.kept.drop()
        if self.draft is not None:
            self.draft.abandon()
            self.draft = None


def _nobody_waits(flows: bool) -> None:
    """The body is complete: there is nothing to be stopped any more."""


class SpoolPath(BodyPath):
    """The body goes to stable storage as it comes."""

    __slots__ = ("draft", "trouble")

    def __init__(self, draft: Draft, received: bytes) -> None:
        super().__init__("spool")
        self.draft: Draft | None = draft
        self.trouble: GatewayError | None = None
        self._write(received)

    def _write(self, octets: memoryview | bytes | bytearray) -> None:
        if self.draft is None or self.trouble is not None:
            return
        try:
            self.draft.write(octets)
        except GatewayError as error:
            self.trouble = error

    def take(self, view: memoryview) -> None:
        self._write(view)

    def secure(self) -> bool:
        return False

    def own(self, buffer: bytearray) -> None:
        raise RuntimeError("the spool keeps no views")

    def keeps(self, buffer: bytearray) -> bool:
        return False

    def drop(self) -> None:
        draft, self.draft = self.draft, None
        if draft is not None:
            draft.abandon()
