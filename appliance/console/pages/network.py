"""The network: what is, and a change of one thing at a time."""

from __future__ import annotations

from collections.abc import Callable

from appliance.console import draft
from appliance.console.change import propose_and_commit
from appliance.console.desk import Desk
from appliance.console.dialogue import Offer, walk
from appliance.console.network_questions import NetworkQuestions
from appliance.console.ports import find_by_plugging, port_lines
from appliance.control.protocol import ControlError


def network_page(desk: Desk) -> None:
    _Network(desk).run()


class _Network:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._text = desk.sysd.text().text
        self._config = config = desk.config()
        self._given = draft.Answers(
            port=draft.port_of(config) if draft.is_simple(config) else draft.Port(),
            dns=list(config.network.dns),
            ntp=list(config.network.ntp),
            hostname=config.hostname,
        )
        self._questions = NetworkQuestions(desk, self._given)

    def run(self) -> None:
        has_ports = self._show()
        items: list[Offer[Callable[[], object]]] = []
        if has_ports:
            items.append(Offer("find a port by plugging", lambda: find_by_plugging(self._desk)))
        if has_ports and draft.is_simple(self._config):
            items.append(Offer("port and address", self._address))
        items += [
            Offer("DNS servers", self._dns),
            Offer("time servers", self._ntp),
            Offer("name of this box", self._hostname),
        ]
        self._desk.dialogue.choose(items).value()

    def _show(self) -> bool:
        """Whether there are ports to be seen."""
        say, network = self._desk.dialogue.say, self._config.network
        try:
            ports = self._desk.sysd.ports()
        except ControlError as error:
            say(f"The ports cannot be seen: {error}")
            ports = []
        if ports:
            self._desk.dialogue.page(port_lines(ports))
        if not network.interface:
            say("The configuration leaves the network as it is.")
        elif draft.is_simple(self._config):
            it = network.interface[0]
            held = f", held to {it.speed_mbit} Mbit/s {it.duplex or 'full'}" if it.speed_mbit else ""
            say(f"Configured: {self._given.port.in_words()}{held}")
        else:
            say("Configured: several ports; change them by `mailweir config`, or restore a backup.")
        say(f"DNS servers: {' '.join(network.dns) or 'none named'}")
        say(f"Time servers: {' '.join(network.ntp) or 'none named'}")
        say(f"Name: {self._config.hostname}")
        return bool(ports)

    def _address(self) -> None:
        walk(self._questions.address_steps())
        text = draft.with_port(self._text, self._given.port)
        text = draft.with_dns(text, self._given.dns, dhcp=self._given.port.dhcp)
        propose_and_commit(self._desk, text, "address")

    def _dns(self) -> None:
        self._questions.dns()
        asks_dhcp = any(it.dhcp4 or it.dhcp6 for it in self._config.network.interface)
        propose_and_commit(self._desk, draft.with_dns(self._text, self._given.dns, dhcp=asks_dhcp), "DNS servers")

    def _ntp(self) -> None:
        self._questions.ntp()
        propose_and_commit(self._desk, draft.with_ntp(self._text, self._given.ntp), "time servers")

    def _hostname(self) -> None:
        self._questions.hostname()
        propose_and_commit(self._desk, draft.with_hostname(self._text, self._given.hostname), "name of this box")
