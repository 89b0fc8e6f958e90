"""Only names that can neither hurt a log line nor a header come through, and each domain in one form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import BadDomain
from appliance.dns.names import is_host_name, literal_address, to_ascii


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("Example.TEST", "example.test"),
        ("example.test.", "example.test"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("_spf.example.test", "_spf.example.test"),
        ("localhost", "localhost"),
    ],
)
def test_a_domain_has_one_form(domain: str, expected: str) -> None:
    assert to_ascii(domain) == expected


@pytest.mark.parametrize(
    "domain",
    ["", ".", "a..b", "-a.test", "a b.test", "a\r\nb.test", "a\x00.test", "☃☃ .test", "x" * 64 + ".test", "ü" * 200]
    + ["a.test\n", "a." * 127 + "aa", "ü" * 100_000, "[192.0.2.1]", "a@b", "\u200b"],
)
def test_what_is_no_host_name_is_refused_for_good(domain: str) -> None:
    with pytest.raises(BadDomain) as refusal:
        to_ascii(domain)
    assert refusal.value.reply.permanent


@settings(deadline=None)
@given(st.text(max_size=80))
def test_every_text_becomes_a_safe_name_or_is_refused(domain: str) -> None:
    try:
        name = to_ascii(domain)
    except BadDomain:
        return
    assert is_host_name(name)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert len(name) <= 253
    assert to_ascii(name) == name


def test_address_literals_are_read_in_both_families() -> None:
    assert literal_address("[192.0.2.1]") == "192.0.2.1"
    assert literal_address("[IPv6:2001:DB8::1]") == "2001:db8::1"


@pytest.mark.parametrize(
    "domain", ["192.0.2.1", "[192.0.2]", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[]", "[x", "[1.2.3.4"]
)
def test_what_is_no_address_literal_is_refused(domain: str) -> None:
    with pytest.raises(BadDomain):
        literal_address(domain)
