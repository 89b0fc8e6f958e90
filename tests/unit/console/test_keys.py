from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.console.keys import Key, Keys

TYPING = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"\x1b[A", b"\x1b[1;5C", b"\x1bOP", b"\r\n", b"\r", b"\n", b"\x03", b"\x04", b"\x7f", b"\xc3\xbc"]
    ),
)
NOISE = st.lists(TYPING, max_size=12).map(b"".join)


def keys_of(*pieces: bytes) -> list[str | Key]:
    keys = Keys()
    return [key for piece in pieces for key in keys.feed(piece)]


def test_characters_are_keys_and_so_are_enter_and_rubbing_out() -> None:
    assert keys_of(b"a\x7f\x08\x15\x03\r") == ["a", Key.BACKSPACE, Key.BACKSPACE, Key.KILL, Key.CANCEL, Key.ENTER]


def test_carriage_return_and_line_feed_are_one_enter() -> None:
    assert keys_of(b"\r", b"\n\n\r\n") == [Key.ENTER] * 3


def test_a_character_of_several_octets_may_come_in_pieces() -> None:
    assert keys_of(b"\xc3", b"\xbc") == ["ü"]


def test_arrows_and_function_keys_are_nothing() -> None:
    assert keys_of(b"a\x1b[Ab\x1b[15;2~c\x1bOPd\x1bxe") == ["a", "b", "c", "d", "e"]


def test_control_characters_that_end_programs_are_nothing() -> None:
    assert keys_of(b"\x00\x04\x1a\x1c\x11\x13") == []


@given(NOISE)
def test_any_octets_give_printable_characters_and_known_keys_alone(noise: bytes) -> None:
    for key in keys_of(noise):
        assert isinstance(key, Key) or (len(key) == 1 and key.isprintable())


@given(st.lists(TYPING, max_size=8))
def test_it_does_not_matter_in_which_pieces_octets_come(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert keys_of(*pieces) == keys_of(whole) == keys_of(*(bytes((octet,)) for octet in whole))


@given(NOISE)
def test_after_any_noise_enter_makes_the_next_line_readable(noise: bytes) -> None:
    keys = Keys()
    keys.feed(noise + b"\r")
    assert keys.feed(b"ok\r") == ["o", "k", Key.ENTER]
