"""XCLIENT attributes, and that a proxy's own rights do not pass to the client it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import reply
from appliance.core.envelope import Client
from appliance.core.reply import Reply
from appliance.wire.xclient import NO_ADDRESS, Xclient, parse_xclient


def test_all_attributes_are_understood():
    assert parse_xclient(
        b"NAME=mx.example.test ADDR=192.0.2.1 PORT=1025 PROTO=ESMTP HELO=a+2Bb LOGIN=al+C3+A9 "
        b"DESTADDR=IPV6:::1 destport=25 "
    ) == Xclient("mx.example.test", "192.0.2.1", 1025, "ESMTP", "a+b", "alé", "::1", 25)


@pytest.mark.parametrize("absent", [b"[UNAVAILABLE]", b"[tempunavail]"])
def test_an_unknown_value_is_something_else_than_an_unsaid_one(absent):
    said = parse_xclient(b"NAME=" + absent + b" LOGIN=" + absent + b" PORT=" + absent)
    assert said == Xclient(name="", login="", port=0)


def test_ipv6_has_its_prefix_and_mapped_addresses_are_ipv4():
    assert parse_xclient(b"ADDR=IPV6:2001:DB8::1") == Xclient(addr="2001:db8::1")
    assert parse_xclient(b"ADDR=ipv6:::ffff:192.0.2.1") == Xclient(addr="192.0.2.1")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"ADDR", b"ADDR=", b"ADDR=1.2.3", b"ADDR=::1", b"ADDR=IPV6:1.2.3.4", b"ADDR=IPV6:fe80::1%x",
        b"PORT=65536", b"PORT=-1",
        b"PORT=x", b"PROTO=HTTP", b"NAME=a+0D+0Ab", b"NAME=a+20b", b"HELO=a+00", b"LOGIN=+0A", b"COLOUR=red",
        b"NAME=a NAME=b", b"NAME=a name=b", b"NAME=a  ADDR=192.0.2.1", b"NAME=a=b", b"\xff=a", b"HELO=" + b"x" * 256,
        b"NAME=a\r\nMAIL", "PORT=²".encode(), b"self=1", b"__class__=x",
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(raw):
    assert parse_xclient(raw) is reply.BAD_SYNTAX


def test_a_named_client_has_none_of_the_proxys_rights():
    proxy = Client("10.0.0.1", 4711, "proxy", True, "proxy.test", "TLSv1.3/X", "fingerprint", "operator", "in")
    client = Xclient(addr="192.0.2.1").applied_to(proxy)
    assert (client.ip, client.port, client.rdns, client.login, client.certificate) == ("192.0.2.1", 0, "", "", "")
    assert client.listener == "in" and proxy.ip == "10.0.0.1" and proxy.login == "operator"
    assert Xclient(addr="").applied_to(proxy).ip == NO_ADDRESS


def test_only_what_was_said_changes():
    before = Client("192.0.2.1", 1, "a", True, "b", login="c")
    after = Xclient(helo="h", proto="SMTP", name="n", port=2, login="l").applied_to(before)
    assert after == Client("192.0.2.1", 2, "h", False, "n", login="l")
    assert Xclient().applied_to(before) == before


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(lambda tail: b"LOGIN=" + tail)))
def test_whatever_comes_no_control_gets_in(raw):
    said = parse_xclient(raw)
    if not isinstance(said, Reply):
        for text in (said.name, said.addr, said.helo, said.login, said.destaddr):
            assert text is None or text.isprintable() or not any(ord(character) < 32 for character in text)
