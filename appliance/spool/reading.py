"""An entry's octets for whoever sends them on: where they lie, and a way to read them.

While a reading is open, its segments are not used again, even if the entry is removed meanwhile. Made by `Spool.read`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from appliance.core.errors import SpoolTrouble
from appliance.spool.disk import Disk
from appliance.spool.meta import Extent

_PIECE_BYTES = 256 << 10


class Reading:
    """Owned by the caller of `Spool.read`, who releases it or uses it in a `with`."""

    def __init__(self, disk: Disk, extents: list[Extent], size_bytes: int, released: Callable[[], None]) -> None:
        """`released` is called when a segment may have become free."""
        self._disk = disk
        self._held = list(extents)
        self._released = released
        self.size_bytes = size_bytes
        self.extents = [(extent.segment.fd, extent.offset, extent.length) for extent in extents]
        """(descriptor, offset, length), for sendfile or pread; the descriptors are the spool's."""
        for extent in extents:
            extent.segment.readers += 1

    def chunks(self) -> Iterator[bytes]:
        """The octets in pieces of at most 256 KiB. Blocks on the disk.

        Raises:
            SpoolTrouble: they cannot be read; temporary.
        """
        for fd, offset, length in self.extents:
            end = offset + length
            while offset < end:
                try:
                    piece = self._disk.read(fd, min(_PIECE_BYTES, end - offset), offset)
                except OSError as error:
                    raise SpoolTrouble(str(error)) from error
                if not piece:
                    raise SpoolTrouble("segment shorter than its records")
                offset += len(piece)
                yield piece

    def release(self) -> None:
        """Ends the reading; may be called again."""
        held, self._held = self._held, []
        for extent in held:
            extent.segment.readers -= 1
        if any(not extent.segment.refs for extent in held):
            self._released()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
