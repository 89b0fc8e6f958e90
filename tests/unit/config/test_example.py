"""The example configuration is a good one, shows every key, and tells the truth about the defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest

import appliance.config
from appliance.config.check import problems
from appliance.config.load import load
from appliance.config.schema import Config

EXAMPLE = Path(appliance.config.__file__).with_name("mailweir.example.toml")
TABLES_OF_DEFAULTS = [
    *("delivery", "dns", "limits", "log", "metrics", "queue"),
    *("scan", "spool", "timeouts", "tracking", "trusted", "workers"),
]


def keys_of_the_schema(table: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(table):
        place = f"{path}.{field.encode_name}".lstrip(".")
        kind: Any = get_args(field.type)[0] if get_origin(field.type) is list else field.type
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from keys_of_the_schema(kind, place)
        else:
            yield place


def keys_of_the_document(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from keys_of_the_document(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(element, dict) for element in value):
        for element in value:
            yield from keys_of_the_document(element, path)
    else:
        yield path


def test_the_example_has_neither_errors_nor_warnings() -> None:
    assert problems(load(EXAMPLE), files=False) == []


def test_the_example_shows_every_key() -> None:
    shown = set(keys_of_the_document(tomllib.loads(EXAMPLE.read_text())))
    assert set(keys_of_the_schema(Config)) == shown


@pytest.mark.parametrize("table", TABLES_OF_DEFAULTS)
def test_a_table_with_one_header_shows_the_defaults(table: str) -> None:
    bare = msgspec.convert({"hostname": "gateway.example.com"}, Config)
    assert getattr(load(EXAMPLE), table) == getattr(bare, table)


def test_every_choice_is_named_in_the_example() -> None:
    text = EXAMPLE.read_text()
    missing = [member.value for choices in enums_of(Config) for member in choices if member.value not in text]
    assert missing == []


def enums_of(table: type[msgspec.Struct]) -> Iterator[type[Enum]]:
    for field in msgspec.structs.fields(table):
        kind: Any = get_args(field.type)[0] if get_origin(field.type) is list else field.type
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from enums_of(kind)
        elif isinstance(kind, type) and issubclass(kind, Enum):
            yield kind
