"""Single values are changed by key; comments, order and every other value stay."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.store.edit import assigned, document_of, migrated_text, removed, set_value
from appliance.config.store.revision import StoreError

TEXT = """\
# head
hostname = "a"   # the name

# about listen
[[listen]]
name = "smtp"   # first
address = "0.0.0.0:25"

[[listen]]
name = "more"
address = "0.0.0.0:26"

[limits]
sessions = 10
# end of limits

# before relay
[relay]
networks = [
  "10.0.0.0/8",  # inside
  "192.0.2.0/24",
]
"""


def comments(text: str) -> list[str]:
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize(
    ("key", "raw_value", "line"),
    [
        ("hostname", "b.example", 'hostname = "b.example"   # the name'),
        ("hostname", '"b.example"', 'hostname = "b.example"   # the name'),
        ("hostname", "12", 'hostname = "12"   # the name'),
        ("limits.sessions", "20", "sessions = 20"),
        ("limits.message_size", "5MiB", 'message_size = "5MiB"'),
        ("limits.message_size", "4096", "message_size = 4096"),
        ("listen[1].address", "[::]:26", 'address = "[::]:26"'),
        ("listen[more].kind", "submission", 'kind = "submission"'),
        ("relay.networks[0]", "172.16.0.0/12", '  "172.16.0.0/12",  # inside'),
        ("relay.networks[+]", "172.16.0.0/12", '  "172.16.0.0/12",'),
        ("relay.logins", "false", "logins = false"),
        ("scan.clamd.enabled", "true", "[scan.clamd]"),
        ("next_hop[+].name", "x", "[[next_hop]]"),
    ],
)
def test_a_value_is_set_by_its_key(key: str, raw_value: str, line: str) -> None:
    edited = assigned(TEXT, key, raw_value)
    assert line in edited.splitlines()
    assert comments(edited) == comments(TEXT)


def test_a_new_key_stands_with_the_others_of_its_table_not_below_the_comment_of_the_next() -> None:
    lines = assigned(TEXT, "limits.errors_per_session", "3").splitlines()
    assert lines.index("errors_per_session = 3") == lines.index("sessions = 10") + 1
    lines = assigned(TEXT, "postmaster", "p@example.test").splitlines()
    assert lines.index('postmaster = "p@example.test"') == 2


@pytest.mark.parametrize("key", ["hostname", "limits", "limits.sessions", "listen[more]", "relay.networks[1]"])
def test_what_is_removed_is_gone_and_the_rest_is_there(key: str) -> None:
    edited = document_of(removed(TEXT, key))
    assert edited != document_of(TEXT)
    with pytest.raises(StoreError):
        removed(removed(removed(TEXT, key), key), key)


@pytest.mark.parametrize(
    ("key", "raw_value", "complaint"),
    [
        ("", "1", "empty"),
        ("a..b", "1", "is no key"),
        ("[0]", "1", "is no key"),
        ("listen[9].name", "x", "has 2 elements"),
        ("listen[smpt].name", "x", "did you mean 'smtp'"),
        ("hostname.x", "1", "cannot be set"),
        ("limits.sessions", "many", "is no value"),
        ("limits.sessions", "1\nx = 2", "is no value"),
        ("listen[+]", "1", "listen"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(key: str, raw_value: str, complaint: str) -> None:
    with pytest.raises(StoreError, match=complaint):
        assigned(TEXT, key, raw_value)


KEYS = st.text("abcdefg_-", min_size=1, max_size=4) | st.text(min_size=1, max_size=4)
PLAIN: Any = (
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(max_size=12)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
)
VALUES: Any = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for part, element in inner:
        found += paths_of(element, (*path, part))
    return found


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, PLAIN, st.data())
def test_setting_any_key_changes_that_key_alone_or_nothing(document: Any, value: Any, data: st.DataObject) -> None:
    text = "# top\n" + tomlkit.dumps(document)
    with suppress(ValueError):
        assert tomllib.loads(text) == document
        path = data.draw(st.sampled_from([*paths_of(document), ("new",), ("new", "key")]))
        expected: Any = tomllib.loads(text)
        container = expected
        for part in path[:-1]:
            container = container.setdefault(part, {}) if isinstance(part, str) else container[part]
        if not isinstance(container, dict | list):
            return
        container[path[-1]] = value
        try:
            edited = set_value(text, path, value)
        except StoreError:
            return  # refused, with the text as it was
        assert tomllib.loads(edited) == expected
        assert edited.startswith("# top\n")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30), st.text(max_size=20))
def test_any_key_and_value_are_taken_or_refused_in_words(key: str, raw_value: str) -> None:
    with suppress(StoreError):
        assert document_of(assigned(TEXT, key, raw_value)) is not None
    with suppress(StoreError):
        removed(TEXT, key)


@given(st.integers(0, 100), st.booleans(), st.text("ab.example", min_size=1, max_size=12))
def test_setting_then_setting_back_is_the_text_before(sessions: int, logins: bool, name: str) -> None:
    edited = assigned(assigned(TEXT, "limits.sessions", str(sessions)), "hostname", name)
    assert assigned(assigned(edited, "limits.sessions", "10"), "hostname", "a") == TEXT


# --- migrations


def split_the_address(document: Any) -> Any:
    """As a release might: `listen[].address` becomes `host` and `port`, and `[relay]` becomes `[outgoing]`."""
    for listen in document.get("listen", []):
        host, _, port = listen.pop("address").rpartition(":")
        listen["host"], listen["port"] = host, int(port)
    if "relay" in document:
        document["outgoing"] = document.pop("relay")
    return document


def test_a_migration_changes_the_form_and_keeps_the_comments() -> None:
    from appliance.config.migrations import STEPS

    text = "version = 1\n" + TEXT
    migrated = migrated_text(text, {**STEPS, 1: split_the_address}, 2)
    document = document_of(migrated)
    assert document["version"] == 2
    assert [(listen["host"], listen["port"]) for listen in document["listen"]] == [("0.0.0.0", 25), ("0.0.0.0", 26)]
    assert document["outgoing"]["networks"] == ["10.0.0.0/8", "192.0.2.0/24"]
    assert "relay" not in document
    assert {"head", "the name", "about listen", "first", "end of limits", "inside"} <= set(comments(migrated))
    assert document_of(text)["version"] == 1, "the old text is what it was"


def test_a_file_that_does_not_say_its_version_is_migrated_to_say_it() -> None:
    migrated = migrated_text(TEXT)
    assert document_of(migrated) == {**document_of(TEXT), "version": 1}
    assert comments(migrated) == comments(TEXT)
    assert migrated_text(migrated) == migrated
