"""xtext: strict to decode, and nothing comes out that a log or a command must not hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.xtext import (
    BadXtext,
    decode_utf8_address,
    decode_xtext,
    encode_orcpt,
    encode_utf8_address,
    encode_xtext,
)

_PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@given(_PRINTABLE)
def test_what_was_encoded_is_decoded(text):
    assert decode_xtext(encode_xtext(text).encode()) == text


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn"], exclude_characters="\ufeff")))
def test_utf8_survives_both_encodings(text):
    assert decode_xtext(encode_xtext(text).encode(), utf8=True) == text
    assert decode_utf8_address(encode_utf8_address(text).encode()) == text
    assert encode_xtext(text).isascii() and encode_utf8_address(text).isascii()


@pytest.mark.parametrize(
    "raw", [b"+0D+0A", b"a+0Ab", b"+00", b"+7F", b"+1B", b"+0a", b"+2", b"+", b"+GG", b"a=b", b"a b"]
)
def test_controls_and_malformed_xtext_are_refused(raw):
    with pytest.raises(BadXtext):
        decode_xtext(raw)
    with pytest.raises(BadXtext):
        decode_xtext(raw, utf8=True)


def test_non_ascii_needs_the_callers_consent():
    assert decode_xtext(b"+C3+A9", utf8=True) == "é"
    for raw, utf8 in ((b"+C3+A9", False), (b"+C3", True), (b"+C2+85", True), (b"\xc3\xa9", True)):
        with pytest.raises(BadXtext):
            decode_xtext(raw, utf8=utf8)


@pytest.mark.parametrize(
    "raw",
    [rb"\x{0D}", rb"\x{0A}x", rb"\x{7F}", rb"\x{D800}", rb"\x{110000}", rb"\x{", rb"\x", b"a+b", b"\xff"],
)
def test_controls_and_malformed_utf8_addresses_are_refused(raw):
    with pytest.raises(BadXtext):
        decode_utf8_address(raw)


def test_an_embedded_character_is_decoded():
    assert decode_utf8_address(rb"j\x{FC}rgen@b\x{1F600}.test") == "jürgen@b\U0001f600.test"
    assert decode_utf8_address("jürgen@b.test".encode()) == "jürgen@b.test"


def test_orcpt_is_encoded_as_its_type_wants():
    assert encode_orcpt("rfc822;a+b=c@d") == "rfc822;a+2Bb+3Dc@d"
    assert encode_orcpt("utf-8;jürgen+x@d") == r"utf-8;j\x{FC}rgen\x{2B}x@d"


@given(st.binary(max_size=60))
def test_no_octets_decode_to_a_control_character(raw):
    for decode in (decode_xtext, decode_utf8_address, lambda octets: decode_xtext(octets, utf8=True)):
        try:
            text = decode(raw)
        except BadXtext:
            continue
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)
