"""The questions about port, address, resolvers, clock and name: for the first boot, and for the network's page."""

from __future__ import annotations

from collections.abc import Callable

from appliance.console import answers
from appliance.console.desk import Desk
from appliance.console.dialogue import Offer, Question, Wrong
from appliance.console.draft import Answers
from appliance.console.ports import PortNews, awaited_ports, find_by_plugging, linked, port_lines

_PORT_HELP = (
    "The port that mail comes in and goes out by. Link tells whether a cable is in it.",
    "MAC is what is printed on many ports and boxes.",
    "p: pull or plug a cable, and I tell which port it is.",
)
_VLAN_HELP = (
    "If the switch sends tagged frames (IEEE 802.1Q), the number of the VLAN.",
    "A port of a plain network has none.",
    "Whoever runs your switches knows.",
)
_HOW_HELP = (
    "DHCP: the network gives the address, IPv4 and IPv6. Good for trying.",
    "Fixed: you write it. Better for a mail server's neighbour, for MX and firewall name it.",
    "",
)
_DNS_HELP = (
    "Addresses of the DNS servers to ask, with blanks between them.",
    "none: those that DHCP names; without DHCP the box asks the root servers itself.",
    "Answers are checked by DNSSEC here, whoever gives them.",
)
_NTP_HELP = (
    "Names or addresses of the time servers, with blanks between them.",
    "none: those that DHCP names, else Debian's public ones.",
    "A wrong clock makes good certificates look bad.",
)
_NAME_HELP = (
    "The full name of this box, as DNS knows it or will know it, such as mx.example.com.",
    "It stands in the greeting on port 25 and in the Received field of each message.",
    "",
)


_HOWS = (Offer("by DHCP", True), Offer("fixed", False))


class NetworkQuestions:
    """Each method is a step for `dialogue.walk`: asks, puts the answer into `answers`, says whether it asked."""

    def __init__(self, desk: Desk, given: Answers) -> None:
        self._desk = desk
        self._dialogue = desk.dialogue
        self._given = given

    def address_steps(self) -> list[Callable[[], bool]]:
        """Everything about one port."""
        return [self.port, self.vlan, self.how, self.address4, self.gateway4, self.address6, self.gateway6]

    def port(self) -> bool:
        ports = awaited_ports(self._desk)
        if not ports:
            return False
        names = [str(port["name"]) for port in ports]
        default = names.index(self._given.port.name) + 1 if self._given.port.name in names else linked(ports)
        self._dialogue.page(port_lines(ports))
        self._dialogue.say("Pull or plug a cable, and its port is told here.")
        news = PortNews(self._desk, ports)

        def parse(raw_answer: str) -> str:
            if raw_answer.lower() == "p":
                return find_by_plugging(self._desk) or raw_answer
            if raw_answer in names or news.knows(raw_answer):
                return raw_answer
            if raw_answer.isascii() and raw_answer.isdigit() and 0 < int(raw_answer[:4]) <= len(names):
                return names[int(raw_answer[:4]) - 1]
            raise Wrong(f"type a number from 1 to {len(names)}, or p to find the port by plugging")

        name = "p"
        while name == "p":
            name = self._dialogue.ask(Question("Port for the mail, or p", _PORT_HELP, parse, str(default)), news)
        self._given.port.name = name
        return True

    def vlan(self) -> bool:
        if not self._given.port.name:
            return False
        default = str(self._given.port.vlan or answers.NONE)
        self._given.port.vlan = self._dialogue.ask(Question("VLAN", _VLAN_HELP, answers.vlan, default))
        return True

    def how(self) -> bool:
        port = self._given.port
        if not port.name:
            return False
        self._dialogue.say(f"The address of {port.name}:")
        port.dhcp = self._dialogue.choose(_HOWS, "Number", 1 if port.dhcp else 2, _HOW_HELP).value
        return True

    def address4(self) -> bool:
        return self._address(4)

    def gateway4(self) -> bool:
        return self._gateway(4)

    def address6(self) -> bool:
        return self._address(6)

    def gateway6(self) -> bool:
        return self._gateway(6)

    def dns(self) -> bool:
        default = " ".join(self._given.dns) or answers.NONE
        self._given.dns = self._dialogue.ask(Question("DNS servers", _DNS_HELP, answers.resolvers, default))
        return True

    def ntp(self) -> bool:
        default = " ".join(self._given.ntp) or answers.NONE
        self._given.ntp = self._dialogue.ask(Question("Time servers", _NTP_HELP, answers.clocks, default))
        return True

    def hostname(self) -> bool:
        question = Question("Name of this box", _NAME_HELP, answers.full_name, self._given.hostname)
        self._given.hostname = self._dialogue.ask(question)
        return True

    def _address(self, version: int) -> bool:
        port = self._given.port
        if not port.name or port.dhcp:
            return False
        example = "192.0.2.5/24" if version == 4 else "2001:db8::5/64"
        help_ = (f"The box's own IPv{version} address and the prefix length, as in {example}.", "none: without it.", "")

        def parse(raw_answer: str) -> str:
            found = answers.address(raw_answer, version)
            if version == 6 and not found and not port.address4:
                raise Wrong("without IPv4 it needs an IPv6 address, as in 2001:db8::5/64")
            return found

        default = getattr(port, f"address{version}") or answers.NONE
        found = self._dialogue.ask(Question(f"IPv{version} address/prefix", help_, parse, default))
        setattr(port, f"address{version}", found)
        return True

    def _gateway(self, version: int) -> bool:
        port = self._given.port
        own = getattr(port, f"address{version}")
        if not port.name or port.dhcp or not own:
            setattr(port, f"gateway{version}", "")
            return False
        example = "192.0.2.1" if version == 4 else "fe80::1"
        help_ = (f"The router's address on this network, as {example}.", "none: there is no way out.", "")
        default = getattr(port, f"gateway{version}") or answers.NONE
        question = Question(f"IPv{version} router", help_, lambda raw: answers.gateway(raw, own), default)
        setattr(port, f"gateway{version}", self._dialogue.ask(question))
        return True
