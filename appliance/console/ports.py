"""The network's ports as a person sees them: a table, what changes at them, and which one a cable goes into.

Asked by the pages and the questions. At the first boot on a busy machine the menu may be quicker than the drivers.
"""

from __future__ import annotations

from typing import Any

from appliance.console.desk import Desk
from appliance.control.protocol import ControlError, NoAnswer

Ports = list[dict[str, Any]]
"""As `control.ports.Probes` gives them."""

WAIT_S = 30.0
"""So long is a first port waited for."""
_LONGEST_SEARCH = 300


def awaited_ports(desk: Desk) -> Ports:
    """The ports; where there are none, they are waited for, which is said. Empty in the end, or after Enter: none."""
    dialogue, terminal = desk.dialogue, desk.dialogue.terminal
    ports, trouble = _looked(desk)
    if ports or not trouble:
        return ports or []
    dialogue.say(f"{trouble} Looking for {WAIT_S:.0f} s; Enter: go on without.")
    end_s = terminal.now_s() + WAIT_S
    while terminal.now_s() < end_s and not terminal.pressed(1.0):
        ports, trouble = _looked(desk)
        if ports:
            dialogue.say(f"There now: {', '.join(str(port['name']) for port in ports)}.")
            return ports
        if not trouble:
            break
    dialogue.say("Without a port the network is left as it is; a later change can set it up.")
    return []


def _looked(desk: Desk) -> tuple[Ports, str]:
    """The ports, and why it may be worth to look again for them; without both there are none to be had."""
    try:
        ports = desk.sysd.ports()
    except NoAnswer as error:
        return [], f"The ports cannot be seen yet: {error}."
    except ControlError as error:
        desk.dialogue.say(f"The ports cannot be seen: {error}")
        return [], ""
    return ports, "" if ports else "No network port is to be seen yet."


def port_lines(ports: Ports) -> list[str]:
    """A table of the ports."""
    lines = [f"     {'PORT':15} {'LINK':5} {'MBIT/S':>10}  {'MAC':17}  ADDRESSES"]
    for number, port in enumerate(ports, 1):
        speed = speed_in_words(port, unit="") or "-"
        addresses = " ".join(map(str, port.get("addresses") or []))
        link, mac = "yes" if port.get("link") else "no", str(port.get("mac") or "-")
        lines.append(f"{number:3}  {port['name']!s:15} {link:5} {speed:>10}  {mac:17}  {addresses}")
    return lines


def speed_in_words(port: dict[str, Any], unit: str = " Mbit/s") -> str:
    """Speed and duplex; empty where nobody knows."""
    duplex = port.get("duplex") or ""
    return f"{port['speed_mbit']}{unit} {duplex}".rstrip() if port.get("speed_mbit") else ""


class PortNews:
    """What has changed at the ports since it was asked last, as lines to print."""

    def __init__(self, desk: Desk, ports: Ports) -> None:
        """`ports`: what is shown already."""
        self._desk = desk
        self._seen = _links(ports)

    def __call__(self) -> list[str]:
        try:
            ports = self._desk.sysd.ports()
        except ControlError:
            return []  # it is asked again in a second
        before, self._seen = self._seen, _links(ports)
        lines = [f"  {name} is gone" for name in before.keys() - self._seen.keys()]
        for port in ports:
            name = str(port["name"])
            if name not in before:
                lines.append(f"  {name} is new, {port.get('mac') or 'without a MAC'}; its name chooses it")
            if before.get(name, False) != self._seen[name]:
                up = ", ".join(filter(None, ("link is up", speed_in_words(port))))
                lines.append(f"  {name}: {up if self._seen[name] else 'link is down'}")
        return lines

    def knows(self, name: str) -> bool:
        """Whether there was such a port when it was asked last."""
        return name in self._seen


def _links(ports: Ports) -> dict[str, bool]:
    return {str(port["name"]): bool(port.get("link")) for port in ports}


def find_by_plugging(desk: Desk) -> str:
    """The port whose link changes first; empty if somebody gives up."""
    dialogue = desk.dialogue
    dialogue.say("Plug a cable into the port that you mean, or pull it out. Enter: give up.")
    before = _links(desk.sysd.ports())
    for _ in range(_LONGEST_SEARCH):
        if dialogue.terminal.pressed(1.0):
            return ""
        for port in desk.sysd.ports():
            name, link = str(port["name"]), bool(port.get("link"))
            if before.setdefault(name, False) != link:
                dialogue.say(f"It is {name}: its link is {'up' if link else 'down'} now.")
                return name
    dialogue.say("No link has changed.")
    return ""


def linked(ports: Ports) -> int:
    """The first port with a cable in it, counted from 1."""
    return next((number for number, port in enumerate(ports, 1) if port.get("link")), 1)
