"""What people type, made into values; what is wrong with it is said in a sentence that shows how to write it. Pure."""

from __future__ import annotations

import ipaddress
import re

from appliance.config.host_port import host_name, host_port
from appliance.console.dialogue import Wrong
from appliance.core.address import BadAddress, parse_domain

NONE = "none"
_DIGITS = re.compile(r"[0-9]{1,4}")
_MOST_SERVERS = 8


def full_name(raw_answer: str) -> str:
    """A host's name with its domain."""
    name = domain(raw_answer)
    if "." not in name:
        raise Wrong(f"{name} has no domain; write the full name, as in mx.example.com")
    return name


def domain(raw_answer: str) -> str:
    """A domain's name in lower case."""
    try:
        name = parse_domain(raw_answer)
    except BadAddress:
        name = ""
    if not name or name.startswith("[") or name.replace(".", "").isdigit():
        raise Wrong("write a name of letters, digits, dashes and dots, as in example.com")
    return name


def vlan(raw_answer: str) -> int:
    """A VLAN's number; 0 for none."""
    if raw_answer.lower() in ("", NONE):
        return 0
    if _DIGITS.fullmatch(raw_answer) and 1 <= int(raw_answer) <= 4094:
        return int(raw_answer)
    raise Wrong("write a number from 1 to 4094, or none")


def address(raw_answer: str, version: int) -> str:
    """An address with its prefix length, or empty for none."""
    if raw_answer.lower() in ("", NONE):
        return ""
    example = "192.0.2.5/24" if version == 4 else "2001:db8::5/64"
    try:
        found = ipaddress.ip_interface(raw_answer)
    except ValueError:
        raise Wrong(f"write an address and its prefix length, as in {example}, or none") from None
    if found.version != version:
        raise Wrong(f"this is IPv{found.version}; write an IPv{version} address, as in {example}, or none")
    if "/" not in raw_answer:
        raise Wrong(f"the prefix length is missing; write it behind the address, as in {example}")
    if found.ip.is_multicast or found.ip.is_loopback or found.ip.is_unspecified:
        raise Wrong(f"{found.ip} is no address for a port; write one of your network, as in {example}")
    return str(found)


def gateway(raw_answer: str, own: str) -> str:
    """The router's address in the network of `own`; empty for none."""
    if raw_answer.lower() in ("", NONE):
        return ""
    interface = ipaddress.ip_interface(own)
    try:
        found = ipaddress.ip_address(raw_answer)
    except ValueError:
        raise Wrong("write the address of the router, or none") from None
    if found == interface.ip:
        raise Wrong("this is the box's own address; write the router's, or none")
    if found not in interface.network and not found.is_link_local:
        raise Wrong(f"{found} is not in {interface.network}; write the router's address there, or none")
    return str(found)


def resolvers(raw_answer: str) -> list[str]:
    """Addresses of DNS servers."""
    found = []
    for word in _words(raw_answer):
        try:
            ip = ipaddress.ip_address(word)
        except ValueError:
            raise Wrong(f"{word} is no IP address; write addresses with blanks between them, or none") from None
        if ip.is_loopback or ip.is_unspecified or ip.is_multicast:
            raise Wrong(f"{word} is no server of your network; write another, or none")
        found.append(str(ip))
    return found


def clocks(raw_answer: str) -> list[str]:
    """Names or addresses of NTP servers."""
    found = []
    for word in _words(raw_answer):
        try:
            found.append(str(ipaddress.ip_address(word)) if ":" in word else host_name(word))
        except ValueError:
            raise Wrong(f"{word} is neither name nor address; write them with blanks between, or none") from None
    return found


def mail_server(raw_answer: str) -> str:
    """The URL of a mail server, from `host`, `host:port` or a URL that the configuration knows."""
    if raw_answer.startswith(("smtps://", "lmtp://")):
        return raw_answer
    raw_answer = raw_answer.removeprefix("smtp://")
    try:
        where = host_port(f"[{raw_answer}]" if raw_answer.count(":") > 1 and "[" not in raw_answer else raw_answer, 25)
    except ValueError as error:
        raise Wrong(f"{error}; write a name or an address, as in mail.example.com or 192.0.2.10:25") from None
    if not where.port:
        raise Wrong("0 is no port; leave it out for 25")
    return f"smtp://{f'[{where.host}]' if ':' in where.host else where.host}:{where.port}"


def _words(raw_answer: str) -> list[str]:
    words = [word for word in re.split(r"[\s,]+", raw_answer) if word and word.lower() != NONE]
    if len(words) > _MOST_SERVERS:
        raise Wrong(f"more than {_MOST_SERVERS}; the first ones are enough")
    return list(dict.fromkeys(words))
