"""The rendered configuration is one that unbound takes, and makes it the resolver that DANE and the box need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import msgspec
import pytest
from pyroute2 import IPRoute

from appliance.config.network_tables import Network
from appliance.network import names
from tests.support.conditions import until
from tests.support.dns_server import DnsServer
from tests.support.namespaces import namespace

OURS = {"search": ["corp.example"], "ntp": ["time.example.net"]}
ZONE = {
    ("mail.corp.example", "A"): ["10.0.0.25"],
    ("time.example.net", "A"): ["10.0.0.123"],
    ("a.example.com", "A"): ["192.0.2.66"],
}


def written(directory: Path, network: dict[str, list[str]], forwarders: list[str]) -> Path:
    path = directory / "unbound.conf"
    path.write_text(names.render(msgspec.convert(network, Network), forwarders)[names.UNBOUND])
    return path


@pytest.mark.parametrize("forwarders", [[], ["192.0.2.53", "2001:db8::53"]])
@pytest.mark.parametrize("network", [{}, OURS])
def test_unbound_takes_the_configuration(tmp_path: Path, network: dict[str, list[str]], forwarders: list[str]) -> None:
    path = written(tmp_path, network, forwarders)
    done = subprocess.run(["unbound-checkconf", str(path)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def ask(name: str) -> dns.message.Message | None:
    """None: nobody listens yet, or the answer takes longer."""
    try:
        return dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", timeout=0.5)
    except (OSError, dns.exception.Timeout):
        return None


@pytest.fixture
def forwarder(tmp_path: Path) -> Iterator[DnsServer]:
    """unbound asks it, which signs nothing and does not know of signatures."""
    with namespace():
        with IPRoute() as ip:
            ip.addr("add", index=1, address="192.0.2.53", prefixlen=32)
        with DnsServer(ZONE, host="192.0.2.53") as server:
            path = written(tmp_path, OURS, [f"192.0.2.53@{server.port}"])
            path.write_text(path.read_text().replace("server:\n", 'server:\n    username: ""\n', 1))
            with open(tmp_path / "log", "wb") as log:
                unbound = subprocess.Popen(["unbound", "-d", "-p", "-c", str(path)], stdout=log, stderr=log)
            try:
                until(lambda: ask("mail.corp.example"), "unbound's first answer")
                yield server
            finally:
                unbound.terminate()
                unbound.wait(timeout=30)


def test_our_own_names_are_taken_from_our_own_resolver(forwarder: DnsServer) -> None:
    answer = until(lambda: ask("mail.corp.example"), "an answer")
    assert "10.0.0.25" in answer.to_text()


def test_a_clocks_name_needs_no_signature(forwarder: DnsServer) -> None:
    answer = until(lambda: ask("time.example.net"), "an answer")
    assert "10.0.0.123" in answer.to_text()


def test_an_answer_whose_signatures_were_stripped_is_refused(forwarder: DnsServer) -> None:
    answer = until(lambda: ask("a.example.com"), "unbound's refusal")
    assert answer.rcode() is dns.rcode.SERVFAIL
    assert forwarder.queries[".", "DNSKEY"]
