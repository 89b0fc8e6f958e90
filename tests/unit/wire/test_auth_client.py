"""SASL as a client: initial responses, challenges, and cancelling."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.auth_client import CANCEL, Login, Plain, auth_answer, auth_command, choose


def b64(octets):
    return base64.b64encode(octets).decode()


def test_plain_goes_along_with_auth():
    assert auth_command(Plain("alice", "secret")) == f"AUTH PLAIN {b64(b'%calice%csecret' % (0, 0))}\r\n".encode()


def test_plain_has_nothing_to_say_to_a_challenge_afterwards():
    plain = Plain("alice", "secret")
    auth_command(plain)
    assert auth_answer(plain, "") == CANCEL


def test_a_password_too_long_for_the_line_waits_for_the_challenge():
    plain = Plain("alice", "x" * 500)
    assert auth_command(plain) == b"AUTH PLAIN\r\n"
    assert base64.b64decode(auth_answer(plain, "")) == b"\0alice\0" + b"x" * 500
    assert auth_answer(plain, "") == CANCEL


def test_login_answers_name_and_password_whatever_the_prompts_say():
    login = Login("alice", "sécret")
    assert auth_command(login) == b"AUTH LOGIN\r\n"
    assert auth_answer(login, b64(b"Username:")) == b"YWxpY2U=\r\n"
    assert base64.b64decode(auth_answer(login, "")) == "sécret".encode()
    assert auth_answer(login, b64(b"More?")) == CANCEL


def test_a_challenge_that_is_no_base64_is_cancelled():
    assert auth_answer(Login("a", "b"), "Username:") == CANCEL
    assert auth_answer(Login("a", "b"), "é") == CANCEL


@pytest.mark.parametrize(("username", "password"), [("", "x"), ("x", ""), ("a\0b", "x"), ("x", "a\0b")])
def test_plain_refuses_what_it_cannot_carry(username, password):
    with pytest.raises(ValueError):
        Plain(username, password)


def test_plain_is_preferred_and_nothing_in_common_is_nothing():
    assert isinstance(choose("login plain CRAM-MD5", "a", "b"), Plain)
    assert isinstance(choose("CRAM-MD5 LOGIN", "a", "b"), Login)
    assert choose("CRAM-MD5 XOAUTH2", "a", "b") is None
    assert choose("", "a", "b") is None


def test_a_mechanism_does_not_show_its_password():
    assert "secret" not in repr(Plain("alice", "secret")) + repr(Login("alice", "secret"))


@given(st.text(min_size=1, max_size=600), st.text(min_size=1, max_size=600))
def test_no_line_of_auth_is_over_512_octets_and_all_are_one_line(username, password):
    try:
        plain = Plain(username, password)
    except (ValueError, UnicodeEncodeError):
        return
    line = auth_command(plain)
    assert len(line) <= 512 and line.count(b"\n") == 1 and line.endswith(b"\r\n")
