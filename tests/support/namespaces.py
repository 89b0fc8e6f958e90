"""Network namespaces of this process's own, veth pairs for hardware; needs CAP_NET_ADMIN (`unshare -Urn` gives it)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace
from pyroute2 import IPRoute

from appliance.network.values import State

_FAR = "far-"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@contextmanager
def namespace() -> Iterator[None]:
    """Moves this thread, and what it starts, into a fresh network namespace; back at the end."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_LIBC.unshare(_NEW_NETWORK))
        with IPRoute() as ip:
            ip.link("set", index=1, state="up")
        yield
    finally:
        _checked(_LIBC.setns(home, _NEW_NETWORK))
        os.close(home)


def plug_in(macs: dict[str, str]) -> None:
    """Hardware by name, each with its cable, plugged in at the far end."""
    with IPRoute() as ip:
        for name, mac in macs.items():
            ip.link("add", ifname=name, kind="veth", address=mac, peer={"ifname": _FAR + name})
            ip.link("set", index=ip.link_lookup(ifname=_FAR + name)[0], state="up")


def ours(state: State) -> State:
    """Without the far ends of the cables."""
    links = {name: link for name, link in state.links.items() if not name.startswith(_FAR)}
    return replace(state, links=links)


def kernel_has(kind: str) -> bool:
    """Whether the running kernel makes links of this kind ("vlan", "bond")."""
    with namespace(), IPRoute() as ip:
        ip.link("add", ifname="base", kind="veth", peer={"ifname": "other"})
        extra = {"link": ip.link_lookup(ifname="base")[0], "vlan_id": 5} if kind == "vlan" else {}
        try:
            ip.link("add", ifname="probe", kind=kind, **extra)
        except Exception as error:
            if getattr(error, "code", None) == 95:  # EOPNOTSUPP
                return False
            raise
        return True
