"""The rules are taken by the kernel as a whole, let mail in, and nothing else."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest
from pyroute2 import IPRoute

from appliance.config.schema import Config
from appliance.network import firewall, nft
from tests.support.conditions import until
from tests.support.far_side import FarSide, far_side
from tests.support.namespaces import namespace, plug_in

NOT_AT_ALL_S = 0.5
GIVES_UP_S = 10.0


def config(*addresses: str) -> Config:
    listen = [{"name": f"in{index}", "address": address} for index, address in enumerate(addresses)]
    return msgspec.convert({"hostname": "gw.example.test", "listen": listen}, Config)


@pytest.fixture
def stranger() -> Iterator[FarSide]:
    """Somebody on the cable of eth0, which has 192.0.2.5 and 2001:db8::5; ports 22 and 25 are listened on."""
    with namespace(), far_side() as far, ExitStack() as stack:
        plug_in({"eth0": "02:00:00:00:00:01"})
        far.take("far-eth0", "192.0.2.9/24", "2001:db8::9/64")
        with IPRoute() as ip:
            index = ip.link_lookup(ifname="eth0")[0]
            ip.link("set", index=index, state="up")
            ip.addr("add", index=index, address="192.0.2.5", prefixlen=24)
            ip.addr("add", index=index, address="2001:db8::5", prefixlen=64, flags=0x02)  # IFA_F_NODAD
        for port in (22, 25):
            stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
        for host in ("192.0.2.5", "2001:db8::5"):
            until(lambda host=host: far.can_connect(host, 22, GIVES_UP_S), f"a connection to {host}")
        yield far


def test_mail_comes_in_and_nothing_else(stranger: FarSide) -> None:
    nft.load(firewall.render(config("0.0.0.0:25", "[::]:25"), []))
    for host in ("192.0.2.5", "2001:db8::5"):
        assert stranger.can_connect(host, 25, GIVES_UP_S)
        assert not stranger.can_connect(host, 22, NOT_AT_ALL_S)


def test_neighbours_still_find_each_other(stranger: FarSide) -> None:
    nft.load(firewall.render(config("[2001:db8::5]:25"), []))
    stranger.run("ip", "-6", "neighbour", "flush", "dev", "far-eth0")
    subprocess.run(["ip", "-6", "neighbour", "flush", "dev", "eth0"], check=True)
    assert stranger.can_connect("2001:db8::5", 25, GIVES_UP_S)
    assert not stranger.can_connect("192.0.2.5", 25, NOT_AT_ALL_S)


def test_new_rules_take_the_place_of_the_old_ones_as_a_whole(stranger: FarSide) -> None:
    nft.load(firewall.render(config("0.0.0.0:25", "0.0.0.0:22"), []))
    nft.load(firewall.render(config("0.0.0.0:25"), []))
    assert stranger.can_connect("192.0.2.5", 25, GIVES_UP_S)
    assert not stranger.can_connect("192.0.2.5", 22, NOT_AT_ALL_S)


def test_rules_that_are_refused_leave_the_old_ones_in_force(stranger: FarSide) -> None:
    nft.load(firewall.render(config("0.0.0.0:25"), [("eth0", 4), ("eth0", 6)]))
    before = nft.loaded()
    with pytest.raises(nft.NftFailed, match="syntax error"):
        nft.load(firewall.render(config("0.0.0.0:22"), []).replace("policy drop", "policy dorp"))
    assert nft.loaded() == before


def test_what_was_in_force_can_be_put_back(stranger: FarSide) -> None:
    nothing = nft.loaded()
    nft.load(firewall.render(config("0.0.0.0:25", "[::]:25"), [("eth0", 4), ("eth0", 6)]))
    before = nft.loaded()
    nft.load(firewall.render(config(), []))
    nft.load(before)
    assert nft.loaded() == before
    assert stranger.can_connect("192.0.2.5", 25, GIVES_UP_S)
    nft.load(nothing)
    assert nft.loaded() == nothing
    assert stranger.can_connect("192.0.2.5", 22, GIVES_UP_S)


def test_other_tables_are_left_alone(stranger: FarSide) -> None:
    nft.load("table inet mine {\nchain c {\n}\n}\n")
    nft.load(firewall.render(config("0.0.0.0:25"), []))
    assert "chain c" in nft._nft(["list", "table", "inet", "mine"])
