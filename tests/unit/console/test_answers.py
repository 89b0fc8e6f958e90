from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.console import answers
from appliance.console.dialogue import Wrong


@pytest.mark.parametrize(
    ("parse", "typed", "value"),
    [
        (answers.full_name, "MX.Example.com", "mx.example.com"),
        (answers.vlan, "none", 0),
        (answers.vlan, "4094", 4094),
        (lambda raw: answers.address(raw, 4), "192.0.2.5/24", "192.0.2.5/24"),
        (lambda raw: answers.address(raw, 6), "2001:DB8::5/64", "2001:db8::5/64"),
        (lambda raw: answers.gateway(raw, "192.0.2.5/24"), "192.0.2.1", "192.0.2.1"),
        (lambda raw: answers.gateway(raw, "2001:db8::5/64"), "fe80::1", "fe80::1"),
        (answers.resolvers, "192.0.2.53, 2001:db8::53", ["192.0.2.53", "2001:db8::53"]),
        (answers.clocks, "ntp.example.com 192.0.2.123", ["ntp.example.com", "192.0.2.123"]),
        (answers.clocks, "none", []),
        (answers.mail_server, "mail.example.com", "smtp://mail.example.com:25"),
        (answers.mail_server, "192.0.2.10:2525", "smtp://192.0.2.10:2525"),
        (answers.mail_server, "2001:db8::10", "smtp://[2001:db8::10]:25"),
        (answers.mail_server, "[2001:db8::10]:26", "smtp://[2001:db8::10]:26"),
    ],
)
def test_what_people_type_becomes_a_value(parse: Callable[[str], object], typed: str, value: object) -> None:
    assert parse(typed) == value


@pytest.mark.parametrize(
    ("parse", "typed", "complaint"),
    [
        (answers.full_name, "gateway", "no domain"),
        (answers.full_name, "", "write a name"),
        (answers.domain, "192.0.2.1", "write a name"),
        (answers.domain, "a@example.com", "write a name"),
        (answers.vlan, "4095", "1 to 4094"),
        (lambda raw: answers.address(raw, 4), "192.0.2.5", "prefix length is missing"),
        (lambda raw: answers.address(raw, 4), "2001:db8::5/64", "this is IPv6"),
        (lambda raw: answers.address(raw, 4), "127.0.0.1/8", "no address for a port"),
        (lambda raw: answers.gateway(raw, "192.0.2.5/24"), "192.0.3.1", "not in 192.0.2.0/24"),
        (lambda raw: answers.gateway(raw, "192.0.2.5/24"), "192.0.2.5", "own address"),
        (answers.resolvers, "dns.example.com", "no IP address"),
        (answers.resolvers, "127.0.0.1", "no server of your network"),
        (answers.mail_server, "mail.example.com:smtp", "no port"),
        (answers.mail_server, "", "missing"),
    ],
)
def test_what_is_wrong_is_said(parse: Callable[[str], object], typed: str, complaint: str) -> None:
    with pytest.raises(Wrong, match=complaint):
        parse(typed)


@pytest.mark.parametrize(
    "parse",
    [
        answers.full_name,
        answers.domain,
        answers.vlan,
        answers.resolvers,
        answers.clocks,
        answers.mail_server,
        lambda raw: answers.address(raw, 4),
        lambda raw: answers.address(raw, 6),
        lambda raw: answers.gateway(raw, "192.0.2.5/24"),
    ],
)
@given(raw=st.one_of(st.text(), st.text(alphabet="0123456789.:/[]abcdef%- ", max_size=40)))
def test_any_text_is_a_value_or_wrong(parse: Callable[[str], object], raw: str) -> None:
    with suppress(Wrong):  # any other exception is a defect
        parse(raw.strip())
