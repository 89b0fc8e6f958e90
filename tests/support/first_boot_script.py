"""The first boot's questions and a person's answers, in order: for whoever drives the menu by its serial line.

Data and nothing else, so that a terminal, a virtual machine and a script can all play it: wait until `question` stands
there, type `answer` and a carriage return.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PASSWORD = "violet anchor drumming kettle"


@dataclass(frozen=True)
class Fixed:
    """A static address, as the menu asks for it; "none" leaves one out."""

    address4: str = "none"
    gateway4: str = "none"
    address6: str = "none"
    gateway6: str = "none"


def first_boot(
    *,
    name: str = "mx.example.test",
    domain: str = "example.test",
    server: str,
    port: str = "1",
    vlan: str = "",
    fixed: Fixed | None = None,
    dns: str = "",
    ntp: str = "",
    password: str = PASSWORD,
    server_answers: bool = True,
) -> list[tuple[str, str]]:
    """Question and answer up to the one that puts all in force; `keep` follows.

    Args:
        port: number or name of the port for the mail.
        server: `host` or `host:port` of the domain's mail server.
        server_answers: False: it cannot be reached before the network is set; it is used all the same.
    """
    return [
        ("Mode [1]: ", ""),
        ("Port for the mail, or p [", port),
        ("VLAN [none]: ", vlan),
        *_address(fixed),
        ("Name of this box: ", name),
        ("DNS servers [none]: ", dns),
        ("Time servers [none]: ", ntp),
        ("Administrator's password: ", password),
        ("The same again: ", password),
        ("Protected domain: ", domain),
        (f"Mail server of {domain}: ", server),
        *([] if server_answers else [("Use it all the same [y/N]: ", "y")]),
        ("Put this in force [Y/n]: ", "y"),
    ]


def keep(domain: str = "example.test", *, send: bool = True) -> list[tuple[str, str]]:
    """What follows: the change is kept, and a test message sent. The menu stands there then."""
    return [
        ("keep? [y/N] ", "y"),
        (f"Send a test message to postmaster@{domain} [Y/n]: ", "y" if send else "n"),
    ]


MENU = "Number: "
"""Stands under the main menu."""


def _address(fixed: Fixed | None) -> Sequence[tuple[str, str]]:
    if fixed is None:
        return [("Number [1]: ", "1")]
    return [
        ("Number [1]: ", "2"),
        ("IPv4 address/prefix [none]: ", fixed.address4),
        *([] if fixed.address4 == "none" else [("IPv4 router [none]: ", fixed.gateway4)]),
        ("IPv6 address/prefix [none]: ", fixed.address6),
        *([] if fixed.address6 == "none" else [("IPv6 router [none]: ", fixed.gateway6)]),
    ]
