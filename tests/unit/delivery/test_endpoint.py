"""Next hops' URLs: what they name, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.delivery.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path"),
    [
        ("smtp://mail.example", "smtp", "mail.example", 25, ""),
        ("smtp://mail.example:2525/", "smtp", "mail.example", 2525, ""),
        ("smtps://mail.example", "smtps", "mail.example", 465, ""),
        ("lmtp://mail.example", "lmtp", "mail.example", 24, ""),
        ("smtp://[2001:db8::1]:25", "smtp", "2001:db8::1", 25, ""),
        ("lmtp:///run/dovecot/lmtp", "lmtp", "", 0, "/run/dovecot/lmtp"),
    ],
)
def test_a_url_names_a_server(url, scheme, host, port, path):
    assert parse_endpoint(url) == (scheme, host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        "http://mail.example",
        "mail.example:25",
        "smtp://",
        "smtp:///run/socket",
        "lmtp:///",
        "smtp://user@mail.example",
        "smtp://mail.example/path",
        "smtp://mail.example?x=1",
        "smtp://mail.example#x",
        "smtp://mail.example:0",
        "smtp://mail.example:65536",
        "smtp://mail.example:x",
        "",
    ],
)
def test_a_url_that_names_no_server_is_refused(url):
    with pytest.raises(ValueError):
        parse_endpoint(url)


@pytest.mark.parametrize(
    "url", ["smtp://mail.example:25", "smtps://[2001:db8::1]:465", "lmtp:///run/dovecot/lmtp", "lmtp://127.0.0.1:24"]
)
def test_an_endpoint_is_written_as_the_url_that_it_came_from(url):
    assert str(parse_endpoint(url)) == url


@given(st.text(max_size=40) | st.text(max_size=30).map("smtp://{}".format) | st.text(max_size=30).map("lmtp://{}".format))
def test_any_text_is_an_endpoint_or_a_value_error(text):
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        return
    assert endpoint.path or (endpoint.host and 0 < endpoint.port < 65536)
