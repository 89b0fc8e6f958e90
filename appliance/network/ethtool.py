"""Speed and duplex of one port, by the kernel's ethtool over generic netlink: how they are set, and setting them.

Only what the kernel says and is told; what is ours of it is `link_modes`' affair. The messages are documented in the
kernel's `Documentation/networking/ethtool-netlink.rst`, LINKMODES_GET and LINKMODES_SET. Blocking. Called by
`link_modes`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from appliance.network.netlink import NetlinkError, ethtool
from appliance.network.values import LinkMode

UNKNOWN_MBIT = 0xFFFFFFFF  # SPEED_UNKNOWN
_FULL = 1  # DUPLEX_FULL
_SET = 5  # ETHTOOL_MSG_LINKMODES_SET
_REQUEST, _ACK = 1, 4  # NLM_F_REQUEST, NLM_F_ACK
_NAME = re.compile(r"([0-9]+)base[^/]*/(Half|Full)")  # "100baseT/Half", "10000baseKR/Full"; not "Pause", "FEC"


class Settings(msgspec.Struct, frozen=True):
    """A port's settings, as the kernel shows them."""

    index: int
    negotiates: bool = False
    speed_mbit: int = UNKNOWN_MBIT
    duplex: int = 0xFF  # DUPLEX_UNKNOWN
    offered: dict[int, LinkMode] = {}
    """Which modes the port offers to the other end; by the numbers of their bits, for one mode has several."""
    supported: dict[int, LinkMode] = {}
    can_negotiate: bool = False

    @property
    def mode(self) -> LinkMode | None:
        """None: nobody knows, as of most ports without a cable."""
        known = self.speed_mbit not in (0, UNKNOWN_MBIT) and self.duplex in (0, _FULL)
        return LinkMode(self.speed_mbit, self.duplex == _FULL) if known else None


def settings(name: str) -> Settings:
    """How the port `name` is set.

    Raises:
        NetlinkError: the kernel's refusal. EOPNOTSUPP: the port has no such settings; other codes: not now.
    """
    with ethtool().NlEthtool() as socket:
        (message,) = socket.get_linkmode(name)
    return settings_of(message)


def settings_of(message: Any) -> Settings:
    """From a LINKMODES_GET reply with the bits one by one."""
    bits = message.get_attr("ETHTOOL_A_LINKMODES_OURS").get_attr("ETHTOOL_A_BITSET_BITS")
    offered, supported, can_negotiate = {}, {}, False
    for bit in bits.get_attrs("ETHTOOL_A_BITSET_BITS_BIT") if bits else ():
        name = bit.get_attr("ETHTOOL_A_BITSET_BIT_NAME") or ""
        can_negotiate |= name == "Autoneg"
        if found := _NAME.fullmatch(name):
            number = bit.get_attr("ETHTOOL_A_BITSET_BIT_INDEX")
            supported[number] = LinkMode(int(found[1]), found[2] == "Full")
            if bit.get_attr("ETHTOOL_A_BITSET_BIT_VALUE"):
                offered[number] = supported[number]
    return Settings(
        index=message.get_attr("ETHTOOL_A_LINKMODES_HEADER").get_attr("ETHTOOL_A_HEADER_DEV_INDEX"),
        negotiates=bool(message.get_attr("ETHTOOL_A_LINKMODES_AUTONEG")),
        speed_mbit=message.get_attr("ETHTOOL_A_LINKMODES_SPEED"),
        duplex=message.get_attr("ETHTOOL_A_LINKMODES_DUPLEX"),
        offered=offered,
        supported=supported,
        can_negotiate=can_negotiate,
    )


def can_be_set(name: str) -> bool:
    """Whether the port's driver takes settings at all: it is asked to change nothing."""
    try:
        change(name)
    except NetlinkError as error:
        return bool(error.code != errno.EOPNOTSUPP)
    return True


def hold(name: str, mode: LinkMode, *, negotiating: bool) -> None:
    """Holds the port to `mode`: by offering nothing else if it is `negotiating`, else without asking the other end.

    Raises:
        NetlinkError: the kernel's refusal, or the driver's.
    """
    change(name, AUTONEG=int(negotiating), SPEED=mode.speed_mbit, DUPLEX=int(mode.full_duplex))


def negotiate(name: str, offered: dict[int, LinkMode]) -> None:
    """Lets the port negotiate, and offer these modes. Raises as `hold`."""
    change(name, AUTONEG=1, OURS=bits_set(offered))


def bits_set(numbers: Iterable[int]) -> dict[str, Any]:
    """A bit set in which these are set, and all others stay as they are."""
    value = ["ETHTOOL_A_BITSET_BIT_VALUE", True]
    bits = [{"attrs": [["ETHTOOL_A_BITSET_BIT_INDEX", number], value]} for number in numbers]
    listed = {"attrs": [["ETHTOOL_A_BITSET_BITS_BIT", bit] for bit in bits]}
    return {"attrs": [["ETHTOOL_A_BITSET_BITS", listed]]}


def change(name: str, **attributes: Any) -> None:
    """One LINKMODES_SET; what is not among the attributes stays. Raises as `hold`."""
    messages = ethtool()
    with messages.NlEthtool() as socket:
        socket.bind(messages.ETHTOOL_GENL_NAME, messages.ethtool_linkmode_msg)
        answers = socket.nlm_request(request(name, **attributes), msg_type=socket.prid, msg_flags=_REQUEST | _ACK)
        for _ in answers:
            pass  # the acknowledgement; a refusal is raised


def request(name: str, **attributes: Any) -> Any:
    """The message of `change`. `attributes` are by the kernel's names, without ETHTOOL_A_LINKMODES_."""
    message = ethtool().ethtool_linkmode_msg()
    message["cmd"] = _SET
    message["version"] = 1
    header = {"attrs": [["ETHTOOL_A_HEADER_DEV_NAME", name]]}
    message["attrs"] = [["ETHTOOL_A_LINKMODES_HEADER", header]]
    message["attrs"] += [[f"ETHTOOL_A_LINKMODES_{key}", value] for key, value in attributes.items()]
    return message
