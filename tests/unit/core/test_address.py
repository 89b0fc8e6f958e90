"""Addresses: what the grammar takes, what it refuses, and that nothing odd comes out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.address import NULL_SENDER, Address, BadAddress, NeedsSmtpUtf8, parse_address, parse_domain


def test_an_empty_path_is_the_null_sender():
    assert parse_address(b"") is NULL_SENDER
    assert parse_address(b"").is_null


def test_the_domain_is_lower_cased_and_the_local_part_kept():
    address = parse_address(b"Alice.Smith@Example.TEST")
    assert (address.local, address.domain, address.raw) == ("Alice.Smith", "example.test", "Alice.Smith@Example.TEST")


@pytest.mark.parametrize(
    "raw",
    [
        b"a@b", b"a%b@c.test", b"x!y!z@c.test", b"a+tag@1.test", b"o'neil@xn--bcher-kva.test", b"a@b--c.test",
        b"$HOME`|@c.test", b"a@" + b"a" * 63 + b".test", b"a" * 64 + b"@b.test",
    ],
)  # fmt: skip
def test_plain_mailboxes_are_taken_as_they_are(raw):
    assert parse_address(raw).raw == raw.decode()


@pytest.mark.parametrize(
    "raw",
    [
        b"a", b"@b", b"a@", b"a@.b", b"a@b.", b"a@b..c", b"a@-b", b"a@b-", b"a@b-.c", b".a@b", b"a.@b", b"a..b@c",
        b"a b@c", b"a@b c", b"a@b@c", b"a\0@b", b"a@b\0", b"a\r\n@b", b"a@b\n", b"a@b\r\n", b"<a@b>", b"a,b@c",
        b"a(x)@b",
        b'"a@b',
        b'""@b', b'"a"b@c', b"a@[1.2.3]", b"a@[1.2.3.4", b"a@[IPv6:1.2.3.4]", b"a@[IPv6:::1%x y]", b"a@[::1]",
        b"a@b_c", b"a@b/c", b"@a,@b", b"@a:", b"a" * 65 + b"@b", b"a@" + b"b" * 64, b"a@" + b"b." * 128 + b"c",
        b"a@" + b"a" * 64 + b".test", b'"a\\\r"@b', b"\xff@b", b"a@\xff",
    ],
)  # fmt: skip
def test_what_the_grammar_does_not_know_is_refused(raw):
    with pytest.raises(BadAddress):
        parse_address(raw, utf8=True)


def test_quoting_is_undone_in_the_local_part_and_kept_in_raw():
    address = parse_address(rb'"a\"b c@d"@example.test')
    assert address.local == 'a"b c@d'
    assert address.raw == r'"a\"b c@d"@example.test'


def test_a_source_route_is_dropped():
    assert parse_address(b"@one.test,@two.test:a@b.test").raw == "a@b.test"


def test_utf8_is_taken_only_where_it_was_asked_for():
    raw = "jürgen@bücher.test".encode()
    with pytest.raises(NeedsSmtpUtf8):
        parse_address(raw)
    assert parse_address(raw, utf8=True).domain == "bücher.test"
    assert not parse_address(raw, utf8=True).is_ascii


def test_a_c1_control_or_line_separator_is_refused_in_utf8():
    for character in "\u0085\u009f\u2028\u2029":
        with pytest.raises(BadAddress):
            parse_address(f"a{character}b@c.test".encode(), utf8=True)


def test_address_literals_are_normalised():
    assert parse_domain("[192.0.2.1]") == "[192.0.2.1]"
    assert parse_domain("[ipv6:2001:DB8::1]") == "[IPv6:2001:db8::1]"
    assert parse_address(b"a@[192.0.2.1]").is_literal


def test_a_zone_does_not_smuggle_text_into_a_literal():
    with pytest.raises(BadAddress):
        parse_domain("[IPv6:fe80::1%\r\nX: y]")


@given(st.binary(max_size=80))
def test_no_octets_yield_an_address_with_controls_or_blank_ends(raw):
    try:
        address = parse_address(raw, utf8=True)
    except BadAddress:
        return
    assert not any(ord(character) < 32 or ord(character) == 127 for character in address.raw)
    assert address.is_null or address.domain


_ATOM = st.text("abzAZ019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=8)
_LABEL = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9-]{0,8}[A-Za-z0-9])?\Z")


@given(st.lists(_ATOM, min_size=1, max_size=4), st.lists(_LABEL, min_size=1, max_size=4))
def test_every_dot_atom_at_every_host_name_is_taken(atoms, labels):
    local, domain = ".".join(atoms), ".".join(labels)
    address = parse_address(f"{local}@{domain}".encode())
    assert address == Address(f"{local}@{domain}", local, domain.lower())


def test_delete_is_no_part_of_an_atom():
    with pytest.raises(BadAddress):
        parse_address("é\x7f@b.test".encode(), utf8=True)
