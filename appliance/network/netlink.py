"""pyroute2's `IPRoute` and `NetlinkError` without the rest of pyroute2, which its package loads in full.

Measured: 150 ms of imports instead of 506, and 20 MiB less; a small board feels both at each start. The package is
imported as a bare folder for that one moment, and `ssl`, for probes that nobody here asks it for, as an empty module
(another 6 MiB); who imports them afterwards gets all of them.
"""

from __future__ import annotations

import asyncio  # noqa: F401  before pyroute2 does it: with whatever `ssl` this process wants
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

_NAME, _TLS = "pyroute2", "ssl"


@contextmanager
def _bare() -> Iterator[None]:
    found = PathFinder.find_spec(_NAME)
    before = {name: sys.modules[name] for name in (_NAME, _TLS) if name in sys.modules}
    if before.get(_NAME) is None and found is not None and found.submodule_search_locations is not None:
        package = ModuleType(_NAME)
        package.__path__ = list(found.submodule_search_locations)
        sys.modules[_NAME] = package
    if before.get(_TLS) is None:
        sys.modules[_TLS] = ModuleType(_TLS)
    try:
        yield
    finally:
        for name in (_NAME, _TLS):
            sys.modules.pop(name, None)
        sys.modules.update(before)


if TYPE_CHECKING:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError
else:
    with _bare():
        from pyroute2.iproute import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["IPRoute", "NetlinkError"]
