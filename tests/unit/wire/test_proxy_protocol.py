"""PROXY headers, both versions, split anywhere, and garbage in their place."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.proxy_protocol import MAX_V1_OCTETS, MAX_V2_OCTETS, BadProxyHeader, Endpoint, ProxyHeader

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V4 = st.ip_addresses(v=4)
_V6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None)
_PORT = st.integers(0, 65_535)


def read(raw, cuts=()):
    header = ProxyHeader()
    bounds = [0, *sorted(cuts), len(raw)]
    for a, b in itertools.pairwise(bounds):
        if header.feed(raw[a:b]):
            header.rest += raw[b:]
            return header
    return None


def version_2(family, block, command=0x21):
    return _SIGNATURE + bytes((command, family)) + len(block).to_bytes(2, "big") + block


@given(st.booleans(), st.data(), _PORT, _PORT, st.lists(st.integers(0, 100), max_size=4))
def test_version_1_comes_back_whatever_the_splits(six, data, source_port, destination_port, cuts):
    source, destination = data.draw(_V6 if six else _V4), data.draw(_V6 if six else _V4)
    raw = f"PROXY TCP{6 if six else 4} {source} {destination} {source_port} {destination_port}\r\nEHLO x\r\n".encode()
    header = read(raw, [cut for cut in cuts if cut < len(raw)])
    assert header is not None and header.rest == b"EHLO x\r\n"
    assert header.source == Endpoint(str(source), source_port)
    assert header.destination == Endpoint(str(destination), destination_port)


@given(st.booleans(), st.data(), _PORT, _PORT, st.binary(max_size=50), st.lists(st.integers(0, 100), max_size=4))
def test_version_2_comes_back_whatever_the_splits_and_options(six, data, source_port, destination_port, options, cuts):
    source, destination = data.draw(_V6 if six else _V4), data.draw(_V6 if six else _V4)
    ports = source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
    raw = version_2(0x21 if six else 0x11, source.packed + destination.packed + ports + options) + b"EHLO x\r\n"
    header = read(raw, [cut for cut in cuts if cut < len(raw)])
    assert header is not None and header.rest == b"EHLO x\r\n"
    assert header.source == Endpoint(str(source), source_port)
    assert header.destination == Endpoint(str(destination), destination_port)


@pytest.mark.parametrize(
    "raw",
    [
        b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3\r\n", version_2(0x00, b"", 0x20),
        version_2(0x11, b"", 0x20), version_2(0x00, b"options"), version_2(0x31, b"x" * 216), version_2(0x12,
        b"x" * 12),
    ],
)  # fmt: skip
def test_without_an_address_that_we_can_use_the_connections_own_holds(raw):
    header = read(raw + b"rest")
    assert header is not None and header.source is None and header.destination is None and header.rest == b"rest"


def test_a_mapped_address_is_given_as_ipv4():
    header = read(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n")
    assert header is not None and header.source == Endpoint("192.0.2.1", 1)
    mapped = ipaddress.IPv6Address("::ffff:192.0.2.1").packed
    header = read(version_2(0x21, mapped * 2 + b"\0\1\0\2"))
    assert header is not None and header.source == Endpoint("192.0.2.1", 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"EHLO x\r\n", b"\x16\x03\x01", b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY\r\n", b"PROXY \r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n", b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n", b"PROXY UNKNOWN\0\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY UNKNOWN" + b"x" * 100, _SIGNATURE + b"\x31\x11\x00\x00",
        _SIGNATURE + b"\x22\x11\x00\x00", version_2(0x11, b"x" * 11), version_2(0x21, b"x" * 35),
        version_2(0x13, b"x" * 40), _SIGNATURE + b"\x21\x11\xff\xff", b"PROXY UNKNOWN\n" + b"x" * MAX_V1_OCTETS,
    ],
)  # fmt: skip
def test_what_is_no_header_is_refused(raw):
    with pytest.raises(BadProxyHeader):
        read(raw)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: _SIGNATURE + tail)))
def test_garbage_is_refused_or_waited_for_within_bounds(raw):
    header = ProxyHeader()
    try:
        done = header.feed(raw) or header.feed(b"x" * MAX_V2_OCTETS) or header.feed(b"x" * MAX_V2_OCTETS)
    except BadProxyHeader:
        return
    assert done


@given(st.sampled_from([b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", version_2(0x11, bytes(12))]))
def test_an_octet_at_a_time_is_as_good(raw):
    header = read(raw + b"X", range(len(raw)))
    assert header is not None and header.source is not None and header.rest == b"X"
