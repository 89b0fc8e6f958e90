"""pyroute2's `IPRoute`, `NetlinkError` and, when it is asked for, ethtool; without the rest, which its package loads.

Measured: 150 ms of imports instead of 506, and 20 MiB less; a small board feels both at each start. The package is
imported as a bare folder for that one moment, and `ssl`, for probes that nobody here asks it for, as an empty module
(another 6 MiB); who imports them afterwards gets all of them.
"""

from __future__ import annotations

import asyncio  # noqa: F401  before pyroute2 does it: with whatever `ssl` this process wants
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

_NAME, _TLS = "pyroute2", "ssl"
_ETHTOOL = "pyroute2.netlink.generic.ethtool"


@contextmanager
def _bare(*, without_tls: bool) -> Iterator[None]:
    found = PathFinder.find_spec(_NAME)
    before = {name: sys.modules[name] for name in (_NAME, _TLS) if name in sys.modules}
    if before.get(_NAME) is None and found is not None and found.submodule_search_locations is not None:
        package = ModuleType(_NAME)
        package.__path__ = list(found.submodule_search_locations)
        sys.modules[_NAME] = package
    if without_tls and before.get(_TLS) is None:
        sys.modules[_TLS] = ModuleType(_TLS)
    try:
        yield
    finally:
        for name in (_NAME, _TLS) if without_tls else (_NAME,):
            sys.modules.pop(name, None)
        sys.modules.update(before)


if TYPE_CHECKING:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError
else:
    with _bare(without_tls=True):
        from pyroute2.iproute import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["IPRoute", "NetlinkError", "ethtool"]


def ethtool() -> Any:
    """The module of pyroute2's messages for the kernel's ethtool: 1 ms and 40 KiB, for who sets a port's speed.

    `ssl` is left alone: another thread may be about to import it.
    """
    if _ETHTOOL not in sys.modules:
        with _bare(without_tls=False):
            return importlib.import_module(_ETHTOOL)
    return sys.modules[_ETHTOOL]
