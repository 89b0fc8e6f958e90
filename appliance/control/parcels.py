"""What is too long for one line of the control socket: texts and archives, carried in pieces.

A parcel lives in memory, belongs to the user who opened it or for whom it was made, and is forgotten when too many
others came after it. Called by `config_requests`, which takes parcels as arguments and gives them as results.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from appliance.control.arguments import Args, Nothing, typed
from appliance.control.protocol import RequestRefused

if TYPE_CHECKING:
    from appliance.control.access import AskedHandler, Asker  # with a server behind it; clients come here, too

PIECE_OCTETS = 512 << 10
"""Raw; in base64 it fits a line."""
LONGEST_INLINE_OCTETS = 256 << 10
"""A longer text goes as a parcel."""
MAX_PARCEL_OCTETS = 16 << 20
PARCELS_PER_USER = 2


class _Append(Args):
    parcel: str
    data: bytes


class _Read(Args):
    parcel: str
    offset: int = 0


class Parcels:
    """See the module."""

    def __init__(self) -> None:
        self._by_user: dict[int, OrderedDict[str, bytearray]] = {}

    def put(self, uid: int, octets: bytes = b"") -> str:
        """A new parcel for the user with this uid; returns its name."""
        parcels = self._by_user.setdefault(uid, OrderedDict())
        while len(parcels) >= PARCELS_PER_USER:
            parcels.popitem(last=False)
        name = secrets.token_hex(8)
        parcels[name] = bytearray(octets)
        return name

    def take(self, uid: int, name: str) -> bytes:
        """The octets of a parcel, which is forgotten. Raises RequestRefused: it is not there."""
        octets = bytes(self._find(uid, name))
        del self._by_user[uid][name]
        return octets

    def handlers(self) -> dict[str, AskedHandler]:
        """`parcel.open` gives {parcel}, `parcel.append` {parcel, data} {size_bytes}, `parcel.read` {parcel, offset} a
        piece {data, size_bytes}.
        """
        return {"parcel.open": self._opened, "parcel.append": self._appended, "parcel.read": self._read}

    def _find(self, uid: int, name: str) -> bytearray:
        try:
            return self._by_user[uid][name]
        except KeyError as error:
            raise RequestRefused("there is no such parcel, or it was forgotten; begin again") from error

    async def _opened(self, asker: Asker, args: dict[str, Any]) -> object:
        typed(args, Nothing)
        return {"parcel": self.put(asker.uid)}

    async def _appended(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, _Append)
        octets = self._find(asker.uid, asked.parcel)
        if len(octets) + len(asked.data) > MAX_PARCEL_OCTETS:
            raise RequestRefused(f"over {MAX_PARCEL_OCTETS >> 20} MiB; this is no configuration")
        octets += asked.data
        return {"size_bytes": len(octets)}

    async def _read(self, asker: Asker, args: dict[str, Any]) -> object:
        asked = typed(args, _Read)
        octets = self._find(asker.uid, asked.parcel)
        begin = max(0, asked.offset)
        return {"data": bytes(octets[begin : begin + PIECE_OCTETS]), "size_bytes": len(octets)}
